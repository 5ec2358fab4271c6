"""The receivers under comparison, each in its own process with its own folder, at its best reasonable settings."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
START_SECONDS = 30.0

OSTEON_TOML = """
[storage]
data_dir = {folder}
[reception]
port = {port}
maximum_associations = 400
maximum_associations_per_peer = 400
idle_timeout = 600
reject_at_percent = 99
full_at_percent = 99.5
[clinical.mllp]
enabled = false
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Receiver:
    """One way to receive; `command` gets port and folder."""

    name: str
    note: str
    command: tuple[str, ...]
    spool: str = "."
    """Where its files are, below its folder: emptied between cells."""
    environment: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Running:
    receiver: Receiver
    port: int
    folder: Path
    process: subprocess.Popen[bytes]

    def cpu_seconds(self) -> float:
        """User and system time so far, children included, the dead ones too where the parent has waited for them."""
        total = 0.0
        parent = psutil.Process(self.process.pid)
        for one in [parent, *parent.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):
                times = one.cpu_times()
                total += times.user + times.system
                if one is parent:
                    total += times.children_user + times.children_system
        return total

    def rss_mb(self) -> float:
        parent = psutil.Process(self.process.pid)
        total = 0
        for one in [parent, *parent.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):
                total += one.memory_info().rss
        return total / 1e6

    def empty(self) -> None:
        """Delete received files, so that no file system of theirs fills; ledgers and indexes stay."""
        for path in (self.folder / self.receiver.spool).rglob("*"):
            if path.is_file() and path.suffix in {".dcm", ""} and path.stat().st_size > 100_000:
                path.unlink(missing_ok=True)


def receivers() -> tuple[list[Receiver], list[str]]:
    """Every receiver that can run here, and a line for each that cannot."""
    python, missing = sys.executable, []
    found = [
        Receiver(name="limit", note="raw socket, file and directory fsync, no ledger, no hash",
                 command=(python, str(HERE / "server_limit.py"), "{port}", "{folder}")),
        Receiver(name="limit-blake3", note="the same, and the BLAKE3 of each object",
                 command=(python, str(HERE / "server_limit.py"), "{port}", "{folder}", "blake3")),
        Receiver(name="osteon", note="`osteon listen`: own receive path, fsync of file and directory, ledger commit",
                 command=(python, "-c", "from node.entry import main; main()", "listen", "--config", "{folder}/o.toml"),
                 spool="spool"),
        Receiver(name="osteon-unrecorded", note="the same without a ledger row, for information",
                 command=(python, str(HERE / "server_unrecorded.py"), "listen", "--config", "{folder}/o.toml"),
                 spool="spool"),
        Receiver(name="osteon-unsynced", note="the same without any fsync",
                 command=(python, str(HERE / "server_unsynced.py"), "listen", "--config", "{folder}/o.toml"),
                 spool="spool"),
        Receiver(name="pynetdicom", note="stock, encoded bytes, PDU 16382, no fsync, no ledger",
                 command=(python, str(HERE / "server_stock.py"), "{port}", "{folder}")),
    ]  # fmt: skip
    if storescp := shutil.which("storescp"):
        found.append(
            Receiver(name="dcmtk", note="storescp --fork +B, PDU 131072, TCP_NODELAY=1, no fsync, no ledger",
                     command=(storescp, "--fork", "+B", "-pdu", "131072", "-od", "{folder}", "{port}"),
                     environment={"TCP_NODELAY": "1"})
        )  # fmt: skip
    else:
        missing.append("dcmtk: storescp is not installed")
    if orthanc := shutil.which("Orthanc", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin"):
        found.append(
            Receiver(name="orthanc", note="SQLite index, 4 DICOM threads, no MD5, TCP_NODELAY=1, no fsync of files",
                     command=(orthanc, "{folder}/orthanc.json"), environment={"TCP_NODELAY": "1"}, spool="storage")
        )  # fmt: skip
    else:
        missing.append("orthanc: Orthanc is not installed")
    return found, missing


@contextmanager
def running(receiver: Receiver, folder: Path) -> Iterator[Running]:
    """Start it and wait until it listens; ended by process group."""
    folder.mkdir(parents=True)
    port = _free_port()
    _configure(folder, port)
    command = [part.format(port=port, folder=folder) for part in receiver.command]
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "OMP_NUM_THREADS": "1"} | receiver.environment
    with (folder / "log.txt").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)
    try:
        _await_listening(process, port, folder)
        yield Running(receiver, port, folder, process)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _configure(folder: Path, port: int) -> None:
    (folder / "o.toml").write_text(OSTEON_TOML.format(folder=json.dumps(str(folder)), port=port))
    orthanc = {
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "HttpServerEnabled": False,
        "DicomServerEnabled": True,
        "DicomAet": "OSTEON",
        "DicomPort": port,
        "DicomThreadsCount": 4,
        "StoreMD5ForAttachments": False,
        "DicomAlwaysAllowStore": True,
        "Plugins": [],
    }
    (folder / "orthanc.json").write_text(json.dumps(orthanc))


def _await_listening(process: subprocess.Popen[bytes], port: int, folder: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.1)
    msg = f"{folder.name} does not listen:\n{(folder / 'log.txt').read_text(errors='replace')[-1500:]}"
    raise RuntimeError(msg)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
