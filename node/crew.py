"""A crew of processes for thousands of files: one image at a time each, and one that dies takes only its image along.

The parent hands out work as processes become free and starts a new one for each that was ended by a codec, a limit or
the system. Results come in the order in which they are ready.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any, Final, Generic, TypeVar

from node.limits import cause_of

_CONTEXT: Final = multiprocessing.get_context("spawn")

Job = TypeVar("Job")
Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Died:
    """In place of an answer: the process ended in the middle of this job."""

    cause: str
    """As far as its exit status tells."""


class NeverReady(Exception):
    """No process could begin to work; the message is what the first of them said."""


@dataclass(slots=True)
class _Member(Generic[Job]):
    process: SpawnProcess
    link: Connection[Any, Any]
    job: Job | None = None
    ready: bool = False


class Crew(Generic[Job, Answer]):
    """`size` processes that run `begin()` once and then its result on every job."""

    def __init__(self, begin: Callable[[], Callable[[Job], Answer]], size: int) -> None:
        self._begin = begin
        self._members: list[_Member[Job]] = [self._start() for _ in range(size)]

    def work(self, jobs: Iterable[Job]) -> Iterator[tuple[Job, Answer | Died]]:
        """Every job once, with its answer.

        Raises NeverReady where a process ends, or says why it cannot begin, before it ever took a job.
        """
        waiting = iter(jobs)
        exhausted = False
        while not (exhausted and all(member.job is None for member in self._members)):
            for member in self._members:
                if member.ready and member.job is None and not exhausted:
                    member.job = next(waiting, None)
                    if member.job is None:
                        exhausted = True
                    else:
                        member.link.send(member.job)
            busy = [m.link for m in self._members if m.job is not None or not m.ready]
            if not busy:
                continue
            ready = multiprocessing.connection.wait(busy)
            for number, member in enumerate(self._members):
                if member.link in ready:
                    yield from self._heard(number, member)

    def dismiss(self) -> None:
        """End all processes."""
        for member in self._members:
            member.link.close()
            member.process.terminate()
        for member in self._members:
            member.process.join()

    def _heard(self, number: int, member: _Member[Job]) -> Iterator[tuple[Job, Answer | Died]]:
        try:
            said = member.link.recv()
        except EOFError:
            member.process.join()
            if not member.ready:
                msg = f"a process ended with status {member.process.exitcode} before it could begin"
                raise NeverReady(msg) from None
            self._members[number] = self._start()
            if member.job is not None:
                yield member.job, Died(cause=cause_of(member.process.exitcode) or f"STATUS-{member.process.exitcode}")
            return
        if not member.ready:
            if isinstance(said, str):
                raise NeverReady(said)
            member.ready = True
            return
        job, member.job = member.job, None
        if job is not None:
            yield job, said

    def _start(self) -> _Member[Job]:
        ours, theirs = _CONTEXT.Pipe()
        process = _CONTEXT.Process(target=_serve, args=(self._begin, theirs), daemon=True)
        process.start()
        theirs.close()  # else its end would never be seen
        return _Member(process=process, link=ours)


def _serve(begin: Callable[[], Callable[[Any], Any]], link: Connection[Any, Any]) -> None:
    """Body of a process."""
    try:
        answer = begin()
    except Exception as error:  # noqa: BLE001 - whatever it is, the parent shows it and ends
        link.send(f"{error}")
        return
    link.send(True)  # noqa: FBT003 - the word for "ready"
    while True:
        try:
            job = link.recv()
        except (EOFError, KeyboardInterrupt):
            return
        link.send(answer(job))
