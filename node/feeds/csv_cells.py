"""One value cell of a file, judged once for each distinct text: what it is worth does not depend on whose it is.

The judgement is that of an OBX segment (`observations`), made for nobody in particular; patient, key, time and origin
are put in for each row. A laboratory's export repeats its values: most rows are read by one look into a table.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from config.codes import CodeTable
from model.domain import Identifier
from node.facts import DxaFact, ObservationFact, StatusFact, Unusable
from node.feeds.hl7_time import Interval
from node.feeds.observations import RawObservation, Remark, read_observation

_BAD_REASONS = frozenset(
    {
        Unusable.NUMBER,
        Unusable.NO_UNIT,
        Unusable.UNIT,
        Unusable.RANGE,
        Unusable.REFERENCE,
        Unusable.TIME,
        Unusable.ANSWER,
    }
)
"""Faults of the file; the others (preliminary, a comparator, an answer "unknown") are as they should be."""
_NOBODY: Final = Identifier(value="")
_SOMETIME: Final = dt.datetime(2000, 1, 1, tzinfo=dt.UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """What a cell says, of nobody in particular."""

    template: ObservationFact | DxaFact | StatusFact | None = None
    remark: str = ""
    """Why it makes no fact, without the value."""
    rule: str = ""
    """Why it is a problem of the file, if it is one."""
    code: str = ""
    """Its code, when the code table knows it; anything else might be a name in the wrong column."""
    value: str = ""
    named: str = ""
    """Code system and code as stated."""
    empty: bool = False
    """Nothing is stated and nothing is taken back."""

    def fact(
        self, patient: Identifier, key: str, observed: Interval, source: str
    ) -> ObservationFact | DxaFact | StatusFact:
        """The fact about a patient."""
        t = self.template
        if isinstance(t, DxaFact):
            return replace(t, patient=patient, key=key, source=source, observed_at=observed.start)
        if not isinstance(t, ObservationFact):
            assert t is not None  # noqa: S101 - asked only of a cell that makes a fact
            return replace(t, patient=patient, key=key, source=source)
        # Written out: `replace` looks at every field by name and takes five times as long, a million times over.
        return ObservationFact(
            patient=patient,
            key=key,
            variable=t.variable,
            raw_value=t.raw_value,
            raw_unit=t.raw_unit,
            value=t.value,
            unit=t.unit,
            observed_start=observed.start,
            observed_end=observed.end,
            available_at=t.available_at,
            usable=t.usable,
            reason=t.reason,
            source=source,
            code=t.code,
            comparator=t.comparator,
            status=t.status,
            table_version=t.table_version,
            visit=t.visit,
        )


class CellReader:
    """Judges cells by the code table. `available_at` (aware): when the file could be known."""

    def __init__(self, codes: CodeTable, *, available_at: dt.datetime, decimal_comma: bool) -> None:
        self._codes = codes
        self._at = available_at
        self._comma = decimal_comma

    def read(self, cells: Mapping[str, str], span: dt.timedelta, *, deleted: bool) -> Cell:
        """Judge the cell with these texts, of a time that is `span` long."""
        code, system, value = cells["code"], cells["code_system"], cells["value"]
        found, rule = self._judged(cells, span, deleted=deleted)
        remark = found if isinstance(found, Remark) else ""
        return Cell(
            template=None if isinstance(found, Remark) else found,
            remark=remark,
            rule=rule,
            code=code if self._codes.find(code, system) is not None else "",
            value=value,
            named=f"{system}\x1f{code}",
            empty=not value and not deleted,
        )

    def _judged(
        self, cells: Mapping[str, str], span: dt.timedelta, *, deleted: bool
    ) -> tuple[ObservationFact | DxaFact | StatusFact | Remark | None, str]:
        """The fact or why there is none, and why it is a problem, if it is one."""
        if self._comma and "." in cells["value"]:
            return None, Unusable.NUMBER  # the mark of thousands, or another form than declared
        raw = RawObservation(
            patient=_NOBODY,
            key="",
            codes=((cells["code"], cells["code_system"]),),
            value=cells["value"],
            unit=cells["unit"],
            status="D" if deleted else cells["status"],
            observed=Interval(start=_SOMETIME, end=_SOMETIME + span),
            available_at=self._at,
            source="",
            decimal_comma=self._comma,
        )
        found = read_observation(raw, self._codes)
        if isinstance(found, Remark):
            return found, found if found is Remark.NO_VALUE else ""
        reason = getattr(found, "reason", "")
        return found, reason if reason in _BAD_REASONS else ""
