"""What proves that bytes on disk are the bytes received: a digest that names its algorithm, `blake3:<hex>`.

New objects get BLAKE3: without SHA instructions in the processor SHA-256 costs ten times the CPU, more than receiving
and syncing the image (decision 0004). Digests of older versions (`sha256:<hex>`) stay valid as long as their files, so
every check asks here, and none compares a digest of its own. Files are read in pieces, never whole.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

from blake3 import blake3

BLAKE3: Final = "blake3"
SHA256: Final = "sha256"

_CHUNK: Final = 1 << 20
Buffer = bytes | bytearray | memoryview


class _Hash(Protocol):
    def update(self, data: Buffer, /) -> object: ...

    def hexdigest(self) -> str: ...


_ALGORITHMS: Final[dict[str, Callable[[], _Hash]]] = {BLAKE3: blake3, SHA256: hashlib.sha256}


class ContentDigest:
    """Digest of bytes as they come."""

    def __init__(self, algorithm: str = BLAKE3) -> None:
        """Start with no bytes. KeyError: an algorithm no version of the node has used."""
        self._name = algorithm
        self._hash = _ALGORITHMS[algorithm]()

    def update(self, data: Buffer) -> None:
        """Append."""
        self._hash.update(data)

    def text(self) -> str:
        """The digest of all so far, as the ledger keeps it."""
        return f"{self._name}:{self._hash.hexdigest()}"


def algorithm_of(digest: str) -> str:
    """Name of the algorithm that made `digest`."""
    return digest.partition(":")[0]


def hex_of(digest: str) -> str:
    """The hexadecimal part of `digest`."""
    return digest.partition(":")[2]


def digest_of(data: Buffer, algorithm: str = BLAKE3) -> str:
    """Digest of `data`."""
    digest = ContentDigest(algorithm)
    digest.update(data)
    return digest.text()


def file_digest(path: Path, algorithm: str = BLAKE3) -> str:
    """Digest of a file, read in pieces. Raises OSError."""
    digest = ContentDigest(algorithm)
    with path.open("rb", buffering=0) as stream:
        buffer = bytearray(_CHUNK)
        view = memoryview(buffer)
        while got := stream.readinto(buffer):
            digest.update(view[:got])
    return digest.text()


def is_intact(path: Path, digest: str) -> bool:
    """Whether the file still has the content `digest` was made of, whichever algorithm made it. Raises OSError."""
    return file_digest(path, algorithm_of(digest)) == digest
