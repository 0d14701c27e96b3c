"""What the producer may and may not do, and what the loader says when something is missing."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from producers.process.attach import attach
from producers.process.capabilities import missing_capabilities
from producers.process.errors import AttachError
from producers.process.observer import ProcessObserver
from producers.process.settings import ProcessSettings
from tests.producers.process.support import NODE, ListSink, cgroup, observing, run_in

ROOT = Path(__file__).parents[3]
OBSERVE = """
import subprocess
from tests.producers.process.support import observing
with observing() as sink:
    subprocess.run(["/bin/true", "privileged"])
assert [event.action for event in sink.events if event.argv[1:] == ["privileged"]] == [
    "exec", "exit"
]
"""
CAPABILITIES = ("bpf", "perfmon", "sys_ptrace", "dac_read_search")


def test_four_capabilities_are_enough() -> None:
    """Those that the DaemonSet asks for."""
    limited = "-all," + ",".join(f"+{name}" for name in CAPABILITIES)
    setpriv = ["setpriv", f"--bounding-set={limited}", "--inh-caps=-all"]
    subprocess.run([*setpriv, sys.executable, "-c", OBSERVE], cwd=ROOT, check=True, timeout=60)


def test_it_needs_no_writable_file_system() -> None:
    mounts = ["/", "/tmp", "/var", "/run", "/dev/shm"]
    remount = "; ".join(
        f"mountpoint -q {each} && mount -o remount,bind,ro {each}" for each in mounts
    )
    script = (
        f'mount --make-rprivate /; {remount}; ! touch /tmp/x 2>/dev/null && exec "$0" -B -c "$1"'
    )
    subprocess.run(
        ["unshare", "--mount", "/bin/sh", "-c", script, sys.executable, OBSERVE],
        cwd=ROOT, check=True, timeout=60,
    )  # fmt: skip


def test_a_kernel_without_type_information_is_told() -> None:
    probe = (
        "from producers.process.attach import attach\n"
        "from producers.process.settings import ProcessSettings\n"
        "try: attach(ProcessSettings())\n"
        "except Exception as error: print(error)\n"
    )
    script = 'mount -t tmpfs none /sys/kernel/btf; exec "$0" -c "$1"'
    result = subprocess.run(
        ["unshare", "--mount", "/bin/sh", "-c", script, sys.executable, probe],
        cwd=ROOT, check=True, timeout=60, capture_output=True, text=True,
    )  # fmt: skip
    assert "CONFIG_DEBUG_INFO_BTF" in result.stdout


def test_the_v2_hierarchy_is_read_where_there_is_no_v1(
    storm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a hybrid machine by pretending; on a pure v2 machine it is what happens anyway."""
    types = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    unified = next(Path(fields[1]) for fields in types if fields[2] == "cgroup2")
    monkeypatch.setattr("producers.process.attach.uses_cgroup_v1", lambda: False)
    with cgroup(root=unified) as path, observing(cgroup_prefixes=[path]) as sink:
        run_in(path, storm, "exit", "3", root=unified)
    assert [(event.action, event.cgroup) for event in sink.events] == [
        ("exec", path), ("exit", path),
    ]  # fmt: skip


NOBODY = """
import json, os, sys
from producers.process.errors import ProcessProducerError
from producers.process.observer import ProcessObserver
from producers.process.settings import ProcessSettings
from tests.producers.process.support import ListSink
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
observer = ProcessObserver("n", ProcessSettings(fallback=sys.argv[1] == "fallback"))
try:
    observer.start(ListSink())
except ProcessProducerError as error:
    print(json.dumps({"error": str(error)}))
else:
    print(json.dumps({"ready": observer.ready(), "degraded": observer.degraded()}))
    observer.stop()
"""


def as_nobody(argument: str) -> dict[str, object]:
    """Observe in a process that has given up its privileges."""
    root = Path(__file__).parents[3]
    result = subprocess.run(
        [sys.executable, "-c", NOBODY, argument],
        cwd=root,
        env={"PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 0, result.stderr
    answer = json.loads(result.stdout)
    assert isinstance(answer, dict)
    return answer


def test_without_privileges_it_says_which_are_missing_and_polls() -> None:
    answer = as_nobody("fallback")
    assert answer["ready"] is None
    bpf, connector, polling = answer["degraded"]  # type: ignore[misc]
    assert "lacks CAP_BPF and CAP_PERFMON" in bpf
    assert "lacks CAP_NET_ADMIN" in connector
    assert "looking at /proc every second" in polling


def test_without_privileges_and_fallback_it_refuses_and_says_why() -> None:
    answer = as_nobody("none")
    assert answer == {
        "error": "BPF is not permitted: this process lacks CAP_BPF and CAP_PERFMON; "
        "run it as root, or give its container these capabilities"
    }


def test_older_kernels_know_only_cap_sys_admin() -> None:
    assert missing_capabilities(("CAP_BPF", "CAP_NET_ADMIN"), 1 << 21) == ["CAP_NET_ADMIN"]
    assert missing_capabilities(("CAP_BPF", "CAP_PERFMON"), 1 << 39) == ["CAP_PERFMON"]


def test_without_bcc_it_says_how_to_get_it(tmp_path: Path) -> None:
    settings = ProcessSettings(interpreters=(sys.executable, str(tmp_path / "python3")))
    with pytest.raises(AttachError) as raised:
        attach(settings)
    message = str(raised.value)
    assert f"{sys.executable} has no bcc" in message
    assert "python3 does not exist" in message
    assert "apt install python3-bpfcc" in message


def test_a_loader_that_dies_is_told(tmp_path: Path) -> None:
    broken = tmp_path / "python3"
    broken.write_text("#!/bin/sh\nexit 4\n")
    broken.chmod(0o755)
    with pytest.raises(AttachError, match=r"ended with status 4"):
        attach(ProcessSettings(interpreters=(str(broken),)))


def test_a_program_that_does_not_compile_tells_the_compilers_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(attach.__code__.co_filename).parent
    for each in folder.iterdir():
        (tmp_path / each.name).symlink_to(each)
    (tmp_path / "program.bpf.c").unlink()
    (tmp_path / "program.bpf.c").write_text("int on_exec(void *context) { return gibberish; }\n")
    monkeypatch.setattr("producers.process.attach._FOLDER", tmp_path)
    with pytest.raises(AttachError, match=r"does not compile[\s\S]*undeclared.*gibberish"):
        attach(ProcessSettings())


def test_nothing_stays_attached_after_a_stop(storm: Path) -> None:
    observer = ProcessObserver(NODE, ProcessSettings(fallback=False))
    sink = ListSink()
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    observer.start(sink)
    observer.stop()
    assert len(list(Path("/proc/self/fd").iterdir())) == descriptors
    seen = len(sink.events)
    subprocess.run([storm, "exit", "0"], check=True)
    assert len(sink.events) == seen
    assert observer.ready() == "processes are not observed"
