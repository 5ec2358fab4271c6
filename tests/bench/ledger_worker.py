"""One worker of `bench-ledger`: the node's own dispatcher with a handler that ends each case at once.

`python -m bench.ledger_worker URL CASES` drains the infer lane and prints a line "<unix seconds> <CPU seconds>" at its
start and after every `BLOCK` cases; it ends after so many cases, or when nothing has been due for a second. With
`--in-bulk` it does the same to each case by the same statements, a block in one transaction, and prints nothing: what
lies between the two ends that are measured.
"""

from __future__ import annotations

import functools
import sys
import threading
import time
from collections.abc import Callable

from config.fleet import Fleet
from model.domain import Reason
from node.case import Case, NotApplicable
from node.dispatch.local import Dispatcher
from node.store import cases, jobs
from node.store.engine import Connection, Ledger, open_ledger
from node.store.jobs import Task
from node.tasks import ADVANCE, INFER_LANE

BLOCK = 250
_IDLE_SECONDS = 1.0


class Counted:
    """The handler: reads the case, as every handler does first, and closes it in the completion."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self.done = 0
        self.last = time.monotonic()

    def advance(self, task: Task) -> Callable[[Connection], None]:
        with self._ledger.read() as c:
            case = cases.load(c, int(task.key))
        self.done += 1
        self.last = time.monotonic()
        if self.done % BLOCK == 0:
            _stamp()
        return functools.partial(cases.save, case=_ended(case))


def main() -> None:
    url, count = sys.argv[1], int(sys.argv[2])
    ledger = open_ledger(url)
    if "--in-bulk" in sys.argv:
        _drain_in_bulk(ledger, count)
    else:
        _drain(ledger, count)
    ledger.close()


def _drain(ledger: Ledger, count: int) -> None:
    handler = Counted(ledger)
    dispatcher = Dispatcher(ledger, {ADVANCE: handler.advance}, {INFER_LANE: 1}, poll=Fleet().poll)
    _stamp()
    dispatcher.start()
    waiting = threading.Event()
    while handler.done < count and time.monotonic() - handler.last < _IDLE_SECONDS:
        waiting.wait(0.05)
    dispatcher.stop()


def _drain_in_bulk(ledger: Ledger, count: int) -> None:
    for _ in range(0, count, BLOCK):
        with ledger.begin() as c:
            tasks = jobs.claim(c, INFER_LANE, BLOCK, owner="bulk", lease=60)
        with ledger.begin() as c:
            for task in tasks:
                if jobs.finish(c, task):
                    cases.save(c, _ended(cases.load(c, int(task.key))))


def _ended(case: Case) -> NotApplicable:
    return NotApplicable(case_id=case.case_id, source=case.source, reasons=(Reason.MODALITY,))


def _stamp() -> None:
    print(f"{time.time():.6f} {time.process_time():.6f}", flush=True)


if __name__ == "__main__":
    main()
