"""The ER7 readers of `make bench-feeds`: each parses a message and takes the same values out of it."""

from __future__ import annotations

from collections.abc import Callable

import hl7
from hl7apy.consts import VALIDATION_LEVEL
from hl7apy.parser import parse_message

from node.feeds.er7 import parse

Values = list[str]
Reader = Callable[[bytes], Values]


def osteon(frame: bytes) -> Values:
    """The product's reader."""
    values: Values = []
    for segment in parse(frame).segments:
        if segment.id == "MSH":
            values += [segment.text(9), segment.text(9, 2), segment.text(10)]
        elif segment.id == "PID":
            for r in range(1, segment.repetitions(3) + 1):
                values += [segment.text(3, repetition=r), segment.text(3, 4, repetition=r)]
            values += [segment.text(5), segment.text(5, 2), segment.text(7), segment.text(8)]
        elif segment.id == "OBX":
            values += [segment.text(2), segment.text(3), segment.text(3, 3), segment.text(5)]
            values += [segment.text(6), segment.text(11), segment.text(14)]
    return values


def of_hl7(frame: bytes) -> Values:
    """`hl7` 0.4.5; it does not know MSH-18, so it is given text."""
    values: Values = []
    for segment in hl7.parse(frame.decode()):
        name = str(segment[0])
        if name == "MSH":
            values += [str(segment[9][0][0]), str(segment[9][0][1]), str(segment[10])]
        elif name == "PID":
            for repetition in segment[3]:
                values += [str(repetition[0]), str(repetition[3]).partition("&")[0]]
            values += [str(segment[5][0][0]), str(segment[5][0][1]), str(segment[7]), str(segment[8])]
        elif name == "OBX":
            values += [str(segment[2]), str(segment[3][0][0]), str(segment[3][0][2]), str(segment[5])]
            values += [str(segment[6][0]).partition("^")[0], str(segment[11]), str(segment[14])]
    return values


def of_hl7apy(frame: bytes) -> Values:
    """`hl7apy` 1.3.5, tolerant and without groups, its fastest form."""
    values: Values = []
    message = parse_message(frame.decode(), validation_level=VALIDATION_LEVEL.TOLERANT, find_groups=False)
    for segment in message.children:
        if segment.name == "MSH":
            values += [segment.msh_9.msg_1.value, segment.msh_9.msg_2.value, segment.msh_10.value]
        elif segment.name == "PID":
            for repetition in segment.pid_3:
                values += [repetition.cx_1.value, repetition.cx_4.hd_1.value.value]
            values += [segment.pid_5.xpn_1.value, segment.pid_5.xpn_2.value, segment.pid_7.value, segment.pid_8.value]
        elif segment.name == "OBX":
            values += [segment.obx_2.value, segment.obx_3.ce_1.value, segment.obx_3.ce_3.value, segment.obx_5.value]
            values += [segment.obx_6.ce_1.value, segment.obx_11.value, segment.obx_14.value]
    return values


READERS: dict[str, Reader] = {"osteon": osteon, "hl7": of_hl7, "hl7apy": of_hl7apy}
