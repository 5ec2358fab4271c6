"""Starts the candidates of `bench-e2e` and the sink that stands for the PACS, each in a process of its own."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.e2e_inference import SINK
from bench.frame import ROOT
from support.engines import give_engines

from config.code_file import code_table
from node.cores import cores
from node.demo.node_process import NodeProcess, free_port

START_SECONDS = 90.0
# Workers for each of two cores, as a site with long queues sets it; by default one core is the listener's.
NODE_TOML = """
[site]
name = "bench"
[storage]
data_dir = {folder}
[model]
workers = 2
[reception]
port = {port}
[clinical]
wait = 30
[clinical.codes]
confirmed_by = "bench"
confirmed_version = "{codes}"
[clinical.mllp]
port = {mllp}
[delivery]
[[delivery.destinations]]
name = "sink"
ae_title = "{sink_ae}"
host = "127.0.0.1"
port = {sink}
proof = "none"
"""


class Sink:
    """Where the reports go; knows when each study's SR was accepted (seconds since 1970)."""

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self.port = port
        self.accepted: dict[str, float] = {}
        self._news = threading.Condition()
        threading.Thread(target=self._read, args=(process,), daemon=True).start()

    def wait(self, study_uid: str, seconds: float = 60.0) -> float:
        """When the SR of a study was accepted; TimeoutError if it does not come."""
        with self._news:
            if not self._news.wait_for(lambda: study_uid in self.accepted, seconds):
                msg = f"no report of {study_uid} within {seconds:g} s"
                raise TimeoutError(msg)
            return self.accepted[study_uid]

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            at, study_uid = line.split()
            with self._news:
                self.accepted[study_uid] = float(at)
                self._news.notify_all()


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One way from C-STORE to report, running."""

    name: str
    note: str
    ports: tuple[int, ...]
    """Where it takes images; a sender keeps to one of them."""
    mllp_port: int | None = None
    """The node's: clinical data go there before each image."""
    single: bool = True
    """Whether one study at a time is sent to it."""
    burst: bool = True
    """Whether many at once are."""


@contextmanager
def sink() -> Iterator[Sink]:
    port = free_port()
    with _python("bench.e2e_sink", str(port)) as process:
        _await_port(process, port)
        yield Sink(process, port)


@contextmanager
def candidates(folder: Path, to: Sink, *, short: bool) -> Iterator[tuple[list[Candidate], list[str]]]:
    """All that can run here, warm; and a line for each that cannot."""
    with ExitStack() as stack:
        node = stack.enter_context(_node(folder / "node", to, "serve"))
        found, missing = [node, _small(stack, "limit", folder, to), _limits(stack, folder, to)], []
        if not short:
            found.append(_small(stack, "handler", folder, to))
            for name, program, start in (("exec", "storescp", _exec), ("poller", "Orthanc", _poller)):
                if shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin"):
                    found.append(start(stack, folder / name, to))
                else:
                    missing.append(f"{name}: {program} is not installed")
        yield found, missing


def listener_alone(folder: Path, to: Sink) -> AbstractContextManager[Candidate]:
    """A node that takes images and has no worker: what a C-STORE costs where nothing is inferred."""
    return _node(folder, to, "listen")


@contextmanager
def _node(folder: Path, to: Sink, command: str) -> Iterator[Candidate]:
    port, mllp = free_port(), free_port()
    give_engines(folder)
    configuration = NODE_TOML.format(
        folder=json.dumps(str(folder)), port=port, mllp=mllp, sink=to.port, sink_ae=SINK, codes=code_table().version
    )
    with NodeProcess(folder, configuration, ports=(port, mllp), command=command):
        note = "osteon serve: durable, with ledger, clinical data, checks and delivery lanes"
        yield Candidate(name="osteon", note=note, ports=(port,), mllp_port=mllp)


def _small(stack: ExitStack, kind: str, folder: Path, to: Sink) -> Candidate:
    notes = {
        "limit": "receive + fsync + decode + score + report + deliver in one loop; keeps nothing",
        "handler": "inference in pynetdicom's C-STORE handler",
    }
    return Candidate(name=kind, note=notes[kind], ports=(_started(stack, kind, folder / kind, to),))


def _limits(stack: ExitStack, folder: Path, to: Sink) -> Candidate:
    """What the cores do together: two that share caches, memory and often one physical core do not do twice as much."""
    ports = tuple(_started(stack, "limit", folder / f"limit-{number}", to) for number in range(cores()))
    return Candidate(name="limits", note="such a loop for each core, all at once", ports=ports, single=False)


def _started(stack: ExitStack, kind: str, folder: Path, to: Sink) -> int:
    """The port of a server of `e2e_servers`."""
    port = free_port()
    _await_port(stack.enter_context(_server(kind, port, to.port, folder)), port)
    return port


def _exec(stack: ExitStack, folder: Path, to: Sink) -> Candidate:
    port = free_port()
    folder.mkdir(parents=True)
    cold = f"{sys.executable} -m bench.e2e_inference #p {to.port}"
    command = [
        "storescp",
        "-od",
        str(folder),
        "--sort-on-study-uid",
        "study",
        "--eostudy-timeout",
        "1",
        "--exec-on-eostudy",
        cold,
    ]
    process = stack.enter_context(_process([*command, "-pdu", "131072", str(port)]))
    _await_port(process, port)
    note = "storescp --exec-on-eostudy, a cold Python for each study"
    return Candidate(name="exec", note=note, ports=(port,), burst=False)


def _poller(stack: ExitStack, folder: Path, to: Sink) -> Candidate:
    port, http = free_port(), free_port()
    folder.mkdir(parents=True)
    configuration = {
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "HttpPort": http,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomAet": "OSTEON",
        "DicomPort": port,
        "StoreMD5ForAttachments": False,
        "DicomAlwaysAllowStore": True,
        "Plugins": [],
    }
    (folder / "orthanc.json").write_text(json.dumps(configuration))
    binary = shutil.which("Orthanc", path=os.environ.get("PATH", "") + ":/usr/sbin")
    orthanc = stack.enter_context(_process([str(binary), str(folder / "orthanc.json")]))
    _await_port(orthanc, http)
    poller = stack.enter_context(_server("poller", http, to.port, folder / "files"))
    assert poller.stdout is not None
    poller.stdout.readline()
    return Candidate(
        name="poller", note="Orthanc, warm inference polling its REST interface every 0.1 s", ports=(port,)
    )


def _server(kind: str, port: int, sink_port: int, folder: Path):
    folder.mkdir(parents=True, exist_ok=True)
    return _python("bench.e2e_servers", kind, str(port), str(sink_port), str(folder))


def _python(*module_and_arguments: str):
    return _process([sys.executable, "-m", *module_and_arguments])


@contextmanager
def _process(command: list[str]) -> Iterator[subprocess.Popen[str]]:
    environment = os.environ | {
        "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}",
        "OMP_NUM_THREADS": "1",
        "TCP_NODELAY": "1",
    }
    # Errors go to the terminal: a benchmark that fails must say why.
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _await_port(process: subprocess.Popen[str], port: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    msg = f"{process.args} does not listen"
    raise RuntimeError(msg)
