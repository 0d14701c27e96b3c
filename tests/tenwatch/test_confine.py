"""Running a part without privileges."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tenwatch.embedded.child import confinement
from tenwatch.embedded.user import choose_user
from tenwatch.errors import UsageError

REPORT = """
import json, os
status = dict(line.split(":", 1) for line in open("/proc/self/status") if ":" in line)
def readable(path):
    try:
        open(path).read()
        return True
    except OSError:
        return False
import orjson
print(json.dumps({
    "uid": os.getuid(), "gid": os.getgid(), "groups": os.getgroups(),
    "capabilities": status["CapEff"].strip(), "no_new_privileges": status["NoNewPrivs"].strip(),
    "secret": readable(os.environ["SECRET"]), "needed": readable(os.environ["NEEDED"]),
}))
"""


@pytest.fixture
def hidden_folder(tmp_path: Path) -> Path:
    """A folder that only root can enter, with a secret and a file that the part needs."""
    folder = tmp_path / "private"
    (folder / "needed").mkdir(parents=True)
    (folder / "secret").write_text("secret")
    (folder / "needed" / "file").write_text("needed")
    for path in (folder / "needed", folder / "secret", folder / "needed" / "file"):
        path.chmod(0o755)
    folder.chmod(0o700)
    return folder


def test_a_confined_part_has_no_privileges_and_sees_only_what_it_needs(hidden_folder: Path) -> None:
    user = choose_user(None)
    assert user.privileged, "run the tests as root"
    argv = [*confinement(user, [hidden_folder / "needed"]), "--", sys.executable, "-c", REPORT]
    done = subprocess.run(
        argv,
        env={
            "SECRET": str(hidden_folder / "secret"),
            "NEEDED": str(hidden_folder / "needed" / "file"),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["uid"] == user.user_id != 0
    assert report["groups"] == []
    assert int(report["capabilities"], 16) == 0
    assert report["no_new_privileges"] == "1"
    assert report["needed"], "what it needs lies in a folder that only root may enter"
    assert not report["secret"]
    assert (hidden_folder / "secret").read_text() == "secret", "nobody else sees a change"


def test_a_user_without_privileges_is_chosen_and_root_is_refused() -> None:
    assert os.geteuid() == 0
    assert choose_user("nobody").user_id != 0
    with pytest.raises(UsageError, match="is root"):
        choose_user("root")
    with pytest.raises(UsageError, match="there is no user"):
        choose_user("no-such-user-here")
