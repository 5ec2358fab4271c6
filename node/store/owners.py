"""Who holds a lease: host, process and its start time, so that the leases of dead processes can be told apart.

The start time makes the answer exact: a process number is used again, in a container even at once (always 1). It is
counted from the host's own start where the system tells that (Linux): a wall clock that is set moves every start time
that is told by it, and what lives would be taken for dead.
"""

from __future__ import annotations

import socket
import uuid
from pathlib import Path

import psutil

_PARTS = 4
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_START_TIME = 19
"""`starttime` among the fields behind the name (proc_pid_stat(5))."""


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
        return _started(psutil.Process(int(parts[1]))) != parts[2]
    except (psutil.NoSuchProcess, ValueError):
        return True
    except psutil.AccessDenied:
        return False


def _started(process: psutil.Process) -> str:
    """Start of the process: clock ticks since the host started and which start that was, else milliseconds of time."""
    try:
        ticks = Path(f"/proc/{process.pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[_START_TIME]
        return f"{ticks}-{_BOOT_ID.read_text()[:8]}"
    except OSError:  # no Linux; or the process has just ended, which psutil says
        return str(int(process.create_time() * 1000))
