"""Works off the HL7 inbox: one consumer, strictly in the order of receipt, some frames per transaction.

The ledger notes the last number in the transaction that writes the facts, so a crash at any point repeats nothing and
loses nothing, and a new ledger beside an old inbox fills itself. What is written depends on the frames alone: they
count as known since they were received, so the same inbox gives the same tables. A frame whose handling fails is kept
for a person, alone: the others of its batch are written, and the feed goes on.
"""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from config.clinical import Clinical
from node import intake
from node.facts import Change
from node.feeds.hl7_rules import Rules
from node.feeds.inbox import accept
from node.store import inbox
from node.store import inbox_progress as progress
from node.store.engine import Connection, Ledger
from node.store.errors import LedgerUnavailable, NoSuchCase
from node.store.inbox import StoredFrame
from node.store.inbox_progress import Spoiled

BATCH: Final = 20
"""Frames per transaction: the commit costs little per frame, and other writers wait for a few milliseconds."""
PURGE_BATCH: Final = 500

_POLL_SECONDS: Final = 1.0
"""How often to look without being woken: other listeners may store into the same PostgreSQL."""
_PAUSE_SECONDS: Final = 1.0

log = structlog.get_logger()

Changed = Callable[[Connection, Sequence[Change]], object]
"""Told of what a frame changed, in the transaction that writes its facts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workplace:
    """What frames are worked off with."""

    ledger: Ledger
    inbox: Ledger
    settings: Clinical
    rules: Rules
    changed: Changed

    def apply(self, c: Connection, frames: Sequence[StoredFrame], at: dt.datetime | None = None) -> tuple[str, ...]:
        """Write the facts of frames as known since `at` (None: receipt); why each must be kept for a person, if so.

        Together, which costs a fraction; should one of them fail, each alone, so that only that one is kept.
        """
        try:
            return progress.apart(c, lambda: self._write(c, frames, at))
        except Spoiled as error:
            if len(frames) > 1:
                return tuple(reason for frame in frames for reason in self.apply(c, (frame,), at))
            log.error("hl7_spoiled", frame=frames[0].seq, error=str(error))  # noqa: TRY400 - a traceback may quote it
            return (f"UNEXPECTED {error.kind}",)

    def _write(self, c: Connection, frames: Sequence[StoredFrame], at: dt.datetime | None) -> tuple[str, ...]:
        done = intake.process_frames(c, frames, self.rules, at=at, settings=self.settings)
        self.changed(c, [change for one in done for change in one.changes])
        return tuple(one.quarantine for one in done)


class InboxConsumer:
    """The consumer in a thread of its own. `start` once, `stop` once."""

    def __init__(self, place: Workplace) -> None:
        """Raise LedgerUnavailable where ledger or inbox does not answer. To be made before the inbox takes a frame."""
        self._place = place
        with place.ledger.read() as c:
            highest = progress.highest(c)
        with place.inbox.begin() as c:
            inbox.continue_after(c, highest)
            self._name = inbox.name_of(c)
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="inbox-consumer", daemon=True)

    def start(self) -> None:
        """Begin with what an earlier run left."""
        self._thread.start()

    def wake(self) -> None:
        """The inbox holds something new."""
        self._wake.set()

    def stop(self) -> None:
        """Finish the batch that runs; the rest stays for the next run."""
        self._stopping.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()

    def work_off(self) -> int:
        """Work off all there is, in the caller's thread; how many frames."""
        done = 0
        while count := self.work_batch():
            done += count
        return done

    def work_batch(self) -> int:
        """Work off the next frames, in one transaction; how many.

        Raises:
            LedgerUnavailable: nothing of them is written; try again.

        """
        place = self._place
        with place.ledger.read() as c:
            position = progress.position(c, self._name)
        with place.inbox.read() as c:
            frames = inbox.after(c, position, BATCH)
        if not frames:
            return 0
        with place.ledger.begin() as c:
            if progress.advance(c, self._name, old=position, new=frames[-1].seq):
                for frame, reason in zip(frames, place.apply(c, frames), strict=True):
                    if reason:
                        progress.quarantine(c, self._name, frame.seq, reason, frame.received_at)
        return len(frames)

    def purge(self) -> None:
        """Delete what is older than the settings keep; never a frame that was not worked off or waits for a person."""
        place = self._place
        before = dt.datetime.now(dt.UTC) - dt.timedelta(days=place.settings.mllp.keep_days)
        with place.ledger.read() as c:
            position = progress.position(c, self._name)
            keep = frozenset(one.seq for one in progress.held(c, self._name))
        with place.inbox.read() as c:
            up_to = min(position, inbox.newest_before(c, before))
        seen: int | None = 0
        while seen is not None and not self._stopping.is_set():
            with place.inbox.begin() as c:
                seen = inbox.purge(c, after=seen, up_to=up_to, keep=keep, limit=PURGE_BATCH)
            self._stopping.wait(0.01)  # an answer that waits for the file goes first
        with place.inbox.begin() as c:
            inbox.forget_contacts(c, before=before)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._wake.clear()
            try:
                busy = self.work_batch()
            except LedgerUnavailable as error:
                log.warning("inbox_consumer.ledger_unavailable", error=str(error))
                self._stopping.wait(_PAUSE_SECONDS)
            except Exception as error:  # noqa: BLE001 - outermost loop: a consumer that ends would stop the feed silently
                log.error("inbox_consumer.failed", error=str(Spoiled(error)))  # noqa: TRY400 - a traceback may quote a frame
                self._stopping.wait(_PAUSE_SECONDS)
            else:
                if not busy:
                    self._wake.wait(_POLL_SECONDS)


def replay(place: Workplace, seq: int) -> str:
    """Read a frame again, by the settings and rules of now; the reason for which it still waits, or nothing.

    Raises:
        NoSuchCase: there is no such frame.

    """
    with place.inbox.read() as c:
        name, found = inbox.name_of(c), inbox.get(c, seq)
    if found is None:
        msg = f"there is no message {seq} in the inbox; `osteon inbox` lists them"
        raise NoSuchCase(msg)
    info, body = found
    at = dt.datetime.now(dt.UTC)
    if info.refusal and (error := accept(body, at=at, settings=place.settings.mllp).error) is not None:
        return f"HL7-{error.code} {error.location}".strip()
    with place.ledger.begin() as c:
        (reason,) = place.apply(c, [StoredFrame(seq=seq, received_at=info.received_at, body=body)], at)
        if reason:
            progress.quarantine(c, name, seq, reason, at)
        else:
            progress.release(c, name, seq)
    if info.refusal:
        with place.inbox.begin() as c:
            inbox.admit(c, seq)
    return reason


def dismiss(place: Workplace, seq: int) -> bool:
    """A person decided that a frame need not be taken. Whether it waited."""
    with place.inbox.read() as c:
        name = inbox.name_of(c)
    with place.ledger.begin() as c:
        return progress.release(c, name, seq)
