"""How spooled files are named: by SOP Instance UID and content, so that a name says what the bytes must be."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from dicom_io.content_digest import BLAKE3, SHA256, file_digest, hex_of

DIGEST_CHARACTERS: Final = 16
QUARANTINE: Final = "quarantine"
FOLDERS: Final = tuple(f"{number:02x}" for number in range(256))
"""Of the images, by the first two characters of their digest."""


def image_name(sop_instance_uid: str, digest: str) -> str:
    """File of an image below its spool, with `/`."""
    mark = hex_of(digest)[:DIGEST_CHARACTERS]
    return f"{mark[:2]}/{sop_instance_uid}-{mark}.dcm"


def quarantine_name(digest: str) -> str:
    """File of an object that could not be owned."""
    return f"{QUARANTINE}/{hex_of(digest)[:32]}.bin"


def mark_of(file: str) -> str:
    """The part of an image's name that comes from its digest; older releases gave names without one."""
    return file.rpartition("-")[2].removesuffix(".dcm")


def promised(content: Path, file: str) -> str | None:
    """Digest of `content` if it is what the name `file` promises, by the algorithm of now or before it; else None.

    Raises OSError.
    """
    name = file.rpartition("/")[2].rpartition(".")[0]
    for algorithm in (BLAKE3, SHA256):
        digest = file_digest(content, algorithm)
        if name.endswith((hex_of(digest)[:DIGEST_CHARACTERS], hex_of(digest)[:32])):
            return digest
    return None
