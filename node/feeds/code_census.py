"""Which codes and units a feed really sends, and what the code table makes of them: what a site's own table needs.

Counted from messages as they lie in the inbox; no value, name or identifier is looked at.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from config.codes import CodeRule, CodeTable, Use
from node.feeds.er7 import Message, Segment
from node.feeds.hl7_values import code_pairs

UNKNOWN: Final = "unknown"
_A_CODE: Final = re.compile(r"[\w.+/-]{1,24}", re.ASCII)
_A_UNIT: Final = re.compile(r"[^\s~^|\\][^~^|\\]{0,19}")
_NO_CODE: Final = "(text)"
"""In place of what is no code: free text could name somebody."""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Seen:
    """One combination of a code and its unit."""

    system: str
    code: str
    unit: str
    means: str
    """Variable or use, `NOT CONFIRMED` behind it where it is switched off; `unknown`."""
    unit_fits: bool
    """Whether a value would have a factor; also true where none is needed."""


def census(messages: Iterable[Message], table: CodeTable) -> Counter[Seen]:
    """How often each combination came in the OBX segments of these messages."""
    return Counter(_seen(s, table) for message in messages for s in message.segments if s.id == "OBX")


def _seen(obx: Segment, table: CodeTable) -> Seen:
    pairs = code_pairs(obx, 3)
    code, system = next((p for p in pairs if table.find(*p) is not None), pairs[0])
    rule = table.find(code, system)
    unit = obx.text(6)
    return Seen(
        system=system if _A_CODE.fullmatch(system) else "",
        code=code if _A_CODE.fullmatch(code) else _NO_CODE,
        unit=unit if not unit or _A_UNIT.fullmatch(unit) else _NO_CODE,
        means=UNKNOWN if rule is None else _means(rule),
        unit_fits=rule is not None and (not rule.units or (table.unit(unit) or rule.fixed_unit) in rule.units),
    )


def _means(rule: CodeRule) -> str:
    what = rule.variable.name if rule.variable else rule.use.value
    return what if rule.confirmed or rule.use not in (Use.VARIABLE, Use.DXA) else f"{what}, NOT CONFIRMED"
