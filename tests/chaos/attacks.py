"""Every kind of malformed input, as scripts for one connection; seed and number give the script again."""

from __future__ import annotations

import enum
import random
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from chaos import films, mutate, wire
from chaos.wire import DX, EXPLICIT, IMPLICIT

STREAM: Final = 40
_CONTEXTS: Final = tuple((2 * n + 1, DX, (syntax,)) for n, syntax in enumerate(mutate.SYNTAXES))
_NUMBER_OF: Final = {syntax: 2 * n + 1 for n, syntax in enumerate(mutate.SYNTAXES)}
_EXPLICIT: Final = _NUMBER_OF[EXPLICIT]


class End(enum.Enum):
    """How the attacker leaves."""

    HALF_CLOSE = "half-close"
    RELEASE = "release"
    RESET = "reset"
    LINGER = "linger"
    """Not at all: the listener must end it by its time-outs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attack:
    """What one connection sends: `opening`, then `body` once the association is accepted (None: no association)."""

    kind: str
    opening: bytes
    body: bytes | None = None
    end: End = End.HALF_CLOSE


def attack(seed: int, number: int) -> Attack:
    """Attack `number` of the campaign."""
    rng = random.Random(f"{seed}/{number}")
    kind = rng.choices(list(_KINDS), [weight for weight, _ in _KINDS.values()])[0]
    made = _KINDS[kind][1](rng, films.uid_of(seed, STREAM, number))
    opening, body = made if isinstance(made, tuple) else (made, None)
    # Lingering costs the listener's time-out each time, so few do.
    ends = rng.choices(list(End), (25, 64, 8, 3) if body is not None else (86, 0, 10, 4))[0]
    return Attack(kind=kind, opening=opening, body=body, end=ends)


def _request() -> bytes:
    return wire.associate_rq(_CONTEXTS)


def _request_scrambled(rng: random.Random, _uid: str) -> bytes:
    return mutate.scramble(rng, _request())


def _request_lengths(rng: random.Random, _uid: str) -> bytes:
    """One length field of the request lies: PDU, item, sub-item."""
    data = bytearray(_request())
    if rng.random() < 0.4:
        data[2:6] = struct.pack(">I", rng.choice((0, 1, 67, 68, 0x7FFFFFFF, 0xFFFFFFFF, len(data), len(data) - 7)))
    else:
        starts = [
            at
            for at in range(74, len(data) - 4)
            if data[at] in (0x10, 0x20, 0x30, 0x40, 0x50, 0x51) and not data[at + 1]
        ]
        at = rng.choice(starts)
        data[at + 2 : at + 4] = struct.pack(">H", rng.choice((0, 1, 3, 0x7FFF, 0xFFFF)))
    return bytes(data)


def _contexts(rng: random.Random, uid: str) -> tuple[bytes, bytes]:
    """128 contexts, repeated or even identifiers, none at all, forty syntaxes each, empty or endless UIDs."""
    many = [(2 * n + 1, DX, (IMPLICIT, EXPLICIT) * rng.choice((1, 20))) for n in range(128)]
    contexts: list[wire.Context] = rng.choice(
        (
            many,
            many * 2,
            [(1, DX, (EXPLICIT,))] * 5,
            [(n, DX, (EXPLICIT,)) for n in (0, 2, 255)],
            [],
            [(1, "", ("",))],
            [(1, DX, ())],
            [(1, "1." * 5000, (EXPLICIT,))],
            [(1, DX, ("9" * 20_000,)), (3, "\xff\x00", ("\xfe",))],
        )
    )
    return wire.associate_rq(contexts), wire.store_message(1, uid, mutate.sound(EXPLICIT, uid))


def _titles(rng: random.Random, _uid: str) -> bytes:
    title = rng.choice((b"", b"\0" * 16, b"\xff" * 16, b"OSTEON\0\0", b"osteon", b"A\\B", b"\x1b[31m", b"OSTEON\r\nX"))
    return wire.associate_rq(_CONTEXTS, called=rng.choice((title, b"OSTEON")), calling=title)


def _user_items(rng: random.Random, _uid: str) -> bytes:
    """User information nobody negotiated or with lying insides (PS3.7 D.3.3)."""
    extra = b"".join(
        wire.item(rng.choice((0x53, 0x54, 0x55, 0x56, 0x57, 0x58, 0x99)), rng.randbytes(rng.choice((0, 2, 30))))
        for _ in range(rng.randint(1, 6))
    )
    return wire.associate_rq(_CONTEXTS, extra=extra, maximum_pdu=rng.choice((0, 1, 5, 0xFFFFFFFF)))


def _not_dicom(rng: random.Random, _uid: str) -> bytes:
    hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + rng.randbytes(500)
    http = b"GET / HTTP/1.1\r\nHost: node\r\n\r\n"
    return rng.choice(
        (b"", b"\0", b"\x01\x00", hello, http, b"\x0b" + b"MSH|^~\\&|\x1c\r", rng.randbytes(rng.randint(1, 3000)))
    )


def _cut(rng: random.Random, uid: str) -> bytes | tuple[bytes, bytes]:
    """A PDU that ends before its length says so."""
    if rng.random() < 0.5:
        return _request()[: rng.randrange(1, 200)]
    message = wire.store_message(_EXPLICIT, uid, mutate.sound(EXPLICIT, uid))
    return _request(), message[: rng.randrange(1, len(message))]


def _wrong_time(rng: random.Random, uid: str) -> bytes | tuple[bytes, bytes]:
    """Sound or unknown PDUs in a state where they do not belong (PS3.8 9.2)."""
    kinds = [wire.pdu(kind, rng.randbytes(rng.choice((0, 4, 68)))) for kind in (0, 1, 2, 3, 5, 6, 7, 8, 0x41, 0xFF)]
    before = b"".join(rng.sample(kinds, rng.randint(1, 3)))
    if rng.random() < 0.3:
        return before + _request()
    return _request(), before + wire.store_message(_EXPLICIT, uid, mutate.sound(EXPLICIT, uid))


def _message_scrambled(rng: random.Random, uid: str) -> tuple[bytes, bytes]:
    return _request(), mutate.scramble(rng, wire.store_message(_EXPLICIT, uid, mutate.sound(EXPLICIT, uid), chunk=700))


def _values(rng: random.Random, uid: str) -> tuple[bytes, bytes]:
    """Presentation data values that do not fit: length, context, control header, several in one PDU."""
    dataset = mutate.sound(EXPLICIT, uid)
    lies = [wire.value(_EXPLICIT, 0, b"", length=length) for length in (0, 1, 2, 3, 0x7FFFFFFF, 0xFFFFFFFF)] + [
        wire.value(rng.randrange(256), rng.randrange(256), rng.randbytes(rng.choice((0, 1, 50)))) for _ in range(4)
    ]
    lie = wire.pdu(wire.P_DATA, b"".join(rng.sample(lies, rng.randint(1, 4))))
    head = wire.p_data(_EXPLICIT, wire.c_store_rq(DX.encode(), uid.encode()), is_command=True)
    return _request(), rng.choice(
        (lie, head + lie, head + wire.p_data(_EXPLICIT, dataset[:500], is_command=False, last=False) + lie)
    )


def _huge_pdu(rng: random.Random, uid: str) -> tuple[bytes, bytes]:
    """A PDU longer than agreed, announced or really sent."""
    if rng.random() < 0.8:
        return _request(), wire.pdu(
            rng.choice((4, 5, 7)), rng.randbytes(100), length=rng.choice((0x7FFFFFFF, 0xFFFFFFFF, 1 << 24))
        )
    body = wire.value(_EXPLICIT, 0, bytes((1 << 20) + 5000))
    head = wire.p_data(_EXPLICIT, wire.c_store_rq(DX.encode(), uid.encode()), is_command=True)
    return _request(), head + wire.pdu(wire.P_DATA, body)


def _no_last(rng: random.Random, uid: str) -> tuple[bytes, bytes]:
    """The last fragment never comes; then something else, or a second message into the first."""
    dataset = mutate.sound(EXPLICIT, uid)
    head = wire.p_data(_EXPLICIT, wire.c_store_rq(DX.encode(), uid.encode()), is_command=True, last=rng.random() < 0.7)
    open_end = head + wire.p_data(_EXPLICIT, dataset, is_command=False, chunk=500, last=False)
    return _request(), open_end + rng.choice((b"", wire.store_message(_EXPLICIT, uid, dataset), wire.abort()))


def _command(rng: random.Random, uid: str) -> tuple[bytes, bytes]:
    """Command sets with elements missing, doubled, mistyped or unknown, with and without a dataset after them."""
    elements = [
        wire.element(0, 2, rng.choice((DX.encode(), b"", b"1.2.3", b"\xff" * 70))),
        wire.short(
            0x0100,
            rng.choice((1, 1, 0x10, 0x20, 0x21, 0x30, 0x100, 0x120, 0x130, 0x140, 0x150, 0x8001, 0x0FFF, 0xFFFF)),
        ),
        wire.short(0x0110, rng.choice((0, 1, 65535))),
        wire.short(0x0120, 7),
        wire.short(0x0700, rng.choice((0, 1, 2, 99))),
        wire.short(0x0800, rng.choice((0, 1, 0x0101, 0xFFFF))),
        wire.short(0x0900, rng.choice((0, 0xFF00, 0xA700))),
        wire.element(0, 0x1000, rng.choice((uid.encode(), b"", b"x"))),
        wire.element(rng.choice((0, 8, 0xFFFF)), rng.randrange(0x10000), rng.randbytes(6)),
    ]
    rng.shuffle(elements)
    chosen = elements[: rng.randint(0, len(elements))]
    encoded = wire.command(*chosen) if rng.random() < 0.7 else b"".join(chosen)
    body = wire.p_data(_EXPLICIT, encoded, is_command=True)
    dataset = mutate.sound(EXPLICIT, uid)
    return _request(), body + rng.choice(
        (b"", wire.p_data(_EXPLICIT, dataset, is_command=False), wire.p_data(1, dataset, is_command=False))
    )


def _uids(rng: random.Random, uid: str) -> tuple[bytes, bytes]:
    """UIDs that are paths, too long, empty, binary; in the command, in the dataset, or in both."""
    wrong = rng.choice(
        (
            b"1" * 65,
            b"1.2." + b"3" * 61,
            b"../../../etc/passwd",
            b"/tmp/x",
            b"",
            b"\0" * 10,
            b"1.2.\xff\xfe",
            b"1..2",
            b"..",
            b"1.2/3",
            b"1.2\n3",
            b"-1.2",
            b"1.2.03",
        )
    )
    dataset = mutate.sound(EXPLICIT, uid)
    which = rng.randrange(3)
    if which != 0:
        old = b"\x08\x00\x18\x00UI" + struct.pack("<H", len(uid) + len(uid) % 2) + uid.encode() + b"\0" * (len(uid) % 2)
        padded = wrong + b"\0" * (len(wrong) % 2)
        dataset = dataset.replace(old, b"\x08\x00\x18\x00UI" + struct.pack("<H", len(padded)) + padded)
    command = wire.c_store_rq(DX.encode(), wrong if which != 1 else uid.encode())
    return _request(), wire.p_data(_EXPLICIT, command, is_command=True) + wire.p_data(
        _EXPLICIT, dataset, is_command=False
    )


def _dataset_scrambled(rng: random.Random, uid: str) -> tuple[bytes, bytes]:
    syntax = rng.choice(mutate.SYNTAXES)
    return _request(), wire.store_message(_NUMBER_OF[syntax], uid, mutate.scrambled(rng, syntax, uid))


def _dataset_hostile(rng: random.Random, uid: str) -> tuple[bytes, bytes]:
    return _request(), wire.store_message(_EXPLICIT, uid, mutate.hostile(rng, uid), chunk=rng.choice((16_000, 100_000)))


def _dataset_in_other_syntax(rng: random.Random, uid: str) -> tuple[bytes, bytes]:
    """Written in one transfer syntax, sent in the context of another."""
    written, said = rng.sample(mutate.SYNTAXES, 2)
    return _request(), wire.store_message(_NUMBER_OF[said], uid, mutate.sound(written, uid))


def _bomb(_rng: random.Random, uid: str) -> tuple[bytes, bytes]:
    return _request(), wire.store_message(_NUMBER_OF[wire.DEFLATED], uid, mutate.bomb(uid))


def _after_the_end(rng: random.Random, uid: str) -> tuple[bytes, bytes]:
    """Bytes after a release or an abort; requests inside an association."""
    message = wire.store_message(_EXPLICIT, uid, mutate.sound(EXPLICIT, uid))
    first = rng.choice((wire.release_rq(), wire.abort(), wire.pdu(wire.RELEASE_RP, bytes(4)), _request()))
    return _request(), rng.choice((b"", message)) + first + rng.choice(
        (message, rng.randbytes(200), _request(), first * 50)
    )


def _many_messages(rng: random.Random, uid: str) -> tuple[bytes, bytes]:
    """More requests at once than a sender may have waiting (PS3.7 D.3.3.3)."""
    message = wire.store_message(_EXPLICIT, uid, mutate.sound(EXPLICIT, uid))
    echo = wire.p_data(_EXPLICIT, wire.c_echo_rq(), is_command=True)
    return _request(), rng.choice((message, echo, message + echo)) * rng.choice((3, 30))


_Maker = Callable[[random.Random, str], bytes | tuple[bytes, bytes]]
_KINDS: Final[dict[str, tuple[int, _Maker]]] = {
    "request scrambled": (10, _request_scrambled),
    "request lengths": (7, _request_lengths),
    "contexts": (3, _contexts),
    "titles": (3, _titles),
    "user items": (3, _user_items),
    "not DICOM": (5, _not_dicom),
    "cut": (5, _cut),
    "wrong time": (5, _wrong_time),
    "message scrambled": (9, _message_scrambled),
    "values": (5, _values),
    "huge PDU": (2, _huge_pdu),
    "no last fragment": (4, _no_last),
    "command": (8, _command),
    "UIDs": (5, _uids),
    "dataset scrambled": (16, _dataset_scrambled),
    "dataset hostile": (10, _dataset_hostile),
    "other syntax": (3, _dataset_in_other_syntax),
    "deflate bomb": (1, _bomb),
    "after the end": (4, _after_the_end),
    "many messages": (2, _many_messages),
}
