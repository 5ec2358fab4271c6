"""A listener that kills itself with SIGKILL at the n-th step of receiving one object, and says which step that was.

Steps are the calls reception makes to the operating system and the ledger, from the first byte of the object on: each
has a point before and one after it, a write also one in its middle. The consumer of the HL7 inbox dies around its
cursor, its clinical rows and its commits. Only this process is patched, not the product.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from chaos import bodies
from pynetdicom.transport import AssociationSocket
from sqlalchemy.engine.default import DefaultDialect
from support.inbox import ward

from config.settings import Settings
from node import intake
from node.store import inbox_progress as progress
from node.store.engine import open_ledger

_FILE_CALLS = ("write", "fsync", "mkdir", "replace", "rename", "link", "unlink")


class Fuse:
    """Counts points once armed; at the point of that number, or the first of that name, the process is gone."""

    def __init__(self, point: int | str, trail: Path) -> None:
        self._point = point
        self._trail = trail
        self._armed = False
        self._passed = 0
        self._lock = threading.Lock()

    def arm(self) -> None:
        """From here on points count, if the campaign has made the trail: the self-test at start stores too."""
        self._armed = self._armed or self._trail.exists()

    def point(self, name: str) -> None:
        """One point of the write order."""
        if not self._armed:
            return
        with self._lock:
            with self._trail.open("a") as trail:
                trail.write(f"{name}\n")
            if self._point in (self._passed, name):
                os.kill(os.getpid(), signal.SIGKILL)
            self._passed += 1


def listener(settings: Settings, log: Path, point: int | str, trail: Path) -> None:
    """The product's listener with the fuse laid; `trail`, once it exists, receives the name of every point passed."""
    _lay(Fuse(point, trail))
    bodies.listener(settings, log)


def _lay(fuse: Fuse) -> None:
    for name in _FILE_CALLS:
        setattr(os, name, _around(fuse, f"os.{name}", getattr(os, name)))
    os.write = _torn(fuse, os.write)  # type: ignore[assignment]
    os.open = _arming(fuse, os.open)  # type: ignore[assignment]
    DefaultDialect.do_commit = _around(fuse, "commit", DefaultDialect.do_commit)  # type: ignore[method-assign]
    AssociationSocket.send = _around(fuse, "answer", AssociationSocket.send)  # type: ignore[method-assign]


def lay_between_commits(fuse: Fuse) -> None:
    """Points around each commit of the ledger and each PDU sent, in this process."""
    DefaultDialect.do_commit = _around(fuse, "commit", DefaultDialect.do_commit)  # type: ignore[method-assign]
    AssociationSocket.send = _around(fuse, "send", AssociationSocket.send)  # type: ignore[method-assign]


def consumer(ledger: Path, number: int, trail: Path) -> None:
    """The product's consumer of the inbox beside `ledger`: it works off what there is, or dies at point `number`."""
    fuse = Fuse(number, trail)
    DefaultDialect.do_commit = _around(fuse, "commit", DefaultDialect.do_commit)  # type: ignore[method-assign]
    progress.advance = _around(fuse, "cursor", progress.advance)
    intake.process_frames = _around(fuse, "clinical write", intake.process_frames)
    with ward(open_ledger(ledger)) as taken:
        fuse.arm()
        taken.consumer.work_off()


def _around(fuse: Fuse, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        fuse.point(f"before {name}")
        result = call(*args, **kwargs)
        fuse.point(f"after {name}")
        return result

    return wrapped


def _torn(fuse: Fuse, call: Callable[..., int]) -> Callable[..., int]:
    """A write that may end in its middle: the half is written, and the rest when it goes on."""

    def wrapped(descriptor: int, data: bytes) -> int:
        view = memoryview(data)
        done = call(descriptor, view[: len(view) // 2])
        fuse.point("amid os.write")
        return done + call(descriptor, view[done:])

    return wrapped


def _arming(fuse: Fuse, call: Callable[..., int]) -> Callable[..., int]:
    def wrapped(path: Any, *args: Any, **kwargs: Any) -> int:
        received = str(path).endswith(".part")
        if received:
            fuse.arm()
            fuse.point("before os.open .part")
        descriptor = call(path, *args, **kwargs)
        if received:
            fuse.point("after os.open .part")
        return descriptor

    return wrapped
