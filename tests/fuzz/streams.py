"""Random MLLP byte streams, and what must come out of them whatever TCP does: an oracle that reads byte by byte."""

from __future__ import annotations

import random
from dataclasses import dataclass

from fuzz.mutants import mutant
from support.hl7_samples import adt

from node.feeds.hl7_ack import HEADER_BYTES
from node.feeds.mllp_framing import END, START, Framer

_PIECES = (
    b"\x0b",
    b"\x1c",
    b"\x1c\r",
    b"\r",
    b"\n",
    b"\0",
    b" ",
    b"x",
    b"MSH|^~\\&|",
    b"\x1c\x0b",
    b"\x0b\x0b",
    b"\x1c\x1c",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """What a framer made of a stream."""

    blocks: tuple[tuple[bytes, bool], ...]
    junk: int
    restarts: int
    in_block: bool


def stream(rng: random.Random) -> bytes:
    """Blocks, good and damaged, with separators lost, doubled and misplaced between and within them."""
    pieces: list[bytes] = []
    for _ in range(rng.randrange(1, 9)):
        kind = rng.randrange(6)
        if kind < 2:
            pieces.append(b"\x0b" + (adt() if kind else mutant(rng)) + b"\x1c\r")
        elif kind == 2:
            pieces.append(b"\x0b" + rng.randbytes(rng.randrange(3000)) + rng.choice((b"\x1c\r", b"\x1c", b"")))
        elif kind == 3:
            pieces.append(rng.randbytes(rng.randrange(60)))
        else:
            pieces += rng.choices(_PIECES, k=rng.randrange(1, 7))
    return b"".join(pieces)


def chunked(rng: random.Random, data: bytes, limit: int) -> Cut:
    """`data` fed in random chunks; one chunking in four is byte by byte, one is in one piece."""
    framer = Framer(limit)
    blocks = []
    most, at = rng.choice((1, 8, 2000, 0)), 0
    while at < len(data):
        size = 1 + int(most * rng.random()) if most else len(data)
        blocks += framer.feed(data[at : at + size])
        at += size
    return Cut(
        blocks=tuple((block.data, block.oversize) for block in blocks),
        junk=framer.junk,
        restarts=framer.restarts,
        in_block=framer.in_block,
    )


def expected(data: bytes, limit: int) -> Cut:
    """The rules of clinical-data.md section 2, one byte at a time."""
    blocks: list[tuple[bytes, bool]] = []
    block: bytearray | None = None
    junk = restarts = 0
    for byte in data:
        if byte == START:
            restarts += block is not None
            junk += block is not None
            block = bytearray()
        elif block is None:
            junk += byte not in b"\r\n \0"
        elif byte == END:
            over = len(block) > limit
            blocks.append((bytes(block[: min(HEADER_BYTES, limit)] if over else block), over))
            block, junk = None, 0
        else:
            block.append(byte)
    return Cut(blocks=tuple(blocks), junk=junk, restarts=restarts, in_block=block is not None)
