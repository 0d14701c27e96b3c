"""The worker of one run: a process of its own, with the live worker's code and rules."""

import json
import os
from collections.abc import Callable
from pathlib import Path

from stream.broker.credentials import ENVIRONMENT as CREDENTIALS
from tenwatch.embedded.child import Child, Part
from tenwatch.embedded.data_folder import DataFolder
from tenwatch.embedded.instance import Instance
from tenwatch.embedded.parts import PASSED_ON, tenwatch_argv
from tenwatch.embedded.probe import free_port
from tenwatch.embedded.user import choose_user
from tenwatch.replaying.run import Run


def run_worker_child(
    instance: Instance, run: Run, config: Path | None, say: Callable[[str], None]
) -> Child:
    """A worker for the run, not started yet; it runs as unprivileged as the live one."""
    folder = DataFolder(Path(instance.data))
    credentials = folder.secrets / "worker.json"
    environment = {
        name: value
        for name, value in os.environ.items()
        if name in PASSED_ON or name.startswith("TENWATCH_")
    }
    port = free_port()
    environment |= {
        "HOME": str(folder.worker),
        CREDENTIALS: str(credentials),
        "TENWATCH_BROKER_SERVERS": json.dumps([instance.nats]),
        "TENWATCH_WORKER_HEALTH_PORT": str(port),
        "TENWATCH_WORKER_RUN": run.name,
        "TENWATCH_WORKER_MEMBER": run.name,
    }
    part = Part(
        name=f"replay-{run.name}",
        argv=tenwatch_argv(config, "work"),
        environment=environment,
        health_port=port,
        paths=[credentials],
        final_exit_codes=frozenset({2}),
    )
    return Child(part, folder, choose_user(None), say)
