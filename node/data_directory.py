"""A data directory belongs to one listener of one host: the lock that says so, and a name that no other has.

In a fleet every listener has a data directory of its own; what they share is the ledger and the spool.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from config.settings import SettingsError


def sole_owner(directory: Path) -> IO[str]:
    """Make the data directory and take it for this process; the system gives it back however the process ends.

    Raises:
        SettingsError: another listener has it, or it cannot be written.

    """
    with _writable(directory):
        directory.mkdir(parents=True, exist_ok=True)
        handle = (directory / "listener.lock").open("w")
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            handle.close()
            msg = f"storage.data_dir: {directory} is in use by another running node; stop it or choose another folder"
            raise SettingsError(msg) from error
        except OSError:
            handle.close()
            raise
    return handle


def own_name(directory: Path) -> str:
    """Name of a data directory that no other has, the same after a restart; made at the first call.

    Raises:
        SettingsError: it cannot be written.

    """
    file = directory / "node-name"
    with _writable(directory):
        directory.mkdir(parents=True, exist_ok=True)
        if not file.exists():
            fresh = directory / f".node-name-{uuid.uuid4().hex}"
            fresh.write_text(uuid.uuid4().hex, encoding="ascii")
            with contextlib.suppress(FileExistsError):
                os.link(fresh, file)  # complete or not there, also when listener and worker come at once
            fresh.unlink()
        return file.read_text(encoding="ascii").strip()


@contextlib.contextmanager
def _writable(directory: Path) -> Iterator[None]:
    """Say in one line what the file system refuses."""
    try:
        yield
    except OSError as error:
        place = error.filename or directory
        msg = f"storage.data_dir: {place} cannot be written ({error.strerror}); let the node's account own it"
        raise SettingsError(msg) from error
