"""CNS 11643-1992, planes 1 and 2, in its 8-bit form EUC-TW: a character set of HL7 table 0211 without a Python codec.

Both planes hold the characters of Big5 in nearly Big5's order, so runs of equal distance say it all. A position outside
the runs is refused, never replaced. The runs were computed from glibc's EUC-TW, and a test compares them with it.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator

CODEC = "euc_tw"
"""What this character set is called where a Python codec is named."""

_LEAD = 0x8E
"""SS2, first of the four bytes of a character outside plane 1."""
_HIGH_BYTES = re.compile(rb"[\x80-\xff]+")

# (CNS position, Big5 code, length of the run)
# fmt: off
_PLANE_1 = (
    (0x2121, 0xA140, 5), (0x2127, 0xA146, 8), (0x2130, 0xA14F, 6), (0x2136, 0xA157, 2), (0x2139, 0xA156, 1),
    (0x213E, 0xA15D, 44), (0x216A, 0xA1AC, 1), (0x216B, 0xA1AB, 1), (0x216C, 0xA1AD, 22), (0x2225, 0xA1C4, 1),
    (0x2227, 0xA1C6, 27), (0x2242, 0xA1E2, 1), (0x2243, 0xA1E1, 1), (0x2244, 0xA1E3, 19), (0x2257, 0xA1F7, 1),
    (0x2258, 0xA1F6, 1), (0x2259, 0xA1F8, 4), (0x225E, 0xA155, 1), (0x225F, 0xA241, 2), (0x2263, 0xA243, 1),
    (0x2265, 0xA245, 1), (0x2268, 0xA248, 69), (0x2421, 0xA2AF, 29), (0x243F, 0xA2CD, 1), (0x2441, 0xA2CF, 142),
    (0x2621, 0xC7E9, 20), (0x4421, 0xA440, 1412), (0x5323, 0xAD40, 424), (0x5753, 0xACFE, 1), (0x5754, 0xAFD0, 1876),
    (0x6B50, 0xBE52, 1), (0x6B51, 0xBBC8, 387), (0x6F5C, 0xBE53, 525), (0x7535, 0xC2CB, 1), (0x7536, 0xC1AB, 105),
    (0x7642, 0xC256, 83), (0x7737, 0xC2CC, 84), (0x782D, 0xC456, 1), (0x782E, 0xC361, 54), (0x7864, 0xC3BA, 1),
    (0x7865, 0xC3B9, 1), (0x7866, 0xC3BB, 90), (0x7962, 0xC457, 354),
)
_PLANE_2 = (
    (0x2121, 0xC940, 10), (0x212B, 0xC94B, 33), (0x214C, 0xC9BE, 1), (0x214D, 0xC96C, 48), (0x217D, 0xC9BF, 46),
    (0x224D, 0xCAF7, 1), (0x224E, 0xC9ED, 167), (0x2439, 0xCAF8, 1840), (0x376F, 0xDADF, 1), (0x3770, 0xD6CD, 108),
    (0x387E, 0xD77B, 537), (0x3E63, 0xD6CC, 1), (0x3E64, 0xDAE0, 100), (0x3F6A, 0xD77A, 1), (0x3F6B, 0xDBA7, 399),
    (0x4424, 0xDDFD, 1637), (0x554B, 0xEBF1, 1), (0x554C, 0xE8A3, 146), (0x5722, 0xECDE, 1), (0x5723, 0xE976, 287),
    (0x5A28, 0xF0CB, 1), (0x5A29, 0xEB5B, 116), (0x5B3F, 0xEBF2, 137), (0x5C6A, 0xECDF, 104), (0x5D74, 0xF056, 1),
    (0x5D75, 0xEDAA, 222), (0x6039, 0xEEEC, 198), (0x6243, 0xF057, 82), (0x6337, 0xF0CC, 86), (0x642F, 0xEEEB, 1),
    (0x6430, 0xF163, 8), (0x6438, 0xF16C, 153), (0x6573, 0xF269, 56), (0x664D, 0xF4B5, 1), (0x664E, 0xF2C3, 113),
    (0x6761, 0xF16B, 1), (0x6762, 0xF375, 142), (0x6934, 0xF268, 1), (0x6935, 0xF466, 45), (0x6962, 0xF4B6, 71),
    (0x6A4B, 0xF663, 1), (0x6A4C, 0xF4FD, 194), (0x6C52, 0xF664, 490), (0x7166, 0xF9C4, 1), (0x7167, 0xF977, 43),
    (0x7234, 0xF9C5, 1), (0x7235, 0xF9C7, 11), (0x7240, 0xF9C6, 1), (0x7241, 0xF9D2, 4),
)
# fmt: on
_RUNS = {b"\xa1": _PLANE_1, b"\xa2": _PLANE_2}
_VARIANT = (0x7641, "\u5f5e")
"""Of plane 1: a form that Big5 lacks."""


def decode(data: bytes) -> str:
    """The text of EUC-TW bytes.

    Raises:
        UnicodeDecodeError: a byte sequence that is no character of ASCII or of planes 1 and 2.

    """
    pieces: list[str] = []
    at = 0
    for match in _HIGH_BYTES.finditer(data):
        pieces.append(data[at : match.start()].decode("ascii"))
        pieces.extend(_characters(match[0]))
        at = match.end()
    return "".join([*pieces, data[at:].decode("ascii")])


def _characters(data: bytes) -> Iterator[str]:
    at = 0
    while at < len(data):
        size = 4 if data[at] == _LEAD else 2
        runs = _RUNS.get(data[at + 1 : at + 2] if data[at] == _LEAD else b"\xa1", ())
        found = _lookup(data[at + size - 2 : at + size], runs)
        if found is None:
            raise UnicodeDecodeError(CODEC, data, at, min(at + size, len(data)), "no character of planes 1 and 2")
        yield found
        at += size


def _lookup(code: bytes, runs: tuple[tuple[int, int, int], ...]) -> str | None:
    position = int.from_bytes(code) - 0x8080
    if runs is _PLANE_1 and position == _VARIANT[0]:
        return _VARIANT[1]
    number = bisect_right(runs, (position, 0xFFFF, 0)) - 1
    if number < 0 or not 0x21 <= position & 0xFF <= 0x7E:  # noqa: PLR2004 - 94 columns
        return None
    first, big5, length = runs[number]
    distance = _index(position, 94, 0x21) - _index(first, 94, 0x21)
    return _big5(big5, distance) if distance < length else None


def _big5(code: int, distance: int) -> str:
    """The character `distance` places after `code`: 157 trail bytes in two blocks of 63 and 94."""
    trail = code & 0xFF
    place = (code >> 8) * 157 + (trail - 0x40 if trail < 0x80 else trail - 0x62) + distance  # noqa: PLR2004
    lead, trail = divmod(place, 157)
    return bytes([lead, trail + (0x40 if trail < 63 else 0x62)]).decode("big5")  # noqa: PLR2004


def _index(position: int, columns: int, first: int) -> int:
    return ((position >> 8) - first) * columns + (position & 0xFF) - first
