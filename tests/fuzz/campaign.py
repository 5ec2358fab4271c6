"""`make fuzz`: damaged messages through the reader and the acknowledgement, random streams through the framing.

What must hold: the reader raises `HL7Error` and nothing else; what is accepted is read for facts without any error;
every frame is answered as its MSH asks, with an acknowledgement that is one; the frames of a stream do not depend on
how TCP cut it. Exit status 0 only then.
"""

from __future__ import annotations

import argparse
import datetime as dt
import random
import sys
import time
import traceback
from collections import Counter
from functools import cache
from pathlib import Path
from zoneinfo import ZoneInfo

from fuzz.mutants import mutant
from fuzz.streams import chunked, expected, stream

from config.code_file import code_table
from config.hl7_feed import Mllp
from node.feeds.er7 import HL7Error, Message, parse
from node.feeds.hl7_ack import answer_code, recognise
from node.feeds.hl7_messages import read_message
from node.feeds.hl7_rules import Rules
from node.feeds.hl7_time import date, interval
from node.feeds.inbox import accept

MESSAGES, STREAMS = 500_000, 50_000
SHORT_MESSAGES, SHORT_STREAMS = 20_000, 2_000
CHUNKINGS = 3

_AT = dt.datetime(2025, 3, 10, 9, tzinfo=dt.UTC)
_ZONE = ZoneInfo("Europe/Berlin")
_FEEDS = (
    Mllp(),
    Mllp(strict_types=True, accept_test=True, default_issuer="HOSP"),
    Mllp(default_charset="gb18030"),
    Mllp(pinned_charset="iso8859-1"),
)
_MOST_FIELDS = 30


def main() -> int:
    """Run the campaign; 1 if anything failed."""
    arguments = _arguments()
    began = time.monotonic()
    outcomes: Counter[str] = Counter()
    failures = fuzz_messages(arguments.messages, arguments.seed, outcomes, arguments.out)
    failures += fuzz_streams(arguments.streams, arguments.seed, outcomes, arguments.out)
    for name, count in sorted(outcomes.items()):
        print(f"{name:24} {count}")
    for line in failures[:20]:
        print(f"FAILED {line}")
    print(
        f"RESULT fuzz messages={arguments.messages} streams={arguments.streams} chunkings={CHUNKINGS} "
        f"seed={arguments.seed} read={outcomes['read']} refused={outcomes['refused']} blocks={outcomes['blocks']} "
        f"failures={len(failures)} seconds={time.monotonic() - began:.0f}"
    )
    return 1 if failures else 0


def fuzz_messages(count: int, seed: int, outcomes: Counter[str], out: Path | None = None) -> list[str]:
    """Try `count` damaged messages; what failed, one line each. With `out`, their bytes are kept there."""
    failures = []
    for number in range(count):
        frame = mutant(random.Random(f"{seed}/{number}"))
        try:
            outcomes.update(try_message(frame, _FEEDS[number % len(_FEEDS)]))
        except Exception:  # noqa: BLE001 - whatever it is, it is what the campaign looks for
            failures.append(_failure(f"message-{seed}-{number}", frame, out))
    return failures


def fuzz_streams(count: int, seed: int, outcomes: Counter[str], out: Path | None = None) -> list[str]:
    """Try `count` byte streams in `CHUNKINGS` chunkings each, against an oracle that reads byte by byte."""
    failures = []
    for number in range(count):
        rng = random.Random(f"{seed}/stream/{number}")
        data, limit = stream(rng), rng.choice((50, 1024, 1 << 20))
        try:
            truth = expected(data, limit)
            for _ in range(CHUNKINGS):
                assert chunked(rng, data, limit) == truth
        except Exception:  # noqa: BLE001 - as above
            failures.append(_failure(f"stream-{seed}-{number}", data, out))
        else:
            outcomes.update(blocks=len(truth.blocks), oversize=sum(over for _, over in truth.blocks))
    return failures


def try_message(frame: bytes, feed: Mllp) -> Counter[str]:
    """Everything that happens to a frame before processing; AssertionError or any other error is a finding."""
    charsets = {"default_charset": feed.default_charset, "pinned_charset": feed.pinned_charset}
    try:
        message = parse(frame, **charsets)
    except HL7Error as found:
        refusal: HL7Error | None = found
        outcome = "refused"
    else:
        refusal, outcome = None, "read"
        _read_all(message)
    accepted = accept(frame, at=_AT, settings=feed)
    if outcome == "read" and accepted.error is None:
        read_message(message, _rules(), received_at=_AT)
    assert refusal is None or (accepted.error is not None and accepted.error.code == refusal.code)
    known = recognise(frame, **charsets)
    asked = answer_code(known, accepted.error)
    assert (accepted.ack is None) == (asked is None)
    if accepted.ack is not None:
        assert not {0x0B, 0x1C} & set(accepted.ack), "a byte that frames"
        lines = accepted.ack.decode(known.codec, errors="replace").rstrip("\r").split("\r")
        assert [line[:3] for line in lines] == ["MSH", "MSA", *(["ERR"] if accepted.error else [])]
        assert lines[1].split(known.separators.field)[1] == asked
        if outcome == "read" and not feed.pinned_charset:
            assert lines[1].split(known.separators.field)[2:3] in ([message.header.raw(10)], []) or not _plain(message)
    return Counter({outcome: 1, f"answered-{asked}": 1, f"error-{accepted.error.code if accepted.error else 0}": 1})


@cache
def _rules() -> Rules:
    return Rules(zone=_ZONE, codes=code_table())


def _plain(message: Message) -> bool:
    """Whether MSH-10 is echoed as it is: no control characters in it, and MSH within the bytes that are searched."""
    return message.header.raw(10).isprintable() and len(message.header.raw(10)) < 1000


def _read_all(message: Message) -> None:
    for segment in message.segments:
        for number in range(_MOST_FIELDS):
            raw = segment.raw(number)
            count = segment.repetitions(number)
            assert (count > 0) == bool(raw)
            if not raw:
                assert segment.get(number, 2, 2, repetition=2) == segment.get(number) == ""
                continue
            assert "\r" not in raw
            for place in ((1, 1, 1), (2, 1, 1), (4, 2, 1), (1, 1, count), (3, 1, 2)):
                assert isinstance(segment.get(number, place[0], place[1], repetition=place[2]), str)
            interval(segment.text(number), _ZONE)
            date(segment.text(number))


def _failure(name: str, data: bytes, out: Path | None) -> str:
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        (out / name).write_bytes(data)
    last = traceback.format_exc(limit=-1).strip().replace("\n", " / ")
    return f"{name}: {last}"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=MESSAGES)
    parser.add_argument("--streams", type=int, default=STREAMS)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, help="folder for the bytes of what failed")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
