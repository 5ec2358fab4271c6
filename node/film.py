"""The stored image of a case, as the pipeline reads it: its header and its pixels, or a coded failure.

An object that cannot be read stays unreadable: no retry, the case is Failed with its code, and the next case goes on.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from zoneinfo import ZoneInfo

from dicom_io.content_digest import is_intact
from dicom_io.errors import HeaderInvalid, PixelDecodeError
from dicom_io.header import Header, read_header, redeclare
from dicom_io.radiograph import read_radiograph
from dicom_io.spool import Spool
from model.domain import Radiograph
from node.case import Source
from node.errors import FailureCode, GiveUp


@dataclass(frozen=True, slots=True, kw_only=True)
class Films:
    """The images in a spool. `zone` holds for DICOM times that state no offset."""

    spool: Spool
    zone: ZoneInfo
    half_from: int | None = None
    """Short side in px from which wavelet-compressed images are decoded at half resolution; None: never."""
    charsets: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Character set in which a sender's headers really are, by its AE title."""

    def header(self, source: Source) -> Header:
        """The header as received, without pixels; the steps of a case share it, so nobody may change it.

        Raises:
            GiveUp: SPOOL_MISSING or HEADER_INVALID.

        """
        with _unreadable_gives_up():
            return _parse(self._stored(source), source.digest, tuple(self.charsets.get(source.calling_ae, ())))

    def radiograph(self, source: Source) -> Radiograph:
        """The decoded image, once its bytes are proved to be those that were received.

        Raises:
            GiveUp: SPOOL_MISSING (gone, or not what was received), HEADER_INVALID or PIXEL_DECODE.

        """
        with _unreadable_gives_up():
            return _decode(self._stored(source), source.digest, self.zone, self.half_from)

    def _stored(self, source: Source) -> Path:
        path = self.spool.path(source.spool_file)
        if not path.is_file():
            raise GiveUp(FailureCode.SPOOL_MISSING, f"{source.spool_file} is not in the spool")
        return path


@functools.lru_cache(maxsize=1)
def _parse(path: Path, digest: str, charset: tuple[str, ...]) -> Header:  # noqa: ARG001 - other bytes, another header
    """Parse the header of a spooled file; kept for the next steps of the case, which follow at once."""
    header = read_header(path)
    redeclare(header, charset)
    return header


@functools.lru_cache(maxsize=1)
def _decode(path: Path, digest: str, zone: ZoneInfo, half_from: int | None) -> Radiograph:
    """Decode a spooled file; kept for the report that follows its score at once."""
    if not is_intact(path, digest):
        raise GiveUp(FailureCode.SPOOL_MISSING, f"{path.name} is not what was received (its digest differs)")
    return read_radiograph(path, zone=zone, half_from=half_from)


@contextmanager
def _unreadable_gives_up() -> Iterator[None]:
    try:
        yield
    except HeaderInvalid as error:
        raise GiveUp(FailureCode.HEADER_INVALID, str(error)) from error
    except PixelDecodeError as error:
        raise GiveUp(FailureCode.PIXEL_DECODE, str(error)) from error
