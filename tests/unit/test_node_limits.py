"""Limits of time and memory per image, each in a process of its own: they are the process's."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.hospital import await_true

from node.limits import cause_of
from node.store import jobs
from node.store.engine import Ledger, open_ledger

GUARDED = """
import re, sys, time
TORCH = (
    "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: "
    "you tried to allocate 4000000000 bytes. Error code 12 (Cannot allocate memory)"
)
from config.settings import Model
from node.errors import GiveUp
from node.limits import bounded

def handler(kind):
    if kind == "gil":
        re.match(r"(a*)*b", "a" * 40)  # holds the interpreter lock for hours, as some codecs do for seconds
    if kind == "memory":
        bytearray(3_000_000_000)
    if kind == "torch":
        raise RuntimeError(TORCH)
    if kind == "other":
        raise RuntimeError("size mismatch")
    return kind

limited = bounded(handler, Model.model_construct(image_timeout=0.7, image_memory_mb=256))
try:
    print(limited(sys.argv[1]))
    time.sleep(1.0)  # an image that is done ends nothing
except GiveUp as why:
    print(why.code)
"""

BOMB = """
import re, sys, threading
from config.settings import Model
from node.dispatch.local import Dispatcher
from node.limits import bounded
from node.store.engine import open_ledger

def handler(task):
    if task.key == "bomb":
        re.match(r"(a*)*b", "a" * 40)

def bury(c, task, why):
    print(task.key, why.code, flush=True)

limited = bounded(handler, Model.model_construct(image_timeout=0.5, image_memory_mb=256))
Dispatcher(open_ledger(sys.argv[1]), {"advance": limited}, {"infer": 1}, poll=0.02, on_dead=bury).start()
threading.Event().wait()
"""


def run(kind: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", GUARDED, kind], capture_output=True, text=True, check=False)


def test_an_image_within_its_limits_passes():
    done = run("fine")
    assert (done.returncode, done.stdout) == (0, "fine\n")


def test_a_decoder_that_never_ends_ends_its_process_though_it_holds_the_interpreter_lock():
    done = run("gil")
    assert (done.returncode, done.stdout) == (-signal.SIGALRM, "")
    assert cause_of(done.returncode) == "IMAGE-TIMEOUT"


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the limit is Linux's")
def test_an_image_that_asks_for_too_much_memory_is_given_up_with_a_code():
    done = run("memory")
    assert (done.returncode, done.stdout) == (0, "IMAGE-LIMIT\n")


def test_memory_that_torch_is_refused_is_the_same_and_its_other_errors_are_not():
    done = run("torch")
    assert (done.returncode, done.stdout) == (0, "IMAGE-LIMIT\n")
    assert "RuntimeError: size mismatch" in run("other").stderr


def test_a_bomb_ends_its_own_case_after_three_deaths_and_no_other(tmp_path: Path):
    """Decoder bombs meet the worker process with memory and time limits, never the listener (2.6)."""
    ledger = open_ledger(tmp_path / "ledger.db")
    with ledger.begin() as c:
        for key in ("bomb", "1", "2"):
            jobs.enqueue(c, "advance", key, lane="infer")
    deaths, said = 0, ""
    while "bomb WORKER-DIED" not in said and deaths < 6:
        status, said = one_life(tmp_path / "ledger.db", ledger)
        deaths += status == -signal.SIGALRM
    assert (deaths, said.splitlines()[-1]) == (3, "bomb WORKER-DIED")
    assert (state(ledger, "1"), state(ledger, "2")) == ("done", "done")
    ledger.close()


def one_life(path: Path, ledger: Ledger) -> tuple[int | None, str]:
    """Run a worker until it dies or all is done; its exit status and what it said."""
    worker = subprocess.Popen([sys.executable, "-c", BOMB, str(path)], stdout=subprocess.PIPE, text=True)
    ended = {"bomb": "dead", "1": "done", "2": "done"}
    await_true(
        lambda: worker.poll() is not None or all(state(ledger, key) == end for key, end in ended.items()),
        "the bomb took effect",
        limit=60,
    )
    status = worker.poll()
    worker.kill()
    return status, worker.communicate()[0]


def state(ledger: Ledger, key: str) -> str:
    with ledger.read() as c:
        return jobs.get(c, "advance", key).state


@pytest.mark.parametrize(
    ("status", "cause"), [(None, ""), (0, ""), (2, ""), (-9, "SIGKILL"), (-signal.SIGSEGV, "SIGSEGV"), (-999, "")]
)
def test_a_cause_is_told_where_the_exit_status_tells_it(status: int | None, cause: str):
    assert cause_of(status) == cause
