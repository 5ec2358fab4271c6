r"""How ER7 writes text: encoding characters, character sets (MSH-18), escape sequences (HL7 v2.5 2.5.4, 2.7, 2.9.2).

A value that cannot be read becomes U+FFFD and is counted in `warnings`; nothing here raises on content but `decode`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from node.feeds import cns11643

MAX_BREAKS = 50
"""Line breaks by escape sequence per value; more are dropped, and a repeat count is never followed."""

ESCAPE_NOT_READ = "ESCAPE_NOT_READ"
r"""Warning: a value held `\C..\`, `\M..\`, `\Z..\` or bytes that are no text; U+FFFD stands in its place."""

CODECS = {
    "ASCII": "ascii",
    **{f"8859/{n}": f"iso8859-{n}" for n in (*range(1, 10), 15)},
    "ISO IR6": "ascii",
    "ISO IR14": "shift_jis",
    "ISO IR87": "iso2022_jp",
    "ISO IR159": "iso2022_jp_1",
    "GB 18030-2000": "gb18030",
    "KS X 1001": "euc_kr",
    "CNS 11643-1992": cns11643.CODEC,
    "BIG-5": "big5",
    "UNICODE UTF-8": "utf-8",
}
"""Table 0211 -> codec. UTF-16 and UTF-32 are not here: their bytes cannot travel in MLLP."""

CHARSET_SPELLING = "CHARSET_SPELLING"
"""Warning: MSH-18 is not spelled as in table 0211, and means one set only."""

_LATIN = {100: 1, 101: 2, 109: 3, 110: 4, 144: 5, 127: 6, 126: 7, 138: 8, 148: 9, 203: 15}
"""ISO-IR number of a right half -> part of ISO 8859; DICOM names the sets so (PS3.3 C.12.1.1.2)."""
_BETWEEN = re.compile(r"[ _/-]")
_SPELLINGS = {
    **{_BETWEEN.sub("", name): codec for name, codec in CODECS.items()},
    **{f"ISO8859{name.partition('/')[2]}": codec for name, codec in CODECS.items() if name.startswith("8859/")},
    **{f"ISOIR{number}": f"iso8859-{part}" for number, part in _LATIN.items()},
    "UTF8": "utf-8",
    "USASCII": "ascii",
    "GB18030": "gb18030",
}
"""What senders write for a set of the table, without what stands between -> codec. `UNICODE` alone may be UTF-16."""

_JAPANESE = frozenset({"", "ASCII", "ISO IR6", "ISO IR14", "ISO IR87", "ISO IR159"})
_SHIFTED = frozenset({"ISO IR87", "ISO IR159"})
_REPLACEMENT = "\ufffd"
_NEW_LINE = re.compile(r"\.(?:br|ce|sp ?\+?\d*)")
_NO_OUTPUT = re.compile(r"\.(?:fi|nf|(?:in|ti) ?[+-]?\d*)")
_SKIP = re.compile(r"\.sk ?\+?\d*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Separators:
    """The five encoding characters of MSH-1 and MSH-2."""

    field: str = "|"
    component: str = "^"
    repetition: str = "~"
    escape: str = "\\"
    subcomponent: str = "&"


@lru_cache(maxsize=64)
def codec_of(charset: str, *, repetition: str = "~", default: str | None = None) -> str | None:
    """The codec that MSH-18 states by its first repetition, `default` if that is empty; None if it is not known.

    Further repetitions are sets that ISO 2022 escape sequences switch to. Japanese senders state `~ISO IR87` (ASCII,
    then JIS X 0208); read by the first alone, second bytes of its characters would be taken for separators.
    """
    if not charset:
        return default
    stated = [one.strip().upper() for one in charset.split(repetition)]
    if len(stated) > 1 and _SHIFTED.intersection(stated) and _JAPANESE.issuperset(stated):
        return "iso2022_jp_ext"
    return (CODECS.get(stated[0]) or _SPELLINGS.get(_BETWEEN.sub("", stated[0]))) if stated[0] else default


def oddly_spelled(charset: str, *, repetition: str = "~") -> bool:
    """Whether MSH-18 states its first set otherwise than table 0211 does."""
    first = charset.partition(repetition)[0].strip().upper()
    return bool(first) and first not in CODECS


def decode(data: bytes, codec: str) -> str:
    """The text of `data`, strictly.

    Raises:
        UnicodeError: bytes that the codec does not have.
        LookupError: no such text codec.

    """
    return cns11643.decode(data) if codec == cns11643.CODEC else data.decode(codec)


def unescape(text: str, separators: Separators, codec: str, warnings: dict[str, int]) -> str:
    """Resolve escape sequences; an unterminated or unknown one stays as it is."""
    breaks = 0
    literal = _literals(separators)

    def resolve(match: re.Match[str]) -> str:
        nonlocal breaks
        body = match[1]
        if (known := literal.get(body)) is not None:
            return known
        if _NEW_LINE.fullmatch(body):
            breaks += 1
            return "\n" if breaks <= MAX_BREAKS else ""
        if _NO_OUTPUT.fullmatch(body):
            return ""
        if _SKIP.fullmatch(body):
            return " "
        return _coded(body, codec, warnings) or match[0]

    return _pattern(separators.escape).sub(resolve, text)


def escape(text: str, separators: Separators = Separators()) -> str:
    """The text with separators written as escape sequences and line ends as `.br`; other controls become spaces."""
    if text.isalnum():
        return text
    written = {
        ord(character): f"{separators.escape}{name}{separators.escape}" for name, character in _written(separators)
    }
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    controls = dict.fromkeys((*range(0x20), *range(0x7F, 0xA0)), " ")
    return text.translate({**controls, ord("\n"): f"{separators.escape}.br{separators.escape}", **written})


def _written(separators: Separators) -> tuple[tuple[str, str], ...]:
    """Separators with the letters of their escape sequences."""
    return tuple((name, character) for name, character in _literals(separators).items() if character)


def _coded(body: str, codec: str, warnings: dict[str, int]) -> str:
    """`X` hexadecimal, `C` and `M` character set switches, `Z` local; empty for any other escape sequence."""
    kind = body[:1]
    if kind == "X":
        try:
            text = decode(bytes.fromhex(body[1:]), codec)
        except (ValueError, LookupError):  # UnicodeError is a ValueError
            text = _REPLACEMENT
        text = text.replace("\0", _REPLACEMENT)  # no database column takes a NUL
    elif kind in ("C", "M", "Z"):
        text = _REPLACEMENT
    else:
        return ""
    if _REPLACEMENT in text:
        warnings[ESCAPE_NOT_READ] = warnings.get(ESCAPE_NOT_READ, 0) + 1
    return text


@lru_cache(maxsize=32)
def _pattern(escape: str) -> re.Pattern[str]:
    mark = re.escape(escape)
    return re.compile(f"{mark}([^{mark}]*){mark}")


@lru_cache(maxsize=32)
def _literals(separators: Separators) -> dict[str, str]:
    """Body of an escape sequence -> text; `H` and `N` switch highlighting, which is dropped."""
    return {
        "F": separators.field,
        "S": separators.component,
        "T": separators.subcomponent,
        "R": separators.repetition,
        "E": separators.escape,
        "H": "",
        "N": "",
    }
