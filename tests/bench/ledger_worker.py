"""One worker of `bench-ledger`: the node's own dispatcher with a handler that ends each case at once.

`python -m bench.ledger_worker URL` drains the infer lane and prints a line "<unix seconds> <CPU seconds>" at its start
and after every `BLOCK` cases; it ends when nothing has been due for a second.
"""

from __future__ import annotations

import functools
import sys
import threading
import time
from collections.abc import Callable

from model.domain import Reason
from node.case import NotApplicable
from node.dispatch.local import Dispatcher
from node.store import cases
from node.store.engine import Connection, Ledger, open_ledger
from node.store.jobs import Task
from node.tasks import ADVANCE, INFER_LANE
from node.worker import POLL_SECONDS

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
        ended = NotApplicable(case_id=case.case_id, source=case.source, reasons=(Reason.MODALITY,))
        self.done += 1
        self.last = time.monotonic()
        if self.done % BLOCK == 0:
            _stamp()
        return functools.partial(cases.save, case=ended)


def main() -> None:
    ledger = open_ledger(sys.argv[1])
    handler = Counted(ledger)
    dispatcher = Dispatcher(ledger, {ADVANCE: handler.advance}, {INFER_LANE: 1}, poll=POLL_SECONDS)
    _stamp()
    dispatcher.start()
    waiting = threading.Event()
    while time.monotonic() - handler.last < _IDLE_SECONDS:
        waiting.wait(0.2)
    dispatcher.stop()
    ledger.close()


def _stamp() -> None:
    print(f"{time.time():.6f} {time.process_time():.6f}", flush=True)


if __name__ == "__main__":
    main()
