"""Commits the frames of all connections together: whoever comes while a commit runs rides on the next.

A durable commit costs an fsync whatever it holds, so this is what lets 32 senders share one disk. Each frame has its
own answer: if a group fails, every frame of it is tried alone, and only the one at fault is answered AR 207.

The frames of one link are stored in their order or not at all: once one was not stored, its sender repeats it after a
new connection, and whatever had come behind it must not be stored before.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final

import structlog

from node.feeds.er7 import HL7Error
from node.feeds.hl7_ack import acknowledge, recognise
from node.feeds.outcome import Outcome

MAX_GROUP_FRAMES: Final = 256
MAX_GROUP_BYTES: Final = 16 << 20
"""What one transaction may hold, so that an answer never waits long for others' bytes."""

_log = structlog.get_logger()


class NotStored(Exception):
    """Raised by a commit: nothing could be stored for now. The links are closed unanswered and the senders repeat."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrived:
    """A complete frame and the address it came from."""

    data: bytes
    peer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What to do on the link: send `reply`, stay silent (None), or `close` it unanswered."""

    reply: bytes | None = None
    close: bool = False


Commit = Callable[[Sequence[Arrived]], Sequence[bytes | None]]
"""Frames -> acknowledgements (None: silence), in order. Runs in one thread; must be durable on return."""

Count = Callable[[str, Outcome], None]
"""(peer address, outcome): counts what happened."""


@dataclass(slots=True)
class _Line:
    """What one link submits."""

    broken: bool = False
    """A frame of it was not stored."""


@dataclass(slots=True)
class _Job:
    frame: Arrived
    line: _Line
    answer: asyncio.Future[Answer] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Committer:
    """Use it in one event loop; `run` until it is cancelled."""

    def __init__(self, commit: Commit, count: Count) -> None:
        self._commit = commit
        self._count = count
        self._jobs: deque[_Job] = deque()
        self._some = asyncio.Event()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="mllp-commit")

    def line(self) -> Callable[[Arrived], asyncio.Future[Answer]]:
        """For one link: queues a frame of it; the answer comes once the frame is committed."""
        line = _Line()

        def submit(frame: Arrived) -> asyncio.Future[Answer]:
            job = _Job(frame, line)
            self._jobs.append(job)
            self._some.set()
            return job.answer

        return submit

    async def run(self) -> None:
        """Commit what is queued, group by group."""
        while True:
            await self._some.wait()
            self._some.clear()
            while self._jobs:
                await self._commit_group(self._next_group())

    def close(self) -> None:
        """Wait for the commit that runs and end the thread."""
        self._thread.shutdown()

    def _next_group(self) -> list[_Job]:
        group: list[_Job] = []
        size = 0
        while self._jobs and len(group) < MAX_GROUP_FRAMES and size < MAX_GROUP_BYTES:
            job = self._jobs.popleft()
            size += len(job.frame.data)
            group.append(job)
        return group

    async def _commit_group(self, group: list[_Job]) -> None:
        group = self._unbroken(group)
        if not group:
            return
        frames = [job.frame for job in group]
        loop = asyncio.get_running_loop()
        try:
            replies = await loop.run_in_executor(self._thread, self._commit, frames)
        except NotStored:
            _log.warning("mllp_not_stored", frames=len(group))
            for job in group:
                self._not_stored(job)
        except Exception as error:  # noqa: BLE001 - outermost callback: one bad frame must not end the listener
            if len(group) > 1:
                for job in group:
                    await self._commit_group([job])
                return
            self._failed(group[0], error)
        else:
            for job, reply in zip(group, replies, strict=True):
                _settle(job, Answer(reply=reply))

    def _unbroken(self, group: list[_Job]) -> list[_Job]:
        """Those that may be stored; the links of the others close."""
        for job in group:
            if job.line.broken:
                self._not_stored(job)
        return [job for job in group if not job.line.broken]

    def _not_stored(self, job: _Job) -> None:
        job.line.broken = True
        self._count(job.frame.peer, Outcome.NOT_STORED)
        _settle(job, Answer(close=True))

    def _failed(self, job: _Job, error: Exception) -> None:
        # The class only: a traceback or a message may quote the frame.
        peer, size = job.frame.peer, len(job.frame.data)
        _log.error("mllp_commit_failed", peer=peer, size=size, error=type(error).__name__)
        self._count(peer, Outcome.FAILED)
        _settle(job, Answer(reply=internal_error(job.frame.data)))


def internal_error(frame: bytes) -> bytes | None:
    """AR 207 for any frame."""
    return acknowledge(recognise(frame), HL7Error(207, "message"), dt.datetime.now(dt.UTC))


def _settle(job: _Job, answer: Answer) -> None:
    if not job.answer.done():  # else its link is gone; the frame is stored all the same
        job.answer.set_result(answer)
