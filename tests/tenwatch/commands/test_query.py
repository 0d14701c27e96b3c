"""query draws, and shells know its names."""

from pathlib import Path

import pytest

from tests.support.instance import RunningInstance
from tests.support.polling import eventually_sync
from tests.support.program import run_program


def test_a_series_of_this_node_is_drawn(shared: RunningInstance, tmp_path: Path) -> None:
    path = tmp_path / "usage.svg"

    def drawn() -> str:
        text = run_program(
            "query", "usage_series", "-p", "node=here", "--plot", "--svg", path, data=shared.data,
            code=None,
        ).text  # fmt: skip
        assert "cpu_millicores" in text
        return text

    text = eventually_sync(drawn, deadline=40, what="samples of this node", interval=0.5)
    assert any(level in text for level in "▁▂▃▄▅▆▇█")
    assert path.read_text().startswith("<svg")
    refused = run_program("query", "SELECT 1 AS one", "--plot", data=shared.data, code=2)
    assert "needs a column of times" in refused.err


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["query", "usage_s"], {"usage_series"}),
        (["query", "usage", "-p", "nam"], {"namespace="}),
        (["query", "usage", "-p", "pod=x", "-p", "p"], set()),
        (["query", "SELECT", "-p", ""], set()),
    ],
)
def test_a_shell_is_told_names_and_parameters(words: list[str], expected: set[str]) -> None:
    environment = {
        "_TENWATCH_COMPLETE": "complete_bash",
        "COMP_WORDS": " ".join(["tenwatch", *words]),
        "COMP_CWORD": str(len(words)),
    }
    # The program's name is that of its script; a module's name has another variable.
    import subprocess
    import sys

    script = Path(sys.executable).parent / "tenwatch"
    done = subprocess.run([script], env=environment, capture_output=True, text=True, check=False)
    assert set(done.stdout.split()) == expected, done.stderr
