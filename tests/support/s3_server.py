"""A private S3-compatible server for tests: moto's, a process of its own on a free loopback port, gone at the end.

`with s3_server() as server:` skips with its reason where moto is absent, and fails with CI=true. `server.make_bucket`,
then `fleet.spool = "s3://..."`, `spool_endpoint = server.endpoint` and `spool_credentials` from `credentials_file`.
`server.stop()` and `server.start()` take it away and bring it back at the same port: empty, it keeps all in memory.
"""

from __future__ import annotations

import importlib.util
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from support.postgres import absent_or_fail

_START_SECONDS = 60.0


@dataclass(slots=True, kw_only=True)
class S3Server:
    """One server."""

    port: int
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def endpoint(self) -> str:
        """Base URL."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it and wait until it answers."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + _START_SECONDS
        while not self._answers():
            assert self._process.poll() is None, "moto ended"
            assert time.monotonic() < deadline, "moto did not start"
            time.sleep(0.1)

    def stop(self) -> None:
        """End it."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    def make_bucket(self, name: str) -> None:
        """Make an empty bucket."""
        self._ask("PUT", f"/{name}")

    def replace(self, key: str, body: bytes) -> None:
        """Put other content under `bucket/key`, as damage does."""
        self._ask("PUT", f"/{key}", body)

    def _answers(self) -> bool:
        try:
            self._ask("GET", "/moto-api/")
        except OSError:
            return False
        return True

    def _ask(self, method: str, path: str, body: bytes | None = None) -> None:
        request = urllib.request.Request(f"{self.endpoint}{path}", data=body, method=method)
        if not path.startswith("/moto-api"):  # which service is meant is told by the signature; nobody checks it
            credential = "Credential=test/20260101/us-east-1/s3/aws4_request"
            request.add_header("Authorization", f"AWS4-HMAC-SHA256 {credential}, SignedHeaders=host, Signature=0")
        with urllib.request.urlopen(request, timeout=20):
            pass


@contextmanager
def s3_server() -> Iterator[S3Server]:
    """Run a private server for the block."""
    for module in ("moto", "flask_cors", "s3fs"):
        if importlib.util.find_spec(module) is None:
            absent_or_fail(f"{module} is not installed (extra dev)")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        server = S3Server(port=probe.getsockname()[1])
    try:
        server.start()
        yield server
    finally:
        server.stop()


def credentials_file(folder: Path) -> Path:
    """Credentials in AWS's form that the server takes, as it takes any."""
    file = folder / "s3-credentials"
    file.write_text("[default]\naws_access_key_id = test\naws_secret_access_key = test\n", encoding="utf-8")
    return file
