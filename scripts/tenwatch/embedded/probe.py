"""Asks a role's health endpoint on this machine."""

import asyncio
import json
import secrets
import socket

QUIET_PORTS = range(20000, 32000)


def free_port(preferred: int = 0) -> int:
    """``preferred`` if nothing listens on it on loopback, else another free port.

    The port is bound only later, by the part. So it comes from below the range that the kernel
    hands out by itself (``net.ipv4.ip_local_port_range`` begins at 32768), where nobody takes it
    by chance meanwhile.
    """
    chosen = [preferred] if preferred else []
    chosen += secrets.SystemRandom().sample(QUIET_PORTS, 50)
    for port in (*chosen, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise OSError("no free port on loopback")


async def get(port: int, path: str, seconds: float = 2.0) -> tuple[int, str]:
    """Status and body of ``http://127.0.0.1:<port><path>``.

    Raises :class:`OSError` when nothing answers in time.
    """
    try:
        async with asyncio.timeout(seconds):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(
                    f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode()
                )
                answer = await reader.read(1 << 20)
                while more := await reader.read(1 << 20):
                    answer += more
            finally:
                writer.close()
    except TimeoutError:
        raise OSError(f"port {port} did not answer within {seconds} s") from None
    head, _, body = answer.partition(b"\r\n\r\n")
    try:
        status = int(head.split(b" ", 2)[1])
    except (IndexError, ValueError):
        raise OSError(f"port {port} answered something that is not HTTP") from None
    if b"transfer-encoding: chunked" in head.lower():
        body = _dechunk(body)
    return status, body.decode("utf-8", "replace")


def _dechunk(body: bytes) -> bytes:
    out = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        length = int(size or b"0", 16)
        if length == 0:
            break
        out, body = out + body[:length], body[length + 2 :]
    return out


async def why_not_ready(port: int, path: str = "/ready") -> str | None:
    """None when the role behind ``port`` says that it is ready, else what it says."""
    try:
        status, body = await get(port, path)
    except OSError as error:
        return str(error)
    return None if status == 200 else body.strip() or f"{path} answered {status}"


async def degradations(port: int) -> list[str]:
    """What the role behind ``port`` says does not work fully; none when it is away."""
    try:
        _, body = await get(port, "/ready")
        found = json.loads(body).get("degraded", [])
    except (OSError, ValueError, AttributeError):
        return []
    return [str(each) for each in found]


async def metrics(port: int) -> dict[str, float]:
    """The role's metrics by name with labels, as Prometheus writes them; empty when it is away."""
    try:
        _, body = await get(port, "/metrics")
    except OSError:
        return {}
    found: dict[str, float] = {}
    for line in body.splitlines():
        if line and not line.startswith("#"):
            name, _, value = line.rpartition(" ")
            try:
                found[name] = float(value)
            except ValueError:
                continue
    return found
