"""The pieces of a run, made where they are missing: networks, the gate, and what networks say about films.

Each piece runs in a process of one thread and is kept by `model.train.jobs`, so a broken run goes on after its last
whole piece. Not allowed here: what a piece is for.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Self

from rich.progress import Progress

from model.gate import GateModel
from model.gate_fit import GateEvaluation
from model.manifest import Serving
from model.train.cpu_seconds import spent
from model.train.gate_part import GateInput, fit_and_keep, kept_gate
from model.train.jobs import FilmFile, Floats, Job, Kept, ask, finished, kept_logits, kept_network, train
from model.train.plan import Plan
from model.train.relay import Receiver

_Piece = tuple[str, Callable[..., None], tuple[Any, ...]]
"""A name, what to do in a process, and its arguments without the queue of messages, which comes last."""


class NotTrained(Exception):
    """There is no bundle to make: a piece is missing while sealing, or the networks learned nothing. One line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Jobs:
    """The networks of a run."""

    folds: tuple[Job, ...]
    final: Job
    """The one that ships."""


class Workshop:
    """Runs the pieces that are missing, `plan.processes` at a time, in processes that stay from piece to piece."""

    def __init__(self, plan: Plan, films: FilmFile, progress: Progress, *, may_train: bool) -> None:
        self._plan, self._films, self._progress, self._may_train = plan, films, progress, may_train
        self._open = ExitStack()
        self._pool: ProcessPoolExecutor | None = None
        self._begun: dict[Future[None], str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def network(self, job: Job) -> Kept:
        """A network that is there."""
        kept = kept_network(self._films, job)
        if kept is None:
            msg = f"the network {job.name!r} is missing in {self._plan.run}; run the training first"
            raise NotTrained(msg)
        return kept

    def train(self, jobs: Jobs, gate: GateInput) -> tuple[GateModel, GateEvaluation]:
        """The folds' networks and the gate; the longest piece, the network that ships, is begun first and left to run.

        So the folds are asked beside it, and no core waits for it alone.
        """
        plan, key = self._plan, gate.key
        missing = [job for job in (jobs.final, *jobs.folds) if kept_network(self._films, job) is None]
        wanted: list[_Piece] = [(job.name, train, (self._films, job)) for job in missing]
        if kept_gate(plan.run, key) is None:
            wanted.append(("gate", fit_and_keep, (plan.run, key, gate)))
        if wanted and not self._may_train:
            msg = f"missing in {plan.run}: {', '.join(name for name, *_ in wanted)}; run the training first"
            raise NotTrained(msg)
        if jobs.final in missing:
            self._begun, wanted = self._begin(wanted[:1]), wanted[1:]
        self._run(wanted)
        made = kept_gate(plan.run, key)
        assert made is not None  # noqa: S101 - it was just fitted
        return made

    def finish(self) -> None:
        """Wait for the network that ships."""
        if self._begun:
            finished(self._begun, self._receiver.draw)

    def logits(self, questions: Sequence[tuple[Job, Serving, tuple[int, ...]]]) -> list[Floats]:
        """What each network says about its films, served in this form."""
        kept = [self.network(job) for job, *_ in questions]
        missing = [
            (job.name, ask, (self._films, job, form, indices))
            for own, (job, form, indices) in zip(kept, questions, strict=True)
            if kept_logits(own, form, indices) is None
        ]
        self._run(missing)
        found = [kept_logits(own, form, i) for own, (_, form, i) in zip(kept, questions, strict=True)]
        return [logits for logits in found if logits is not None]

    def _run(self, wanted: Sequence[_Piece]) -> None:
        if wanted:
            begun = self._begin(wanted)
            finished(begun, self._receiver.draw)

    def _begin(self, wanted: Sequence[_Piece]) -> dict[Future[None], str]:
        if self._pool is None:
            self._hire()
        assert self._pool is not None  # noqa: S101 - hired above
        return {self._pool.submit(work, *arguments, self._messages): name for name, work, arguments in wanted}

    def _hire(self) -> None:
        # Entered first and so left last, when the processes have ended and their CPU seconds can be asked for.
        self._open.enter_context(spent(self._plan.run, "networks, gate and predictions"))
        context = multiprocessing.get_context("spawn")
        self._messages = self._open.enter_context(context.Manager()).Queue()
        self._receiver = Receiver(self._messages, self._progress)
        self._pool = self._open.enter_context(ProcessPoolExecutor(self._plan.processes, mp_context=context))
