"""`osteon serve`: the listener in this process, the workers as its children. What dies is started again.

Workers load their networks on the other cores while the listener opens its doors, and touch nothing of the node's
before these are open; reception waits for no worker. A bundle that cannot serve at the very start ends the node with
its one line; once a worker has served, reception goes on whatever happens, cases wait, and the log says so.
"""

from __future__ import annotations

import multiprocessing
import sys
import time
from multiprocessing.context import SpawnProcess
from multiprocessing.synchronize import Event
from typing import TYPE_CHECKING, Final

import structlog

from config.settings import Model, Settings, SettingsError
from node import process
from node.cores import cores
from node.limits import cause_of

if TYPE_CHECKING:
    from node.listener import Listener

EXIT_UNUSABLE: Final = 2
"""Exit status of a worker, and of the node, whose bundle or configuration cannot be used."""

EXIT_RENEWED: Final = 3
"""Exit status of a worker in whose place a new one is to start at once."""
SMALL_HOST_CORES: Final = 4
"""Up to so many, one is left to reception, feeds and delivery."""

_CONTEXT: Final = multiprocessing.get_context("spawn")  # a fork would carry threads and database connections along
_LONGEST_PAUSE: Final = 30.0
_POLL: Final = 0.5

log = structlog.get_logger()


def serve(settings: Settings) -> int:
    """Run the node until SIGTERM or SIGINT; the exit status."""
    process.bound_arenas()
    stop = process.stop_on_signals()
    doors = _CONTEXT.Event()
    workers = [_Supervised(settings, number, doors) for number in range(worker_count(settings.model))]
    try:
        with process.starting():
            listener = _listening(settings)
    except BaseException:  # whatever keeps the doors shut: nobody is left waiting behind them
        for worker in workers:
            worker.kill()
        raise
    doors.set()
    status = 0
    while not stop.wait(_POLL):
        for worker in workers:
            worker.tend()
        if any(worker.unusable for worker in workers):
            status = EXIT_UNUSABLE
            break
    deadline = time.monotonic() + process.DRAIN_SECONDS + 1.0
    for worker in workers:
        worker.terminate()
    listener.stop()
    for worker in workers:
        worker.join(deadline)
    return status


def _listening(settings: Settings) -> Listener:
    """A listener whose doors are open."""
    from node.listener import Listener  # noqa: PLC0415 - a second of imports, during which the workers load

    listener = Listener(settings)
    listener.start()
    return listener


def worker_count(model: Model) -> int:
    """How many workers: as written, or one for each core this process may use, less one on a small host."""
    if model.workers != "auto":
        return model.workers
    count = cores()
    return max(1, count - 1 if count <= SMALL_HOST_CORES else count)


class _Supervised:
    """One worker process and its restarts."""

    def __init__(self, settings: Settings, number: int, doors: Event) -> None:
        self._settings = settings
        self._number = number
        self._doors = doors
        self._has_served = _CONTEXT.Event()
        self._pause = 1.0
        self._start_at = time.monotonic()
        self._process: SpawnProcess | None = None
        self.unusable = False
        """It ended before it ever served, and said that it cannot with this configuration."""
        self.tend()

    def tend(self) -> None:
        """Start the process when it does not run and its pause is over."""
        if self._process is None:
            if time.monotonic() >= self._start_at:
                self._start()
            return
        if self._process.is_alive():
            return
        status, self._process = self._process.exitcode, None
        if status == EXIT_RENEWED:
            self._start()
            return
        if time.monotonic() - self._start_at > _LONGEST_PAUSE:
            self._pause = 1.0  # it had worked for a while: not the same trouble as last time
        self.unusable = status == EXIT_UNUSABLE and not self._has_served.is_set()
        log.error("worker.died", worker=self._number, status=status, cause=cause_of(status), restart_in=self._pause)
        self._start_at = time.monotonic() + self._pause
        self._pause = min(2 * self._pause, _LONGEST_PAUSE)

    def terminate(self) -> None:
        """Ask it to finish what it does and end."""
        if self._process is not None:
            self._process.terminate()

    def join(self, deadline: float) -> None:
        """Wait until `deadline` (monotonic seconds), then end it; its task's lease is released at the next start."""
        if self._process is not None:
            self._process.join(max(0.0, deadline - time.monotonic()))
            if self._process.is_alive():
                self.kill()

    def kill(self) -> None:
        """End it at once."""
        if self._process is not None:
            self._process.kill()
            self._process.join()

    def _start(self) -> None:
        self._process = _CONTEXT.Process(
            target=_work,
            args=(self._settings, self._doors, self._has_served),
            name=f"osteon-worker-{self._number}",
        )
        self._process.start()


def _work(settings: Settings, doors: Event, has_served: Event) -> None:
    """Body of the child: here, and only here, the networks are loaded."""
    with process.starting():
        from model.bundle import BundleError  # noqa: PLC0415 - numpy, OpenCV and more that the parent does without
        from node.worker import work  # noqa: PLC0415

    process.configure_logging()
    try:
        renew = work(settings, begin=doors.wait, ready=has_served.set)
    except (BundleError, SettingsError) as error:
        print(f"osteon: {error}", file=sys.stderr)  # noqa: T201 - the one line for the operator
        sys.exit(EXIT_UNUSABLE)
    if renew:
        sys.exit(EXIT_RENEWED)
