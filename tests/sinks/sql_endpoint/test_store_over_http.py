"""The program's own store client, schema and named queries work over the endpoint, too."""

import json
import re
from pathlib import Path

from sinks.store.client import Store
from sinks.store.migrations import apply_schema, schema_status
from sinks.store.settings import StoreSettings
from tests.sinks.sql_endpoint.endpoint_process import PASSWORDS, ROOT, EndpointProcess

QUERIES = sorted((ROOT / "sinks" / "queries").glob("*.sql"))
PARAMETER = re.compile(r"\{(\w+): *([A-Za-z0-9]+)")
# A value that each type takes.
VALUES = {"String": "x", "DateTime": "2026-01-01 00:00:00", "DateTime64": "2026-01-01 00:00:00",
          "Bool": "1", "UInt32": "10", "UInt64": "10", "Array": "[]"}  # fmt: skip


def test_the_schema_is_applied_and_every_named_query_is_served(tmp_path: Path) -> None:
    credentials = tmp_path / "credentials.json"
    credentials.write_text(json.dumps({"sql": {"user": "admin", "password": PASSWORDS["admin"]}}))
    credentials.chmod(0o600)
    with EndpointProcess(tmp_path / "served", tables=False) as endpoint:
        settings = StoreSettings(url=endpoint.url, credentials_file=str(credentials))
        with Store(settings) as store:
            apply_schema(store)
            assert {item.state for item in schema_status(store)} == {"applied"}
        assert len(QUERIES) > 10
        for path in QUERIES:
            text = path.read_text(encoding="utf-8")
            values = {f"param_{name}": VALUES[kind] for name, kind in PARAMETER.findall(text)}
            answer = endpoint.ask(text, path="/", **values)
            assert answer.status == 200, (path.name, answer.text)
