"""The example in the README is run as it stands there."""

import re
from pathlib import Path
from typing import Any

from tests.stream.faust_jetstream.running import running
from tests.stream.faust_jetstream.servers import Api, Server
from tests.stream.faust_jetstream.workers import ROOT
from tests.support.polling import eventually

README = ROOT / "stream" / "faust_jetstream" / "README.md"


async def test_the_example_counts_and_publishes(
    server: Server, tmp_path: Path, monkeypatch: Any
) -> None:
    found = re.search(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert found
    example = found.group(1).replace("nats://127.0.0.1:4222", server.url)
    monkeypatch.chdir(tmp_path)
    api = await Api.connect(server.url)
    await api("STREAM.CREATE.RAW", {"name": "RAW", "subjects": ["part.>"]})
    module: dict[str, Any] = {"__name__": "example"}
    exec(compile(example, str(README), "exec"), module)
    async with running(module["app"]):
        for number in range(12):
            await api.client.publish(f"part.{number % 4}.key{number % 3}", b"")

        async def published() -> bool:
            rows = await api.read("BUCKETS")
            last = {subject: payload for subject, payload, _ in rows}
            assert len(rows) == 12, rows
            return set(last) == {"buckets.key0", "buckets.key1", "buckets.key2"}

        await eventually(published, 20)
    await api.close()
