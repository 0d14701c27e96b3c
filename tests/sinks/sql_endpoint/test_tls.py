"""The endpoint over TLS."""

import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import clickhouse_connect
import pytest

from tests.sinks.sql_endpoint.endpoint_process import PASSWORDS, EndpointProcess


@pytest.fixture
def secure(tmp_path: Path) -> Iterator[EndpointProcess]:
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-keyout", key, "-out", certificate, "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"],
        check=True, capture_output=True,
    )  # fmt: skip
    with EndpointProcess(
        tmp_path / "secure", certificate=str(certificate), private_key=str(key)
    ) as served:
        yield served


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_queries_come_over_tls_and_only_over_tls(secure: EndpointProcess) -> None:
    assert secure.url.startswith("https://")
    assert secure.ask("SELECT 1").body == b"1\n"
    client = clickhouse_connect.get_client(
        interface="https",
        host="localhost",
        port=secure.port,
        username="reader",
        password=PASSWORDS["reader"],
        ca_cert=secure.certificate,
    )
    assert client.query("SELECT count() FROM processes").result_rows == [(1000,)]
    client.close()
    with pytest.raises(Exception, match=r"(?i)certificate"):
        clickhouse_connect.get_client(
            interface="https",
            host="localhost",
            port=secure.port,
            username="reader",
            password=PASSWORDS["reader"],
        )
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname = False
    old.verify_mode = ssl.CERT_NONE
    old.maximum_version = ssl.TLSVersion.TLSv1_1
    connection = secure.connection()
    connection._context = old  # type: ignore[attr-defined]
    with pytest.raises((ssl.SSLError, ConnectionError)):
        connection.connect()
    plain = subprocess.run(
        ["curl", "-sS", "-m", "5", f"http://127.0.0.1:{secure.port}/ping"], capture_output=True
    )
    assert plain.stdout != b"Ok.\n"
