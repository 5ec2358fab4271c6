"""The decoders under comparison, each with one transfer syntax in a process of its own, as in a node that used it.

In one process the heap that one decoder leaves decides what the next image costs another: gdcm's by a third (decision
0014). Nothing is set in the processes: allocator and threads are what Python and the libraries start with.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from io import BytesIO
from multiprocessing.connection import Connection
from typing import Any

import numpy.typing as npt
from pydicom import dcmread
from pydicom.pixels.utils import pixel_array

from dicom_io.decoding import pixel_format, stored_index

OURS, HALF, NATIVE = "osteon", "half", "pydicom"
"""Ours, ours with half resolution allowed, and pydicom's own reading of uncompressed pixels; others are its plugins."""

_READY_SECONDS = 60.0


@contextmanager
def decoders(wanted: dict[str, tuple[str, bytes]]) -> Iterator[dict[str, Callable[[], float]]]:
    """For each name of `wanted` (decoder, Part 10 bytes): a call that decodes once more and gives its CPU milliseconds.

    Each has decoded once before. Raises EOFError where a decoder's process has died.
    """
    context = multiprocessing.get_context("spawn")
    with ExitStack() as stack:
        pipes = {}
        for name, (decoder, part10) in wanted.items():
            pipes[name], theirs = context.Pipe()
            process = context.Process(target=_serve, args=(decoder, part10, theirs), daemon=True)
            process.start()
            theirs.close()
            stack.callback(process.join)
            stack.callback(pipes[name].close)
        for pipe in pipes.values():
            _answer(pipe)
        yield {name: lambda pipe=pipe: _once(pipe) for name, pipe in pipes.items()}


def decode(decoder: str, part10: bytes) -> Callable[[], npt.NDArray[Any]]:
    """What decodes these bytes once."""
    dataset = dcmread(BytesIO(part10))
    if decoder in (OURS, HALF):
        form = pixel_format(dataset)
        return lambda: stored_index(dataset, form, half=decoder == HALF)
    plugin = "" if decoder == NATIVE else decoder
    return lambda: pixel_array(dataset, index=0, raw=True, decoding_plugin=plugin)


def cpu_ms(work: Callable[[], object]) -> float:
    """CPU time of this process that `work` takes."""
    began = time.process_time()
    work()
    return max((time.process_time() - began) * 1000, 1e-3)


def _serve(decoder: str, part10: bytes, pipe: Connection) -> None:
    work = decode(decoder, part10)
    work()
    pipe.send(0.0)
    while True:
        try:
            pipe.recv()
        except EOFError:
            return
        pipe.send(cpu_ms(work))


def _once(pipe: Connection) -> float:
    pipe.send(None)
    return _answer(pipe)


def _answer(pipe: Connection) -> float:
    if not pipe.poll(_READY_SECONDS):
        raise TimeoutError
    return float(pipe.recv())
