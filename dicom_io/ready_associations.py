"""Associations to archives that are opened while the report they are for is still being written.

An association takes as long as the network and the archive take to agree, and the reader of the report would wait for
it. So whoever knows that a report is coming has one opened, like the last one there; the report takes it, and it is
released when the report is stored, as ever: some archives file what they got only then. One that is not fetched in time
is released unused. Only an archive that took the last association is asked ahead: one that is away is left alone.
"""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from config.settings import Delivery, Destination
from dicom_io.errors import PeerFault
from dicom_io.storage_scu import Outbound, outbound

KEPT_SECONDS: Final = 5.0
"""How long an association waits for its report."""

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wish:
    """What an association is to be good for."""

    to: Destination
    objects: tuple[tuple[str, str], ...]
    """Pairs of SOP class and transfer syntax."""
    proving: bool

    def covers(self, other: _Wish) -> bool:
        return self.to == other.to and set(self.objects) >= set(other.objects) and self.proving >= other.proving


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Ready:
    """An association that waits for its report, and what ends it."""

    wish: _Wish
    archive: Outbound
    end: contextlib.ExitStack
    alarm: threading.Timer


class ReadyAssociations:
    """Those of one process; safe to use from all its threads.

    `most` wait at once for reports to one archive: as many as are sent there at once.
    """

    def __init__(self, most: int = 1) -> None:
        self._most = most
        self._changed = threading.Condition()
        self._last: dict[str, _Wish] = {}
        """By destination, what the last association was good for; none where it did not come about."""
        self._opening: Counter[str] = Counter()
        self._ready: list[_Ready] = []
        self._closed = False

    def prepare(self, to: Destination, settings: Delivery) -> None:
        """A report for `to` is coming: have an association opened like the last one there. Returns at once."""
        with self._changed:
            wish = self._last.get(to.name)
            waiting = self._opening[to.name] + sum(one.wish.to.name == to.name for one in self._ready)
            if wish is None or wish.to != to or waiting >= self._most or self._closed:
                return
            self._opening[to.name] += 1
        threading.Thread(target=self._open, args=(wish, settings), name=f"ahead:{to.name}", daemon=True).start()

    @contextlib.contextmanager
    def outbound(
        self, objects: Sequence[tuple[str, str]], to: Destination, settings: Delivery, *, proving: bool = False
    ) -> Iterator[Outbound]:
        """An association as of `storage_scu.outbound`: one that is ready, else a new one. Raises as that."""
        wish = _Wish(to=to, objects=tuple(objects), proving=proving)
        ready = self._take(wish, patience=settings.acse_timeout)
        with ready.end if ready else contextlib.ExitStack() as end:
            try:
                archive = ready.archive if ready else end.enter_context(_opened(wish, settings))
            except PeerFault:
                self._remember(to, None)
                raise
            self._remember(to, ready.wish if ready else wish)
            yield archive

    def close(self) -> None:
        """Release what waits, and have nothing opened ahead any more."""
        with self._changed:
            self._closed = True
            over, self._ready = self._ready, []
        for one in over:
            one.alarm.cancel()
            one.end.close()

    def _open(self, wish: _Wish, settings: Delivery) -> None:
        """Body of the thread that opens one."""
        ready = None
        try:
            ready = self._made(wish, settings)
        except PeerFault as fault:  # the report's own association will say it where it counts
            _log.info("association.not_ahead", destination=wish.to.name, error=str(fault))
        finally:  # whatever else was raised, no report may wait for this one
            if ready is None:
                self._remember(wish.to, None)
            with self._changed:
                self._opening[wish.to.name] -= 1
                unwanted = ready if self._closed else None
                if ready is not None and unwanted is None:
                    self._ready.append(ready)
                    ready.alarm.start()
                self._changed.notify_all()
        if unwanted is not None:
            unwanted.end.close()

    def _made(self, wish: _Wish, settings: Delivery) -> _Ready:
        with contextlib.ExitStack() as stack:
            archive = stack.enter_context(_opened(wish, settings))
            alarm = threading.Timer(KEPT_SECONDS, lambda: self._expire(ready))
            alarm.daemon = True
            ready = _Ready(wish=wish, archive=archive, end=stack.pop_all(), alarm=alarm)
        return ready

    def _expire(self, ready: _Ready) -> None:
        with self._changed:
            if ready not in self._ready:
                return
            self._ready.remove(ready)
        ready.end.close()

    def _take(self, wish: _Wish, *, patience: float) -> _Ready | None:
        """One that is ready, or about to be; None where a new one must be opened."""
        name = wish.to.name
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._fit(wish) is not None or not self._opening[name], patience)
                ready = self._fit(wish)
                if ready is None:
                    return None
                self._ready.remove(ready)
            ready.alarm.cancel()
            if ready.archive.open:
                return ready
            ready.end.close()  # the archive ended it meanwhile

    def _fit(self, wish: _Wish) -> _Ready | None:
        return next((one for one in self._ready if one.wish.covers(wish)), None)

    def _remember(self, to: Destination, wish: _Wish | None) -> None:
        with self._changed:
            if wish is None:
                self._last.pop(to.name, None)
            else:
                self._last[to.name] = wish


def _opened(wish: _Wish, settings: Delivery) -> contextlib.AbstractContextManager[Outbound]:
    return outbound(wish.objects, wish.to, settings, proving=wish.proving)
