"""What the node producers cost, beside bpftrace watching the same processes. Needs root.

Each producer runs as in production (``python -m producers NAME``) against a NATS server of its
own. PSS counts shared pages by share; so nothing else of ours should run meanwhile. bpftrace is
optional (Debian's package of that name). Run it from the checkout's root:

    ./scripts/bench producers [--processes 10000] [--rounds 3]
"""

import argparse
import asyncio
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from scripts.benchmarks.publishing import cpu_seconds, pss_mebibytes  # noqa: E402
from stream.broker.connection import BrokerConnection  # noqa: E402
from stream.broker.jetstream import JetStream  # noqa: E402
from stream.broker.settings import BrokerSettings  # noqa: E402
from stream.broker.streams import ensure_streams  # noqa: E402
from tests.support.nats_server import NODE, NatsServer  # noqa: E402

STORM = """
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
extern char **environ;
int main(int count, char **arguments) {
  long wanted = atol(arguments[1]);
  struct timespec begin, end;
  clock_gettime(CLOCK_MONOTONIC, &begin);
  for (long i = 0; i < wanted; i++) {
    char number[24];
    snprintf(number, sizeof number, "%ld", i);
    char *child[] = {"/bin/true", "bench-of-producers", number, NULL};
    pid_t pid;
    if (posix_spawn(&pid, child[0], NULL, NULL, child, environ)) return 1;
    waitpid(pid, NULL, 0);
  }
  clock_gettime(CLOCK_MONOTONIC, &end);
  printf("%f", end.tv_sec - begin.tv_sec + (end.tv_nsec - begin.tv_nsec) / 1e9);
  return count != 2;
}
"""
BPFTRACE = (
    'tracepoint:sched:sched_process_exec { printf("%d %s\\n", pid, comm); } '
    'tracepoint:sched:sched_process_exit { printf("%d %s\\n", pid, comm); }'
)


def say(what: str, values: list[float], unit: str, goal: str = "") -> None:
    """One line: median and spread of the rounds."""
    spread = f"({min(values):.1f}…{max(values):.1f})" if len(values) > 1 else ""
    print(f"  {what:<50} {statistics.median(values):>9.1f} {unit:<18} {spread:<18} {goal}")


class Bench:
    """A folder, a server with our streams, and the storm program."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.server = NatsServer(folder / "nats").start()
        self.credentials = self.server.write_credentials(f"producer-{NODE}")
        asyncio.run(self._streams())
        source = folder / "storm.c"
        source.write_text(STORM)
        self.storm_program = folder / "storm"
        subprocess.run(["gcc", "-O2", str(source), "-o", str(self.storm_program)], check=True)

    async def _streams(self) -> None:
        settings = BrokerSettings(
            servers=(self.server.url,), credentials_file=str(self.server.write_credentials("admin"))
        )
        async with BrokerConnection(settings, "bench") as connection:
            await connection.wait_connected(10)
            await ensure_streams(JetStream(connection))

    def storm(self, processes: int) -> float:
        """Start and wait for so many processes, one after another; seconds that it took."""
        done = subprocess.run(
            [self.storm_program, str(processes)], capture_output=True, text=True, check=True
        )
        return float(done.stdout)

    @contextmanager
    def producer(self, name: str, **settings: object) -> Iterator[tuple[int, Path]]:
        """A running producer: its pid and the file with its log."""
        log = self.folder / f"{name}.log"
        environment = {
            "PATH": os.environ["PATH"],
            "TENWATCH_BROKER_SERVERS": json.dumps([self.server.url]),
            "TENWATCH_CREDENTIALS_FILE": str(self.credentials),
            "TENWATCH_PRODUCER_NODE": NODE,
            "TENWATCH_SPOOL_FOLDER": str(self.folder / "spool"),
        } | {f"TENWATCH_{key.upper()}": json.dumps(value) for key, value in settings.items()}
        with log.open("w") as out:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "producers", name], env=environment, stderr=out
            )
        try:
            deadline = time.monotonic() + 30
            while "health on" not in log.read_text():
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(log.read_text())
                time.sleep(0.1)
            time.sleep(5)
            yield process.pid, log
        finally:
            process.terminate()
            process.wait(30)


def metric(log: Path, name: str) -> float:
    """Sum of a metric over its labels, from the producer's own /metrics."""
    import urllib.request

    address = log.read_text().partition("health on ")[2].split()[0]
    with urllib.request.urlopen(f"{address}/metrics", timeout=5) as answer:
        lines = answer.read().decode().splitlines()
    found = [line for line in lines if line.startswith(name) and 'kind="process"' in line]
    return sum(float(line.rpartition(" ")[2]) for line in found)


