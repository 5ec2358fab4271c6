"""Notices without a server: on SQLite who takes work has a bell beside the ledger, and commits that give work ring it.

A bell is a named pipe in the folder `<ledger>-bells`; what is written into it are names of lanes. A ring is a hint and
nothing else: one that is lost, because a pipe was full or its owner was just starting, costs the time until the next
poll. It comes after the commit, so that who looks finds the work; to watch the ledger's file would be to look while a
commit is still being written.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import threading
import uuid
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Final

import structlog

LOOK_SECONDS: Final = 0.1
"""Until a follower looks whether it is to stop."""
_SUFFIX: Final = ".bell"
_MOST_BYTES: Final = 65_536

log = structlog.get_logger()


def ring(ledger: Path, lanes: Collection[str]) -> None:
    """Tell every follower of the ledger file that `lanes` have work. Neither waits nor raises."""
    said = "".join(f"{lane}\n" for lane in sorted(lanes)).encode()
    with contextlib.suppress(OSError):  # no folder, no follower
        for bell in _folder(ledger).iterdir():
            if bell.suffix == _SUFFIX:
                _ring_one(bell, said)


def follow(ledger: Path, heard: Callable[[str], None], stopping: threading.Event) -> None:
    """Call `heard` with the lane of each ring until `stopping` is set. Over at once where no pipe can be made."""
    try:
        with _own_bell(_folder(ledger)) as bell:
            while not stopping.is_set():
                if select.select([bell], [], [], LOOK_SECONDS)[0]:
                    for lane in dict.fromkeys(os.read(bell, _MOST_BYTES).decode(errors="replace").splitlines()):
                        heard(lane)
    except OSError as error:
        log.warning("bells.none", error=error.strerror)


def _ring_one(bell: Path, said: bytes) -> None:
    try:
        descriptor = os.open(bell, os.O_WRONLY | os.O_NONBLOCK)
    except OSError as error:
        if error.errno == errno.ENXIO:  # nobody reads: its process was killed
            with contextlib.suppress(OSError):
                bell.unlink()
        return
    try:
        with contextlib.suppress(OSError):  # full: it was rung often enough
            os.write(descriptor, said)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _own_bell(folder: Path) -> Iterator[int]:
    """Descriptor of a new pipe, which is seen by others once it has a reader, and gone afterwards."""
    folder.mkdir(mode=0o700, exist_ok=True)
    hidden = folder / f"{uuid.uuid4().hex}.new"
    bell = hidden.with_suffix(_SUFFIX)
    os.mkfifo(hidden, 0o600)
    reader = os.open(hidden, os.O_RDONLY | os.O_NONBLOCK)
    # With a writer of its own the pipe never ends, however many others come and go.
    writer = os.open(hidden, os.O_WRONLY | os.O_NONBLOCK)
    try:
        hidden.rename(bell)
        yield reader
    finally:
        os.close(writer)
        os.close(reader)
        bell.unlink(missing_ok=True)


def _folder(ledger: Path) -> Path:
    return ledger.with_name(f"{ledger.name}-bells")
