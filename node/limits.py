"""What one image may cost a worker: time and memory, so that an object made to ruin a decoder ruins only its own case.

- Time: the operating system's timer ends the process (SIGALRM), also where a codec holds the interpreter lock for ever.
  The death is counted at the next claim, and after three the case is Failed with `WORKER-DIED`; `serve` starts the
  worker again, other cases wait a second.
- Memory: a limit to what the process may allocate beyond what it has with its model loaded (RLIMIT_DATA, Linux). An
  allocation refused to Python is `IMAGE-LIMIT` at once; where native code ends the process instead, it is as above.

One case at a time in a process: the timer is the process's own.
"""

from __future__ import annotations

import functools
import resource
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Final, ParamSpec, TypeVar

import structlog

from config.settings import Model
from node.errors import FailureCode, GiveUp

_P = ParamSpec("_P")
_R = TypeVar("_R")
_STATUS: Final = Path("/proc/self/status")
_DATA: Final = "VmData:"
_ENGINE_REFUSED: Final = ("DefaultCPUAllocator", "allocate memory", "not enough memory", "bad_alloc")

log = structlog.get_logger()


def bounded(handler: Callable[_P, _R], model: Model) -> Callable[_P, _R]:
    """`handler` within `model.image_timeout` and `model.image_memory_mb`; call it when the model is loaded.

    The wrapped handler raises what `handler` raises, and GiveUp with `IMAGE-LIMIT` where memory was refused.
    """
    _bound_memory(model.image_memory_mb)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)

    @functools.wraps(handler)
    def within(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        signal.setitimer(signal.ITIMER_REAL, model.image_timeout)
        try:
            return handler(*args, **kwargs)
        except (MemoryError, RuntimeError) as error:
            if not _memory_refused(error):
                raise
            msg = f"it needs more than model.image_memory_mb = {model.image_memory_mb}"
            raise GiveUp(FailureCode.IMAGE_LIMIT, msg) from error
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)

    return within


def cause_of(exit_status: int | None) -> str:
    """Why a worker ended, as far as its exit status tells: `IMAGE-TIMEOUT`, a signal's name, or empty."""
    if exit_status is None or exit_status >= 0:
        return ""
    if -exit_status == signal.SIGALRM:
        return "IMAGE-TIMEOUT"
    return signal.Signals(-exit_status).name if -exit_status in set(signal.Signals) else ""


def _memory_refused(error: Exception) -> bool:
    """Also by torch's or OpenVINO's allocator, whose error is told from others by its words only."""
    return isinstance(error, MemoryError) or any(words in str(error) for words in _ENGINE_REFUSED)


def _bound_memory(megabytes: int) -> None:
    """Leave `megabytes` (10^6 bytes) beyond what is allocated now; nothing where the system does not tell how much."""
    if not _STATUS.exists():
        return
    line = next((one for one in _STATUS.read_text("ascii").splitlines() if one.startswith(_DATA)), None)
    if line is None:
        return
    limit = int(line.split()[1]) * 1024 + megabytes * 1_000_000
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if hard == resource.RLIM_INFINITY or limit < hard:
        resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))
