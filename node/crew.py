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
    """No process could begin to work; the message is what the first of them said."""


@dataclass(slots=True)
class _Member(Generic[Job]):
    process: SpawnProcess
    link: Connection[Any, Any]
    job: Job | None = None
    ready: bool = False


class Crew(Generic[Hello, Job, Answer]):
    """`size` processes, one at least, that run `begin()` once: what it gives first they say, the rest does jobs."""

    def __init__(self, begin: Callable[[], tuple[Hello, Callable[[Job], Answer]]], size: int) -> None:
        self._begin = begin
        self._hello: Hello | None = None
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
            for number, member in self._with_news([m for m in self._members if m.job is not None or not m.ready]):
                yield from self._heard(number, member)

    def dismiss(self) -> None:
        """End all processes."""
        for member in self._members:
            member.link.close()
            member.process.terminate()
        for member in self._members:
            member.process.join()

    def _with_news(self, awaited: list[_Member[Job]]) -> list[tuple[int, _Member[Job]]]:
        """Wait until one of these says something, or ends; those that did, with their places."""
        ready = multiprocessing.connection.wait([member.link for member in awaited]) if awaited else []
        return [(number, member) for number, member in enumerate(self._members) if member.link in ready]

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
            if isinstance(said, _CannotBegin):
                raise NeverReady(said.why)
            member.ready = True
            self._hello = said if self._hello is None else self._hello
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


def _serve(begin: Callable[[], tuple[Any, Callable[[Any], Any]]], link: Connection[Any, Any]) -> None:
    """Body of a process."""
    try:
        hello, answer = begin()
    except Exception as error:  # noqa: BLE001 - whatever it is, the parent shows it and ends
        link.send(_CannotBegin(f"{error}"))
        return
    link.send(hello)
    while True:
        try:
            job = link.recv()
        except (EOFError, KeyboardInterrupt):
            return
        link.send(answer(job))
