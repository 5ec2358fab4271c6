"""A process that writes the SR while the worker draws the page: both are Python, and one interpreter runs one of them.

Where a core is free, it saves a third of the time between a score and its report; where films are waiting, it is not
asked. It is a help and never a need: whatever keeps it from answering, the worker writes the SR itself, from the same
order to the same bytes. Answers are numbered, since one may be left lying by a report whose page could not be drawn.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import warnings
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any, Final

import structlog

from dicom_io.report import ReportOrder, write_here, written

_CONTEXT: Final = multiprocessing.get_context("spawn")
_ANSWER_SECONDS: Final = 10.0
"""It takes some hundredths; a process that was stopped must not hold up cases."""

log = structlog.get_logger()


class ReportWriter:
    """The process, and the orders given to it. For one thread."""

    def __init__(self) -> None:
        """Start it; until it is ready, orders are written here."""
        ours, theirs = _CONTEXT.Pipe()
        self._link: Connection[Any, Any] = ours
        self._process: SpawnProcess | None = _CONTEXT.Process(
            target=_serve, args=(theirs,), name="osteon-report-writer", daemon=True
        )
        self._process.start()
        theirs.close()  # else its end would never be seen
        self._ready = False
        self._orders = 0

    def write(self, order: ReportOrder) -> Callable[[], bytes]:
        """Begin to write an SR; as `dicom_io.report.Write`."""
        try:
            if not self._is_ready():
                return write_here(order)
            self._orders += 1
            self._link.send((self._orders, order))
        except (OSError, EOFError) as error:
            self._lose(error)
            return write_here(order)
        number = self._orders
        return lambda: self._answer(number) or written(order)

    def close(self) -> None:
        """End the process; what is ordered after it is written here."""
        ended, self._process = self._process, None
        if ended is not None:
            self._link.close()
            ended.kill()
            ended.join()

    def _is_ready(self) -> bool:
        if self._process is not None and not self._ready and self._link.poll():
            self._link.recv()
            self._ready = True
        return self._process is not None and self._ready

    def _answer(self, number: int) -> bytes | None:
        """The bytes of this order; None where they do not come, or could not be written there either."""
        try:
            while self._link.poll(_ANSWER_SECONDS):
                answered, part10 = self._link.recv()
                if answered == number:
                    return None if part10 is None else bytes(part10)
            msg = f"no answer within {_ANSWER_SECONDS:g} s"
            raise TimeoutError(msg)
        except (OSError, EOFError) as error:
            self._lose(error)
            return None

    def _lose(self, error: Exception) -> None:
        """Do without it until the worker starts anew: what ended it once would end it over and over."""
        log.warning("report.writer_lost", error=f"{type(error).__name__}: {error}")
        self.close()


def _serve(link: Connection[Any, Any]) -> None:
    """Body of the process; it ends with the worker, whose end of the link closes however the worker ended."""
    warnings.simplefilter("ignore")  # pydicom's quote names and identifiers
    with contextlib.suppress(EOFError, OSError, KeyboardInterrupt):
        link.send(None)  # ready
        while True:
            number, order = link.recv()
            link.send((number, _attempted(order)))


def _attempted(order: ReportOrder) -> bytes | None:
    """None instead of an error, whose message may quote patient data: the worker meets the same one and names it."""
    try:
        return written(order)
    except Exception:  # noqa: BLE001 - whatever it is, the worker finds out
        return None