def process_producer(bench: Bench, processes: int, rounds: int) -> None:
    """Cost per process, memory, loss; and bpftrace's for the same storm."""
    print("process producer (with spool and acknowledged publishes)")
    costs, rates, memory, idle = [], [], [], []
    with bench.producer("process") as (pid, log):
        before = cpu_seconds(pid)
        time.sleep(10)
        idle.append((cpu_seconds(pid) - before) * 10)
        for _ in range(rounds):
            before = cpu_seconds(pid)
            seconds = bench.storm(processes)
            time.sleep(3)
            costs.append((cpu_seconds(pid) - before) / processes * 1e6)
            rates.append(processes / seconds)
            memory.append(pss_mebibytes(pid))
        lost = metric(log, "tenwatch_producer_events_lost_total")
    say("CPU per 1000 processes", costs, "ms", "goal 35")
    say("rate of the storm", rates, "processes/s")
    say("PSS", memory, "MiB", "goal 45")
    say("CPU while little happens", idle, "% of a core", "goal 1")
    say("lost", [lost], "events", "goal 0")


@contextmanager
def tracefs() -> Iterator[None]:
    """bpftrace reads the tracepoints' layout there; our own producer needs no such mount."""
    folder = Path("/sys/kernel/tracing")
    if (folder / "events").exists():
        yield
        return
    subprocess.run(["mount", "-t", "tracefs", "none", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def bpftrace(bench: Bench, processes: int, rounds: int) -> None:
    """The yardstick: pid and name of each exec and exit, printed to a file."""
    program = shutil.which("bpftrace")
    if program is None:
        print("bpftrace is not installed: no yardstick")
        return
    print("bpftrace (pid and name only, printed to a file)")
    costs, memory = [], []
    out = bench.folder / "bpftrace.out"
    with out.open("w") as file:
        process = subprocess.Popen([program, "-e", BPFTRACE], stdout=file, stderr=file)
        try:
            time.sleep(8)
            if process.poll() is not None:
                print(f"  it does not run here: {out.read_text().strip()[:200]}")
                return
            for _ in range(rounds):
                before = cpu_seconds(process.pid)
                bench.storm(processes)
                time.sleep(2)
                costs.append((cpu_seconds(process.pid) - before) / processes * 1e6)
                memory.append(pss_mebibytes(process.pid))
        finally:
            process.terminate()
            process.wait(10)
    say("CPU per 1000 processes", costs, "ms")
    say("PSS", memory, "MiB")


def others(bench: Bench) -> None:
    """Memory and idle cost of the file producer with 20k folders, and of the node producer."""
    watched = bench.folder / "watched"
    for number in range(20_000):
        (watched / str(number // 200) / str(number)).mkdir(parents=True)
    total = 0.0
    for name, settings in (
        ("file", {"file_roots": [str(watched)]}),
        ("node", {"hostpath_roots": [str(watched / "1")]}),
        ("process", {}),
    ):
        with bench.producer(name, **settings) as (pid, _):
            time.sleep(15)
            before = cpu_seconds(pid)
            time.sleep(10)
            used = (cpu_seconds(pid) - before) * 10
            memory = pss_mebibytes(pid)
        total += memory
        print(f"{name} producer{', 20,000 folders' if name == 'file' else ''}")
        say("PSS", [memory], "MiB", "goal 60" if name == "file" else "")
        say("CPU while little happens", [used], "% of a core", "goal 1")
    say("all three, PSS, each measured alone", [total], "MiB", "goal 128")


def main() -> None:
    """Run all of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="tenwatch-bench-"))
    bench = None
    try:
        bench = Bench(folder)
        print(f"load average before {os.getloadavg()[0]:.1f}, {os.cpu_count()} processors")
        process_producer(bench, arguments.processes, arguments.rounds)
        with tracefs():
            bpftrace(bench, arguments.processes, arguments.rounds)
        others(bench)
    finally:
        if bench is not None:
            bench.server.stop()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
