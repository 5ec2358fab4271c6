"""The delivering half of a node with a virtual clock: real ledger, real associations, one thread, no waiting."""

from __future__ import annotations

import contextlib
import datetime as dt
import functools
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from support.dicom_objects import radiograph_dataset
from support.reporting import Desk

from config.settings import Reception
from dicom_io.commitment_scu import CommitmentEvents
from dicom_io.spool import Spool
from dicom_io.storage_scp import StorageScp
from node.breaker import Prober, lane_flows
from node.case import Case
from node.delivery import Deliverer
from node.dispatch.local import Dispatcher
from node.errors import Retry
from node.proof import Prover, record_event
from node.store import jobs, outbox
from node.store.engine import Ledger, open_ledger
from node.store.jobs import Task
from node.store.outbox import Delivery
from node.store.schema import task as task_table
from node.tasks import DELIVER, PROBE, PROVE

FAST = {"acse_timeout": 20, "dimse_timeout": 30, "backoff_first": 10, "backoff_cap": 600}


class Post:
    """Delivers what the desk reports. `due` does what is due now; `pass_time` lets time go by without waiting."""

    def __init__(self, ledger: Ledger, folder: Path, *destinations: dict[str, Any], **delivery: Any) -> None:
        self.ledger = ledger
        self.desk = Desk(ledger, folder, {"delivery": FAST | {"destinations": list(destinations)} | delivery})
        settings = self.desk.worker().pipeline.settings.delivery
        self.offset = dt.timedelta()
        self.retries: list[tuple[str, float, str]] = []
        """(kind, pause in seconds, reason) of everything that was put off."""
        self.events = CommitmentEvents(functools.partial(record_event, ledger))
        self.deliverer = Deliverer(ledger=ledger, settings=settings, now=self.now)
        self.prover = Prover(ledger=ledger, settings=settings, events=self.events, now=self.now)
        self.prober = Prober(ledger=ledger, settings=settings, now=self.now)
        handlers = {DELIVER: self.deliverer.deliver, PROVE: self.prover.prove, PROBE: self.prober.probe}
        self._handlers = {kind: functools.partial(self._noting, kind, call) for kind, call in handlers.items()}
        self._lanes = [f"net:{d['name']}" for d in destinations] + ["probe"]
        self._node = Dispatcher(ledger, self._handlers, dict.fromkeys(self._lanes, 1), gate=lane_flows)

    def now(self) -> dt.datetime:
        return dt.datetime.now(dt.UTC) + self.offset

    def report(self, **film: Any) -> int:
        """A new case in Reported."""
        case_id = self.desk.receive(**film)
        self.desk.work()
        return case_id

    def due(self) -> int:
        """Do what is due now, each task at most once; how many there were."""
        done: list[tuple[str, str]] = []
        for lane in self._lanes:
            while (task := self._claim(lane)) is not None and (task.kind, task.key) not in done:
                completion = self._node._do(task)
                if completion is not None:
                    with self.ledger.begin() as c:
                        completion(c)
                done.append((task.kind, task.key))
        return len(done)

    def send(self) -> None:
        """Send what is due, and look for no proof."""
        for lane in self._lanes:
            if (task := self._claim(lane)) is not None and (completion := self._node._do(task)) is not None:
                with self.ledger.begin() as c:
                    completion(c)

    def _claim(self, lane: str) -> Task | None:
        with self.ledger.read() as c:
            if not lane_flows(c, lane):
                return None
        with self.ledger.begin() as c:
            return next(iter(jobs.claim(c, lane, 1, owner="post", lease=0)), None)

    def settle(self, rounds: int = 20) -> None:
        """Do what is due, and what becomes due by it, without any time going by."""
        for _ in range(rounds):
            if not self.due():
                return

    def pass_time(self, seconds: float) -> None:
        self.offset += dt.timedelta(seconds=seconds)
        with self.ledger.begin() as c:
            waiting = task_table.c.state == "todo"
            c.execute(sa.update(task_table).where(waiting).values(due_at=task_table.c.due_at - seconds))

    def until(self, seconds: float) -> None:
        """Let so much time go by, doing everything when it is due."""
        end = self.now() + dt.timedelta(seconds=seconds)
        self.settle()
        while (wait := self._next_due()) is not None and self.now() + dt.timedelta(seconds=wait) <= end:
            self.pass_time(wait)
            self.settle()
        self.pass_time(max(0.0, (end - self.now()).total_seconds()))

    def case(self, case_id: int) -> Case:
        return self.desk.case(case_id)

    def delivery(self, case_id: int, version: int = 1, name: str = "pacs") -> Delivery:
        with self.ledger.read() as c:
            return outbox.one(c, case_id, version, name)

    def door(self, folder: Path, port: int = 0) -> StorageScp:
        """The node's own SCP, which takes the reports of archives."""
        return StorageScp(Reception(port=port), Spool(folder), lambda _: None, events=self.events)

    def _next_due(self) -> float | None:
        with self.ledger.read() as c:
            lanes = [lane for lane in self._lanes if lane_flows(c, lane)]
            at = c.execute(
                sa.select(sa.func.min(task_table.c.due_at)).where(
                    task_table.c.state == "todo", task_table.c.lane.in_(lanes)
                )
            ).scalar()
        return None if at is None else max(0.001, at - dt.datetime.now(dt.UTC).timestamp() + 0.001)

    def _noting(self, kind: str, call: Any, task: Any) -> Any:
        try:
            return call(task)
        except Retry as retry:
            self.retries.append((kind, retry.after, retry.reason))
            raise


def reported_once(folder: Path, *names: str, cases: int = 1) -> Path:
    """A folder with a ledger in which so many cases are reported and nothing is sent; copy it, it takes seconds."""
    ledger = open_ledger(folder / "ledger.db")
    places = [{"name": name, "ae_title": "PACS", "host": "127.0.0.1", "port": 104} for name in names]
    post = Post(ledger, folder, *places)
    for number in range(1, cases + 1):
        post.report(dataset=radiograph_dataset(number=number, PatientName="Weber^Petra"))
    ledger.close()
    return folder


@contextlib.contextmanager
def posted(made: Path, folder: Path, *destinations: dict[str, Any], **delivery: Any) -> Iterator[Post]:
    """A post over a copy of `made` in `folder`."""
    shutil.copytree(made, folder, dirs_exist_ok=True)
    ledger = open_ledger(folder / "ledger.db")
    try:
        yield Post(ledger, folder, *destinations, **delivery)
    finally:
        ledger.close()
