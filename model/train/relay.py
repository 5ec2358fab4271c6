"""Progress of work in other processes, shown by the bars of the process that started it.

Only counts travel. Not allowed here: results.
"""

from __future__ import annotations

import queue
import uuid
from collections.abc import Iterable, Iterator
from typing import Any, Final, Protocol, TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

_T = TypeVar("_T")
_EVERY: Final = 10
"""Steps between two messages: a step takes a second, a message some microseconds, a redraw some milliseconds."""


class Steps(Protocol):
    """What work tells about itself; `rich.progress.Progress` is one."""

    def add_task(self, description: str, *, total: float | None = None) -> TaskID:
        """Announce `total` steps."""

    def advance(self, task_id: TaskID, advance: float = 1) -> None:
        """So many are done."""


def bars(console: Console | None) -> Progress:
    """Progress bars as every long command shows them."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, TimeRemainingColumn(), console=console)


def counted(items: Iterable[_T], total: int, description: str, steps: Steps) -> Iterator[_T]:
    """The items, each counted once it has been used."""
    task = steps.add_task(description, total=total)
    for item in items:
        yield item
        steps.advance(task)


class Sender:
    """`Steps` in a worker process: sends counts through a queue of `multiprocessing.Manager`."""

    def __init__(self, messages: Any, name: str) -> None:
        self._own = uuid.uuid4().hex  # two pieces may bear one name
        self._messages, self._name, self._tasks = messages, name, 0
        self._unsent: dict[int, float] = {}

    def add_task(self, description: str, *, total: float | None = None) -> TaskID:
        """See `Steps`."""
        self._tasks += 1
        self._messages.put((self._own, self._tasks, f"{self._name}: {description}", total))
        return TaskID(self._tasks)

    def advance(self, task_id: TaskID, advance: float = 1) -> None:
        """See `Steps`; messages are gathered."""
        self._unsent[task_id] = self._unsent.get(task_id, 0) + advance
        if self._unsent[task_id] >= _EVERY:
            self.flush()

    def flush(self) -> None:
        """Send what was gathered."""
        for task, steps in self._unsent.items():
            self._messages.put((self._own, task, "", steps))
        self._unsent.clear()


class Receiver:
    """Draws what the senders of one queue say."""

    def __init__(self, messages: Any, progress: Steps) -> None:
        self._messages, self._progress = messages, progress
        self._tasks: dict[tuple[str, int], TaskID] = {}

    def draw(self) -> None:
        """Everything that has arrived."""
        while True:
            try:
                sender, task, description, number = self._messages.get_nowait()
            except queue.Empty:
                return
            if description:
                self._tasks[sender, task] = self._progress.add_task(description, total=number)
            else:
                self._progress.advance(self._tasks[sender, task], number)
