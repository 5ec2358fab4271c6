"""Broken HL7 messages: well-formed ones, damaged in the ways that senders, links and attackers damage them."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import cache

from support.hl7_samples import adt, frame, header, oru, well_formed

CHARSETS = (
    *("ASCII", "8859/1", "8859/15", "ISO IR14", "ISO IR87", "ISO IR159", "~ISO IR87", "GB 18030-2000", "KS X 1001"),
    *("CNS 11643-1992", "BIG-5", "UNICODE UTF-8", "UNICODE UTF-16", "KLINGON", "", "~", '""', "8859/1~ISO IR87"),
)
CODECS = ("utf-8", "latin-1", "gb18030", "big5", "shift_jis", "iso2022_jp", "euc_kr", "utf-16", "cp1252")
TOKENS = (
    *(b"\\.sp99999999\\", b"\\.br\\" * 60, b"\\X" + b"41" * 50 + b"\\", b"\\X0D4D5348\\", b"\\X00\\", b"\\XZ\\"),
    *(b"\\", b"\\C2842\\", b"\\Z\\", b"\\E\\E\\", b'""', b"|", b"^", b"~", b"&", b"\r", b"\n", b"\r\n", b"\0"),
    *(b"\x0b", b"\x1c", b"\x1b$B", b"\x1b(B", b"\x1b$)C", b"\x0e", b"\xef\xbb\xbf", b"\xff\xfe", b"\xc2\x85"),
    *(b"\xe2\x80\xa8", b"\x81|", b"\xa4\x7c", b"\x8e\xa2\xa1\xa1", b"\xed\xa0\x80", b"\xf0\x9f\xa6\xb4"),
    *(b"\rMSH|^~\\&|A|B", b"MSH", b"\rPID|", b"AL", b"NE", b"20250230", b"99991231", b"+9999", b"1e309"),
    *(b"9" * 400, b"|" * 3000, b"~" * 300, b"^" * 300, b"&" * 300),
)

_GOOD = 2000
"""So many different messages are damaged."""

Damage = Callable[[random.Random, bytes], bytes]


def mutant(rng: random.Random) -> bytes:
    """A random message with up to four kinds of damage; now and then it is spared."""
    message = _whole(rng)
    for _ in range(rng.choice((0, 1, 1, 1, 2, 3, 4))):
        message = rng.choice(DAMAGES)(rng, message)
    return message


def _whole(rng: random.Random) -> bytes:
    kind = rng.randrange(8)
    if kind == 0:
        return adt()
    if kind == 1:
        return oru(rng.randrange(4))
    if kind == 2:
        event, value = rng.choice(("A40", "A47", "A34", "A11", "A29", "A43")), rng.choice(("1^^^H", "2^^^H", '""', ""))
        return frame(header(f"ADT^{event}", modes=_modes(rng)), "PID|1||1^^^H||MÜLLER^ANNA", f"MRG|{value}")
    if kind == 3:
        kinds = ("ORM^O01", "OMI^O23", "OMG^O19", "RDE^O11", "SIU^S12", "ACK", "", "ORU", "^R01")
        rows = ("ORC|NW|P1|F1", "OBR|1|P1|F1|C", "IPC|ACC1^RIS|RP1|1.2.3", "RXE||H02AB06^P^ATC", "ZDS|1.2.3")
        chosen = rng.sample(rows, rng.randrange(len(rows)))
        return frame(header(rng.choice(kinds), modes=_modes(rng)), "PID|1||1^^^H", *chosen)
    if kind == 4:
        return rng.randbytes(rng.randrange(200))
    return _good(rng.randrange(_GOOD))


@cache
def _good(number: int) -> bytes:
    return well_formed(random.Random(number))


def _modes(rng: random.Random) -> str:
    return "|".join(rng.choices(("", "AL", "NE", "ER", "SU", "XX"), k=2))


def _flip(rng: random.Random, message: bytes) -> bytes:
    damaged = bytearray(message or b"M")
    for _ in range(rng.randrange(1, 4)):
        damaged[rng.randrange(len(damaged))] = rng.randrange(256)
    return bytes(damaged)


def _insert(rng: random.Random, message: bytes) -> bytes:
    at = rng.randrange(len(message) + 1)
    return message[:at] + rng.choice(TOKENS) + message[at:]


def _overwrite(rng: random.Random, message: bytes) -> bytes:
    """A token in place of a field."""
    fields = message.split(b"|")
    fields[rng.randrange(len(fields))] = rng.choice(TOKENS)
    return b"|".join(fields)


def _remove(rng: random.Random, message: bytes) -> bytes:
    at = rng.randrange(len(message) + 1)
    return message[:at] + message[at + rng.randrange(1, 40) :]


def _repeat(rng: random.Random, message: bytes) -> bytes:
    at = rng.randrange(len(message) + 1)
    return message[:at] + message[at : at + rng.randrange(1, 40)] * rng.randrange(2, 30) + message[at:]


def _truncate(rng: random.Random, message: bytes) -> bytes:
    return message[: rng.randrange(len(message) + 1)]


def _splice(rng: random.Random, message: bytes) -> bytes:
    """Two messages in one frame, or the head of one and the tail of another."""
    other = _good(rng.randrange(_GOOD))
    if rng.random() < 0.2:
        return message + other
    return message[: rng.randrange(len(message) + 1)] + other[rng.randrange(len(other)) :]


def _shuffle(rng: random.Random, message: bytes) -> bytes:
    lines = message.split(b"\r")
    rng.shuffle(lines)
    return b"\r".join(lines)


def _line_ends(rng: random.Random, message: bytes) -> bytes:
    return message.replace(b"\r", rng.choice((b"\n", b"\r\n", b"\n\r", b"\r\r", b"\x85", b"")))


def _charset(rng: random.Random, message: bytes) -> bytes:
    return message.replace(b"UNICODE UTF-8", rng.choice(CHARSETS).encode(), 1)


def _recode(rng: random.Random, message: bytes) -> bytes:
    """Other bytes for the same text, with or without saying so in MSH-18."""
    text = message.decode("utf-8", errors="replace")
    return _charset(rng, text.encode(rng.choice(CODECS), errors="replace"))


def _separators(rng: random.Random, message: bytes) -> bytes:
    table = bytearray(range(256))
    for separator in rng.sample(b"|^~\\&", rng.randrange(1, 6)):
        table[separator] = rng.choice(b"!#$%*+/:;<=>?@_`{}A1 \xe4")
    return message.translate(bytes(table))


def _prefix(rng: random.Random, message: bytes) -> bytes:
    return rng.choice((b"\xef\xbb\xbf", b"\0\0", b" \r\n", b"\xff\xfe", b"FHS|^~\\&\r")) + message


DAMAGES: tuple[Damage, ...] = (
    *(_flip, _insert, _insert, _overwrite, _overwrite, _remove, _repeat, _truncate, _splice, _shuffle, _line_ends),
    *(_charset, _charset, _recode, _recode, _separators, _prefix),
)
