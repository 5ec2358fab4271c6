"""MLLP framing: cuts a byte stream into blocks, by a state machine whose result does not depend on how TCP cut it.

FS ends a block at once, so that a sender that forgets the CR behind it is answered and its next patient stays apart. VT
inside a block begins it anew. Of a block that is too long the header is kept, the rest is dropped as it comes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from node.feeds.hl7_ack import HEADER_BYTES

START: Final = 0x0B
END: Final = 0x1C
"""VT opens a block, FS closes it; FS occurs in no accepted character set (MLLP release 1)."""

_CR: Final = 0x0D
_SILENT: Final = b"\r\n \0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One framed message; of an `oversize` one only the first `HEADER_BYTES` are kept."""

    data: bytes
    oversize: bool = False


class Framer:
    """Cuts one connection's bytes."""

    def __init__(self, max_frame_bytes: int) -> None:
        self._limit = max_frame_bytes
        self._buffer = bytearray()
        self._oversize = False
        self._just_ended = False
        self.in_block = False
        self.junk = 0
        """Bytes outside blocks since the last complete one, and VTs inside; CR, LF, NUL and space are none."""
        self.restarts = 0
        """Blocks dropped because another began inside them."""
        self.without_cr = 0
        """Blocks whose FS was followed by something else than CR."""

    def feed(self, data: bytes) -> list[Block]:
        """The blocks that `data` completes, in order."""
        blocks: list[Block] = []
        at = 0
        while at < len(data):
            at = self._inside(data, at, blocks) if self.in_block else self._outside(data, at)
        return blocks

    def _outside(self, data: bytes, at: int) -> int:
        if self._just_ended:
            self._just_ended = False
            self.without_cr += data[at] != _CR
        start = data.find(START, at)
        skipped = data[at:] if start < 0 else data[at:start]
        self.junk += len(skipped) - sum(skipped.count(c) for c in _SILENT)
        if start < 0:
            return len(data)
        self._begin()
        return start + 1

    def _inside(self, data: bytes, at: int, blocks: list[Block]) -> int:
        end = data.find(END, at)
        stop = len(data) if end < 0 else end
        start = data.rfind(START, at, stop)
        if start >= 0:
            again = data.count(START, at, stop)
            self.restarts += again
            self.junk += again  # a flood of nothing but VT is no MLLP either
            self._begin()
            return start + 1
        self._keep(data[at:] if end < 0 else data[at:end])
        if end < 0:
            return len(data)
        blocks.append(Block(data=bytes(self._buffer), oversize=self._oversize))
        self.in_block = False
        self._just_ended = True
        self._buffer = bytearray()
        self.junk = 0
        return end + 1

    def _begin(self) -> None:
        self.in_block = True
        self._oversize = False
        self._buffer = bytearray()

    def _keep(self, piece: bytes) -> None:
        if not self._oversize:
            self._buffer += piece
            if len(self._buffer) > self._limit:
                self._oversize = True
                del self._buffer[min(HEADER_BYTES, self._limit) :]
