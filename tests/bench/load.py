"""The load: K associations that send as fast as they are answered; one generator for every receiver."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
from bench.receivers import Running
from support.dicom_objects import dataset_of, encode, radiograph_dataset
from support.raw_dicom import DX, UID_LENGTH, RawSender, fresh_uid, store_stream


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """What one receiver did in one cell of one round."""

    images_per_second: float
    cpu_ms_per_image: float
    rss_mb: float
    answers_ms: tuple[float, ...]
    """Seconds from the first byte of a request to its response, in milliseconds."""


def radiograph(rows: int, columns: int) -> bytes:
    """An encoded 12-bit DX whose SOP Instance UID is a place-holder of UID_LENGTH characters."""
    pixels = np.random.default_rng(3).integers(0, 4096, (rows, columns), np.uint16)
    return dataset_of(encode(radiograph_dataset(pixels, SOPInstanceUID="1." + "9" * (UID_LENGTH - 2))))


def idle(stack: ExitStack, receiver: Running, count: int) -> None:
    """Hold `count` associations open until the stack ends."""
    for _ in range(count):
        stack.enter_context(RawSender(receiver.port))


def load(receiver: Running, dataset: bytes, *, associations: int, images: int, limit: int | None = None) -> Cell:
    """Send `images` in total over `associations`, in PDUs as large as the receiver takes or of at most `limit` bytes.

    Raises:
        RuntimeError: one is not answered with Success.

    """
    with ExitStack() as stack:
        senders = [stack.enter_context(RawSender(receiver.port)) for _ in range(associations)]
        streams = [_Stream(dataset, min(sender.max_pdu, limit or sender.max_pdu)) for sender in senders]
        counts = [images // associations + (n < images % associations) for n in range(associations)]
        answers: list[float] = []
        failed: list[str] = []
        threads = [
            threading.Thread(target=_send, args=(*one, answers, failed))
            for one in zip(senders, streams, counts, strict=True)
        ]
        cpu, began = receiver.cpu_seconds(), time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        took = time.perf_counter() - began
        cpu, rss = receiver.cpu_seconds() - cpu, receiver.rss_mb()
        for sender in senders:
            sender.release()
    if failed:
        raise RuntimeError(failed[0])
    return Cell(
        images_per_second=images / took,
        cpu_ms_per_image=1000 * cpu / images,
        rss_mb=rss,
        answers_ms=tuple(answers),
    )


def connect_at_once(receiver: Running, count: int) -> float:
    """Seconds until the last of `count` simultaneous senders had its C-ECHO answered."""
    start, slowest, failed = threading.Barrier(count), [], []

    def call() -> None:
        start.wait()
        began = time.perf_counter()
        try:
            with RawSender(receiver.port) as sender:
                sender.echo()
                slowest.append(time.perf_counter() - began)
                sender.release()
        except OSError as error:
            failed.append(str(error))

    threads = [threading.Thread(target=call) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise RuntimeError(failed[0])
    return max(slowest)


class _Stream:
    """One association's C-STORE, built once; `fresh` gives it a new SOP Instance UID."""

    def __init__(self, dataset: bytes, max_pdu: int) -> None:
        marker = b"1." + b"9" * (UID_LENGTH - 2)
        self.wire = bytearray(store_stream(dataset, marker.decode(), DX, max_pdu))
        first = self.wire.index(marker)
        self._places = (first, self.wire.index(marker, first + 1))

    def fresh(self) -> bytearray:
        instance = fresh_uid().encode()
        for place in self._places:
            self.wire[place : place + UID_LENGTH] = instance
        return self.wire


def _send(sender: RawSender, stream: _Stream, count: int, answers: list[float], failed: list[str]) -> None:
    for _ in range(count):
        wire = stream.fresh()
        began = time.perf_counter()
        try:
            sender.socket.sendall(wire)
            status = sender.status()
        except OSError as error:
            failed.append(str(error))
            return
        answers.append(1000 * (time.perf_counter() - began))
        if status:
            failed.append(f"status 0x{status:04X}")
            return
