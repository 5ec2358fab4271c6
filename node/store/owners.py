"""Who holds a lease: host, process and its start time, so that the leases of dead processes can be told apart.

The start time makes the answer exact: a process number is used again, in a container even at once (always 1).
"""

from __future__ import annotations

import socket
import uuid

import psutil

_PARTS = 4


def new_owner() -> str:
    """Name for one dispatcher of this process: `host/pid/start/random`, at most 100 characters."""
    process = psutil.Process()
    return f"{socket.gethostname()[:60]}/{process.pid}/{_started(process)}/{uuid.uuid4().hex[:8]}"


def is_gone(owner: str) -> bool:
    """True only when `owner` was a process of this host that certainly no longer runs."""
    parts = owner.rsplit("/", _PARTS - 1)
    if len(parts) != _PARTS or parts[0] != socket.gethostname()[:60]:
        return False
    try:
        return _started(psutil.Process(int(parts[1]))) != int(parts[2])
    except (psutil.NoSuchProcess, ValueError):
        return True
    except psutil.AccessDenied:
        return False


def _started(process: psutil.Process) -> int:
    """Start of the process in milliseconds since 1970."""
    return int(process.create_time() * 1000)
