"""What a compressed frame says of itself, checked before a decoder believes it.

The libraries are fast and trusting: what is refused here made one of them crash, hang, work for minutes or give back a
wrong image without a word (measured on damaged frames, imagecodecs 2026.3). A frame that passes may still be damaged,
and not every decoder says so: libjpeg and OpenJPH fill what they miss with grey, and imagecodecs does not show their
warnings. A frame that was cut off is known by its missing end; one that is damaged inside and still ends as it should
is not.
"""

from __future__ import annotations

import itertools
import struct
from typing import Final

from pydicom import uid

from dicom_io.errors import PixelDecodeError


def check_frame(frame: bytes, syntax: uid.UID, *, rows: int, columns: int, allocated: int) -> None:
    """Refuse a frame whose own description is false. Raises PixelDecodeError."""
    fault = _rle_fault(frame, allocated) if syntax == uid.RLELossless else _end_fault(frame) or _siz_fault(frame)
    if not fault and _stated_size(frame) not in (None, (rows, columns)):
        fault = "it states another size than the header"
    if fault:
        msg = f"{syntax.name}: the frame is refused: {fault}"
        raise PixelDecodeError(msg)


def _rle_fault(frame: bytes, allocated: int) -> str:
    """PS3.5 G.5: one segment per byte of a cell, one after the other. An offset outside is a SIGSEGV in the decoder."""
    if len(frame) < _RLE_HEADER.size:
        return "it is shorter than its header"
    segments, *offsets = _RLE_HEADER.unpack_from(frame)
    if segments != allocated // 8:
        return f"{segments} RLE segments in cells of {allocated} bit"
    bounds = [*offsets[:segments], len(frame)]
    if bounds[0] < _RLE_HEADER.size or any(a >= b for a, b in itertools.pairwise(bounds)):
        return "an RLE segment lies outside"
    return ""


def _end_fault(frame: bytes) -> str:
    """EOI of ISO/IEC 10918-1 B.1.1.3 and 14495-1 C.1.1, EOC of 15444-1 A.4.4: one marker ends every frame but RLE.

    Without it libjpeg and OpenJPH give grey for what is missing, and CharLS works for 9 s on the smallest such image.
    Coded samples never hold it: a byte of ones is followed by one that makes no marker.
    """
    ended = _END_MARKER in frame[-_TAIL:] or frame.rstrip(b"\0").endswith(_END_MARKER)
    return "" if ended else "it ends before its end-of-image marker"


def _siz_fault(frame: bytes) -> str:
    """ITU-T T.800 A.5.1: the first tile covers the image's first sample (B-3). OpenJPH never ends where it does not."""
    siz = _siz(frame)
    if siz is None:
        return ""
    x, y, x0, y0, tile_x, tile_y, tile_x0, tile_y0 = siz
    if not (tile_x0 <= x0 < tile_x0 + tile_x and tile_y0 <= y0 < tile_y0 + tile_y and x0 < x and y0 < y):
        return "its tiles do not cover the image"
    return ""


def _siz(frame: bytes) -> tuple[int, ...] | None:
    """Xsiz, Ysiz, XOsiz, YOsiz, XTsiz, YTsiz, XTOsiz, YTOsiz; None where there is no such marker segment."""
    start = frame.find(_J2K_SIZ, 0, 4096)
    return _SIZ.unpack_from(frame, start + 8) if start >= 0 and len(frame) >= start + 8 + _SIZ.size else None


def _stated_size(frame: bytes) -> tuple[int, int] | None:
    """(rows, columns) a JPEG, JPEG-LS or JPEG 2000 frame states; None where it states none."""
    siz = _siz(frame)
    if siz is not None:
        x, y, x0, y0 = siz[:4]
        return y - y0, x - x0
    position = 2
    while frame[:2] == _JPEG_SOI and position + 9 <= len(frame):
        marker, length = struct.unpack_from(">HH", frame, position)
        if marker in _JPEG_SOF:
            rows, columns = struct.unpack_from(">HH", frame, position + 5)
            return rows, columns
        position += 2 + length
    return None


_RLE_HEADER: Final = struct.Struct("<16L")
_SIZ: Final = struct.Struct(">8L")
_J2K_SIZ: Final = b"\xff\x4f\xff\x51"
_JPEG_SOI: Final = b"\xff\xd8"
_END_MARKER: Final = b"\xff\xd9"
_TAIL: Final = 8
"""The marker is the frame's end but for the byte that makes its length even, and what careless writers add to that; of
zeros it may be more."""
_JPEG_SOF: Final = frozenset(range(0xFFC0, 0xFFD0)) - {0xFFC4, 0xFFC8, 0xFFCC} | {0xFFF7}
