"""A crew of processes for thousands of files: one image at a time each, and one that dies takes only its image along.

The parent hands out work and starts a new process for each that was ended by a codec, a limit or the system. Each has
its next job before it is done with one, so that none waits while the parent writes a row (4 % of an archive run).
Answers come in the order in which they are ready.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.connection
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any, Final, Generic, TypeVar

from node.limits import cause_of
from node.process import starting

_CONTEXT: Final = multiprocessing.get_context("spawn")
_AT_HAND: Final = 2
"""Jobs a process has: the one it does and the next."""

Hello = TypeVar("Hello")
Job = TypeVar("Job")
Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Died:
    """In place of an answer: the process ended in the middle of this job."""

    cause: str
    """As far as its exit status tells."""


@dataclass(frozen=True, slots=True)
class _CannotBegin:
    why: str


class NeverReady(Exception):
    """A process could not begin to work, or not as the first did; the message says why."""


@dataclass(slots=True)
class _Member(Generic[Job]):
    process: SpawnProcess
    link: Connection[Any, Any]
    jobs: deque[Job] = field(default_factory=deque)
    """First the one it does, then the next."""
    ready: bool = False


class Crew(Generic[Hello, Job, Answer]):
    """`size` processes, one at least, that run `begin()` once: what it gives first they say, the rest does jobs."""

    def __init__(self, begin: Callable[[], tuple[Hello, Callable[[Job], Answer]]], size: int) -> None:
        self._begin = begin
        self._hello: Hello | None = None
        self._waiting: deque[Job] = deque()
        self._members: list[_Member[Job]] = [self._start() for _ in range(max(1, size))]

    def hello(self) -> Hello:
        """What the first process says that can begin; the others are still getting ready.

        Raises NeverReady as `work` does.
        """
        while self._hello is None:
            for number, member in self._with_news(self._members):
                for _ in self._heard(number, member):
                    pass  # nobody has a job yet
        return self._hello

    def work(self, jobs: Iterable[Job]) -> Iterator[tuple[Job, Answer | Died]]:
        """Every job once, with its answer.

        Raises NeverReady where a process ends, or says why it cannot begin, before it ever took a job; or where it says
        something else than the first did: answers of both do not mix.
        """
        self._waiting.extend(jobs)
        while self._waiting or any(member.jobs for member in self._members):
            self._hand_out()
            for number, member in self._with_news([m for m in self._members if m.jobs or not m.ready]):
                yield from self._heard(number, member)

    def dismiss(self) -> None:
        """End all processes."""
        for member in self._members:
            member.link.close()
            member.process.terminate()
        for member in self._members:
            member.process.join()

    def _hand_out(self) -> None:
        for at_hand in range(1, _AT_HAND + 1):
            for member in self._members:
                enough = len(self._waiting) >= (1 if at_hand == 1 else len(self._members))  # nobody's last job waits
                if member.ready and enough and len(member.jobs) < at_hand:
                    member.jobs.append(self._waiting.popleft())
                    with contextlib.suppress(BrokenPipeError):  # it has just ended, as is heard next
                        member.link.send(member.jobs[-1])

    def _with_news(self, awaited: list[_Member[Job]]) -> list[tuple[int, _Member[Job]]]:
        """Wait until one of these says something, or ends; those that did, with their places."""
        ready = multiprocessing.connection.wait([member.link for member in awaited]) if awaited else []
        return [(number, member) for number, member in enumerate(self._members) if member.link in ready]

    def _heard(self, number: int, member: _Member[Job]) -> Iterator[tuple[Job, Answer | Died]]:
        try:
            said = member.link.recv()
        except (EOFError, ConnectionResetError):  # the latter where it leaves a job unread
            member.process.join()
            if not member.ready:
                msg = f"a process ended with status {member.process.exitcode} before it could begin"
                raise NeverReady(msg) from None
            self._members[number] = self._start()
            if member.jobs:
                self._waiting.extendleft(reversed(list(member.jobs)[1:]))
                cause = cause_of(member.process.exitcode) or f"STATUS-{member.process.exitcode}"
                yield member.jobs[0], Died(cause=cause)
            return
        if not member.ready:
            if isinstance(said, _CannotBegin):
                raise NeverReady(said.why)
            if self._hello is not None and said != self._hello:
                msg = f"a process began otherwise than the first, which said {self._hello!r}: {said!r}; start anew"
                raise NeverReady(msg)
            self._hello, member.ready = said, True
            return
        yield member.jobs.popleft(), said

    def _start(self) -> _Member[Job]:
        ours, theirs = _CONTEXT.Pipe()
        process = _CONTEXT.Process(target=_serve, args=(self._begin, theirs), daemon=True)
        process.start()
        theirs.close()  # else its end would never be seen
        return _Member(process=process, link=ours)


def _serve(begin: Callable[[], tuple[Any, Callable[[Any], Any]]], link: Connection[Any, Any]) -> None:
    """Body of a process."""
    try:
        with starting():
            hello, answer = begin()
    except Exception as error:  # noqa: BLE001 - whatever it is, the parent shows it and ends
        link.send(_CannotBegin(f"{error}"))
        return
    link.send(hello)
    while True:
        try:
            job = link.recv()
        except (EOFError, ConnectionResetError, KeyboardInterrupt):
            return
        said = answer(job)
        try:
            link.send(said)
        except BrokenPipeError:  # who hired it is gone
            return
