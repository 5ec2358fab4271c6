"""The node of a campaign as processes that can be killed, its archive, its database, and where their files lie."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from chaos import bodies
from chaos.audit import ENDED
from chaos.ledger_file import Row, Unreachable, rows
from chaos.moody_archive import AE_TITLE
from chaos.processes import Killable, listens
from support.node_parts import CONFIRMED
from support.postgres import Cluster, cluster
from support.rabbitmq import Broker, broker

from config.settings import Settings, parse
from node.demo.node_process import free_port

WORKERS = 2
UP_LIMIT = 60.0
VOLUME = "256m"
"""Size of a small disk: spool and ledger of a campaign fit, also where a fast machine makes twice the reports."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Building:
    """What the hospital is made of."""

    folder: Path
    seed: int
    server: Cluster | None = None
    """PostgreSQL for the ledger; SQLite without."""
    broker: Broker | None = None
    """RabbitMQ for hints; the database's own without."""
    small_disks: bool = False
    """Ledger and spool each lie on a small disk of their own, which can be filled."""


class Hospital:
    """The node's processes, the archive, and their logs, below one folder."""

    def __init__(self, building: Building) -> None:
        folder = building.folder
        self.folder, self.node, self.archive_folder = folder, folder / "node", folder / "archive"
        self.server, self.broker = building.server, building.broker
        self.port, self.mllp_port, archive_port = free_port(), free_port(), free_port()
        self.logs = {name: folder / f"{name}.log" for name in ("listener", "worker", "archive")}
        url = "" if self.server is None else self.server.empty_database()
        self.ledger: Path | str = url or self.node
        """Where `ledger_file.rows` finds it."""
        self.settings = _settings(self, archive_port, url)
        self.listener = Killable(bodies.listener, self.settings, self.logs["listener"], port=self.port)
        self.workers = [Killable(bodies.worker, self.settings, self.logs["worker"]) for _ in range(WORKERS)]
        self.archive = Killable(
            bodies.archive,
            self.archive_folder,
            archive_port,
            building.seed,
            self.port,
            self.logs["archive"],
            port=archive_port,
        )

    def start(self) -> None:
        """Everything runs."""
        self.listener.start()
        self.listener.await_up()
        for worker in self.workers:
            worker.start()
        self.archive.start()
        self.archive.await_up()

    def stop(self) -> None:
        """The archive last: what is under way may end."""
        for one in (*self.workers, self.listener, self.archive):
            one.stop()

    def attend(self) -> None:
        """Do what a service manager does: start again what ended by itself, as a start without a database does."""
        for one in (self.listener, *self.workers):
            if one.ended:
                one.start()

    def await_listener(self) -> None:
        """Wait until the node can be talked to.

        Raises:
            RuntimeError: it cannot.

        """
        deadline = time.monotonic() + UP_LIMIT
        while not listens(self.port):
            if time.monotonic() > deadline:
                message = "the listener did not start; see its log"
                raise RuntimeError(message)
            self.attend()
            time.sleep(0.05)

    def turn_archive(self, *, down: bool) -> None:
        """Have the archive die, or come back."""
        if down == (self.archive.pid is None):
            return
        if down:
            self.archive.kill()
        else:
            self.archive.start()
        print(f"chaos: archive {'down' if down else 'up'}", flush=True)

    def say_where(self) -> None:
        """Have the node's processes write into their logs where every thread is: something does not come to an end."""
        for one in (*self.workers, self.listener):
            if one.pid is not None:
                os.kill(one.pid, signal.SIGUSR1)

    def start_once_more(self) -> None:
        """What the last kill left is swept at a start."""
        self.listener.start()
        self.listener.await_up()
        self.listener.stop()

    def look(self, query: str) -> list[Row]:
        """What the ledger answers; nothing while its database is away."""
        try:
            return rows(self.ledger, query)
        except Unreachable:
            return []

    def unfinished(self) -> int:
        """Cases that have not ended, and work that waits or is being done; one at least while nobody can tell."""
        ended = ", ".join(f"'{state}'" for state in ENDED)
        cases = f"SELECT count(*) FROM screening_case WHERE state NOT IN ({ended})"
        tasks = "SELECT count(*) FROM task WHERE state IN ('todo', 'doing') AND kind <> 'housekeeping'"
        found = self.look(f"SELECT ({cases}) + ({tasks}) AS number")
        return int(found[0]["number"]) if found else 1


@contextmanager
def hospital(building: Building) -> Iterator[Hospital]:
    """Build it and start it; stopped at the end, its disks gone."""
    with ExitStack() as rooms:
        if building.small_disks:
            for place in ("node", "node/spool"):
                rooms.enter_context(small_disk(building.folder / place))
        here = Hospital(building)
        rooms.callback(here.stop)
        here.start()
        yield here


@contextmanager
def postgresql(*, wanted: bool) -> Iterator[Cluster | None]:
    """A private PostgreSQL where one is wanted."""
    with cluster() if wanted else contextlib.nullcontext() as server:
        yield server


@contextmanager
def rabbitmq(*, wanted: bool) -> Iterator[Broker | None]:
    """A private RabbitMQ where one is wanted."""
    with broker() if wanted else contextlib.nullcontext() as node:
        yield node


@contextmanager
def small_disk(place: Path) -> Iterator[None]:
    """A file system of `VOLUME` bytes at `place`.

    Raises:
        PermissionError: mounting takes root.

    """
    place.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={VOLUME}", "tmpfs", str(place)]
    mounted = subprocess.run(command, check=False, capture_output=True, text=True)
    if mounted.returncode != 0:
        message = f"a tmpfs cannot be mounted here: {mounted.stderr.strip()}"
        raise PermissionError(message)
    try:
        yield
    finally:
        deadline = time.monotonic() + 20.0
        while subprocess.run(["umount", str(place)], check=False, capture_output=True).returncode:
            if time.monotonic() > deadline:
                subprocess.run(["umount", "-l", str(place)], check=False)
                break
            time.sleep(0.2)


def _settings(here: Hospital, archive_port: int, url: str) -> Settings:
    archive = {"name": "pacs", "ae_title": AE_TITLE, "host": "127.0.0.1", "port": archive_port}
    return parse(
        {
            "storage": {"data_dir": str(here.node), "database_url": url},
            # A disk is full when it is full: what the watermarks refuse before that is tested elsewhere.
            "reception": {"port": here.port, "reject_at_percent": 100.0, "full_at_percent": 100.0},
            "clinical": {
                "wait": 1.0,
                "amend_settle": 0.3,
                "codes": CONFIRMED,
                "mllp": {"enabled": True, "port": here.mllp_port},
            },
            "delivery": {
                "backoff_first": 0.3,
                "backoff_cap": 1.0,
                "acse_timeout": 5.0,
                "dimse_timeout": 10.0,
                "probe_seconds": 1.0,
                "recovery_rate": 50.0,
                "commitment_wait": 3.0,
                "destinations": [archive],
            },
            # A lost hint costs the poll: a second of it, so that what is hinted shows.
            "fleet": {} if here.broker is None else {"hints": "celery", "broker": here.broker.url, "poll": 1.0},
        },
        origin="chaos",
    )
