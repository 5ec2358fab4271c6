"""The ER7 reader against two independent ones, value by value, on random well-formed messages.

Where the others differ from HL7, the difference is written down here instead of being compared:
- `hl7apy` 1.3.5 keeps escape sequences in its values and doubles the backslashes of those it does not know (`\\X41\\`).
- `hl7types` 0.9.5 resolves separators only: `\\X41\\`, `\\.br\\` and `\\H\\` stay as they are.
- Neither knows MSH-18: both are given decoded text.
"""

import random
import re

import hl7types
from hl7apy.parser import parse_message
from support.hl7_samples import SEPARATORS, adt, header, oru, well_formed

from node.feeds.er7 import parse

MESSAGES = [adt(), oru(3), *(well_formed(random.Random(seed)) for seed in range(40))]
LITERAL = {escape: character for character, escape in SEPARATORS.items()}


def resolved(raw):
    return re.sub(r"\\[FSTRE]\\", lambda match: LITERAL[match[0]], raw)


def ours(frame):
    """{(segment number, field, repetition, component, subcomponent): value} of everything that is not empty."""
    found = {}
    for number, segment in enumerate(parse(frame).segments):
        for field in range(3 if segment.id == "MSH" else 1, 50):
            for repetition in range(1, segment.repetitions(field) + 1):
                for component in range(1, 12):
                    for subcomponent in range(1, 5):
                        value = segment.get(field, component, subcomponent, repetition=repetition)
                        if value:
                            found[number, field, repetition, component, subcomponent] = value
    return found


def of_hl7apy(frame):
    message = parse_message(frame.decode(), validation_level=2, find_groups=False)
    found = {}
    for number, segment in enumerate(message.children):
        seen = {}
        for field in segment.children:
            position = int(field.name.partition("_")[2])
            seen[position] = seen.get(position, 0) + 1
            if field.name not in ("MSH_1", "MSH_2"):
                leaves(found, (number, position, seen[position]), field.to_er7())
    return found


def leaves(found, place, raw):
    for component, text in enumerate(raw.split("^"), 1):
        for subcomponent, value in enumerate(text.split("&"), 1):
            if value:
                found[(*place, component, subcomponent)] = resolved(value)


def of_hl7types(frame):
    text = frame.decode()
    segments = list(typed_segments(hl7types.decode_er7(text)))
    found = {}
    order = [line[:3] for line in text.split("\r") if line]
    taken = dict.fromkeys(order, 0)
    for number, segment_id in enumerate(order):
        typed = [segment for segment in segments if type(segment).__name__ == segment_id][taken[segment_id]]
        taken[segment_id] += 1
        for name, value in typed:
            field = int(name.rpartition("_")[2])
            if value is not None and not (segment_id == "MSH" and field < 3):
                for repetition, one in enumerate(value if isinstance(value, list) else [value], 1):
                    typed_leaves(found, (number, field, repetition), one)
    return found


def typed_segments(model):
    """The segments of a typed message, which hl7types nests in groups."""
    for _, value in model:
        for one in value if isinstance(value, list) else [value]:
            if hasattr(one, "model_fields_set"):
                if re.fullmatch("[A-Z][A-Z0-9]{2}", type(one).__name__):
                    yield one
                else:
                    yield from typed_segments(one)


def typed_leaves(found, place, value):
    if not hasattr(value, "model_fields_set"):
        found[(*place, 1, 1)] = str(value)
        return
    for component, (_, part) in enumerate(value, 1):
        if hasattr(part, "model_fields_set"):
            for subcomponent, (_, leaf) in enumerate(part, 1):
                if leaf is not None:
                    found[(*place, component, subcomponent)] = str(leaf)
        elif part is not None:
            found[(*place, component, 1)] = str(part)


def test_reader_same_values_as_hl7apy_on_generated_messages():
    for frame in MESSAGES:
        assert ours(frame) == of_hl7apy(frame)


def test_reader_same_values_as_hl7types_on_generated_messages():
    for frame in MESSAGES:
        assert ours(frame) == of_hl7types(frame)


def test_reader_differences_from_the_others_are_as_documented():
    frame = (
        f"{header('ADT^A08^ADT_A01')}\rEVN|A08|20250310\rPID|1||1^^^H||\\X41\\B\\.br\\C||19480312|F\rPV1|1|I\r".encode()
    )
    assert parse(frame).first("PID").get(5) == "AB\nC"
    apy = parse_message(frame.decode(), validation_level=2, find_groups=False)
    assert apy.pid.pid_5.to_er7() == "\\E\\X41\\E\\B\\E\\.br\\E\\C"
    types = hl7types.decode_er7(frame.decode())
    assert types.PID.pid_5[0].xpn_1.fn_1 == "\\X41\\B\\.br\\C"
