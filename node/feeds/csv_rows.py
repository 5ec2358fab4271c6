"""One row of a dropped file -> facts, by the same rules as an OBX segment (clinical-data.md section 9).

A row that would need a guess is bad: an identifier that a spreadsheet turned into a number, a decimal mark that was not
declared, a date in a local notation. What belongs to the file (columns, decimal mark, zone, issuer) is worked out once.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import operator
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from config.codes import CodeTable
from config.csv_feed import Content, CsvValue, Decimal
from model.domain import Identifier, NameGroup, PatientIdentity, PersonName, Sex
from node.facts import UNSTATED, Fact, PersonFact, TombstoneFact, Unusable
from node.feeds.csv_keys import key_prefix, own_key
from node.feeds.csv_layout import Layout
from node.feeds.csv_rules import BadRow, RowRule
from node.feeds.hl7_time import Interval, date, local_interval
from node.feeds.observations import RawObservation, Remark, read_observation
from node.issuers import Issuers
from node.names import UNDATED, blocklisted

_SPREADSHEET_NUMBER = re.compile(r"[+-]?\d+([.,]\d+)?[eE][+-]?\d+|\d+[.,]0+")
_TIME = re.compile(r"\d{4}-\d\d-\d\d(?P<time>[T ]\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d:?\d\d)?)?", re.ASCII)
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
_YES, _NO = frozenset({"1", "true", "y", "yes"}), frozenset({"", "0", "false", "n", "no"})
K = TypeVar("K")
V = TypeVar("V")
_REMEMBERED: Final = 20_000
"""Identities and times that are kept: exports list a patient's rows together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CellProblem:
    """A value that is not used, although its row is."""

    column: str
    rule: str
    code: str = ""
    value: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RowFacts:
    """What one row said."""

    row: int
    """1 = first row below the header."""
    facts: tuple[Fact, ...]
    keys: tuple[str, ...] = ()
    """Keys of its observations, also of those that made no fact."""
    problems: tuple[CellProblem, ...] = ()
    remarks: tuple[str, ...] = ()
    """Why values made no fact, without the values."""


class RowReader:
    """Reads the rows of one file.

    Args:
        layout: how the file is written.
        header: its columns in order, as `Layout.check_header` let them pass.
        codes: the code table.
        issuers: the site's assigning authorities; identifiers are stored in their spelling.
        available_at: when the file could be known (aware).
        import_id: names the file in the provenance of each value.
        repeated: keys that this file has more than once.

    """

    def __init__(
        self,
        layout: Layout,
        header: Sequence[str],
        codes: CodeTable,
        issuers: Issuers,
        *,
        available_at: dt.datetime,
        import_id: int = 0,
        repeated: Collection[int] = (),
    ) -> None:
        self._layout = layout
        self._codes = codes
        self._at = available_at
        self._import_id = import_id
        self._repeated = repeated
        self._ordinals: dict[int, int] = {}
        ours = layout.header()
        present = {ours[name]: i for i, name in enumerate(header) if name in ours}
        self._names = tuple(present)
        self._fields = operator.itemgetter(*present.values())
        self._row_id = present.get("source_row_id")
        self._values = tuple((value, header.index(value.column)) for value in layout.source.values)
        self._issuers = issuers
        self._issuer = issuers.named(layout.source.issuer) if layout.source.issuer else UNSTATED
        self._comma = layout.source.decimal is Decimal.COMMA
        self._identities: dict[tuple[str, ...], PatientIdentity] = {}
        self._times: dict[str, Interval] = {}

    def read(self, record: Sequence[str], row: int) -> RowFacts:
        """The facts of the row whose fields are `record`.

        Raises:
            BadRow: no usable patient, no readable time, an impossible birth date or sex, an id that is there twice.

        """
        cells = self._layout.source.fixed | {
            name: text.strip() for name, text in zip(self._names, self._fields(record), strict=True)
        }
        if self._layout.source.content is Content.PATIENTS:
            return self._patient(cells, row)
        values = [(value, record[i].strip()) for value, i in self._values]
        return self._observations(cells, values, row)

    def row_id(self, record: Sequence[str]) -> str:
        """The source's own id of a row, when it has one."""
        return "" if self._row_id is None else record[self._row_id].strip()

    def own_keys(self, record: Sequence[str]) -> tuple[str, ...]:
        """Keys of all that a row with an id of its own can speak of, whatever is wrong with the row."""
        own = self.row_id(record)
        columns = [value.column for value, _ in self._values] or [""]
        return tuple(own_key(self._layout.name, own, column) for column in columns) if own else ()

    def _patient(self, cells: Mapping[str, str], row: int) -> RowFacts:
        identity = self._identity(cells)
        if _deleted(cells):
            return RowFacts(row=row, facts=(TombstoneFact(patient=identity.identifiers[0]),))
        stated = cells.get("valid_since", "")
        since = self._time(stated, "valid_since").start if stated else self._layout.created or UNDATED
        return RowFacts(row=row, facts=(PersonFact(identity=identity, valid_since=since),))

    def _observations(self, cells: dict[str, str], values: list[tuple[CsvValue, str]], row: int) -> RowFacts:
        identity = self._identity(cells)
        observed = self._time(cells["observed_at"], "observed_at")
        deleted = _deleted(cells)
        facts: list[Fact] = [PersonFact(identity=identity, valid_since=UNDATED)]
        keys: list[str] = []
        problems: list[CellProblem] = []
        remarks: list[str] = []
        for value, text in values or ((None, cells["value"]),):
            if value is not None:
                if not text and not deleted:
                    continue
                cells |= {"code": value.code, "code_system": value.code_system, "unit": value.unit, "value": text}
            key = self._key(cells, "" if value is None else value.column)
            keys.append(key)
            raw = self._raw(cells, identity.identifiers[0], observed, key, row, deleted=deleted)
            fact, rule = self._judged(raw)
            if isinstance(fact, Remark):
                remarks.append(fact)
            elif fact is not None:
                facts.append(fact)
            if rule:
                known = self._codes.find(cells["code"], cells["code_system"]) is not None
                code = cells["code"] if known else ""
                column = "value" if value is None else value.column
                problems.append(CellProblem(column=column, rule=rule, code=code, value=text))
        return RowFacts(row=row, facts=tuple(facts), keys=tuple(keys), problems=tuple(problems), remarks=tuple(remarks))

    def _raw(
        self,
        cells: Mapping[str, str],
        patient: Identifier,
        observed: Interval,
        key: str,
        row: int,
        *,
        deleted: bool,
    ) -> RawObservation:
        return RawObservation(
            patient=patient,
            key=key,
            codes=((cells["code"], cells["code_system"]),),
            value=cells["value"],
            unit=cells["unit"],
            status="D" if deleted else cells["status"],
            observed=observed,
            available_at=self._at,
            source=f"CSV {self._import_id}:{row}",
            decimal_comma=self._comma,
        )

    def _judged(self, raw: RawObservation) -> tuple[Fact | Remark | None, str]:
        """The fact or why there is none, and why it is a problem, if it is one."""
        if self._comma and "." in raw.value:
            return None, Unusable.NUMBER  # the mark of thousands, or another form than declared
        found = read_observation(raw, self._codes)
        if isinstance(found, Remark):
            return found, found if found is Remark.NO_VALUE else ""
        reason = getattr(found, "reason", "")
        return found, reason if reason in _BAD_REASONS else ""

    def _identity(self, cells: Mapping[str, str]) -> PatientIdentity:
        stated = (
            cells["patient_id"],
            cells["issuer"],
            cells["birth_date"],
            cells["sex"],
            cells.get("family_name", ""),
            cells.get("given_name", ""),
        )
        return _remember(self._identities, stated, lambda: self._read_identity(*stated))

    def _read_identity(
        self, value: str, issuer: str, birth_date: str, sex: str, family: str, given: str
    ) -> PatientIdentity:
        if blocklisted(value):
            raise BadRow(RowRule.NO_ID, "patient_id", value)
        if _SPREADSHEET_NUMBER.fullmatch(value):
            raise BadRow(RowRule.SPREADSHEET_NUMBER, "patient_id", value)
        authority = self._issuers.named(issuer) if issuer else self._issuer
        if not authority.stated:
            raise BadRow(RowRule.NO_ISSUER, "issuer")
        born = date(birth_date.replace("-", ""))
        if born is None and birth_date:
            raise BadRow(RowRule.NO_DATE, "birth_date", birth_date)
        try:
            code = Sex(sex.upper() or "U")
        except ValueError as error:
            raise BadRow(RowRule.SEX, "sex", sex) from error
        return PatientIdentity(
            identifiers=(self._issuers.canonical(Identifier(value=value, authority=authority)),),
            name=PersonName(alphabetic=NameGroup(family=family, given=given)),
            birth_date=born,
            sex=code,
        )

    def _time(self, text: str, column: str) -> Interval:
        return _remember(self._times, text, lambda: self._read_time(text, column))

    def _read_time(self, text: str, column: str) -> Interval:
        match = _TIME.fullmatch(text)
        if match is None:
            raise BadRow(RowRule.NO_ISO_TIME, column, text)
        try:
            zone = self._layout.zone
            return local_interval(dt.datetime.fromisoformat(text), whole_day=not match["time"], zone=zone)
        except (ValueError, OverflowError) as error:
            raise BadRow(RowRule.NO_ISO_TIME, column, text) from error

    def _key(self, cells: Mapping[str, str], column: str) -> str:
        """The source's own row id, so that a row corrected to another patient leaves the first; else what it is about.

        Without ids, several values of one code at one time are told apart by their order: as one key 75,000 rows
        collapsed to 36,000 (measured).
        """
        own = cells["source_row_id"]
        if own:
            key = own_key(self._layout.name, own, column)
            if hash(key) in self._repeated:
                raise BadRow(RowRule.DUPLICATE_ROW_ID, "source_row_id")
            return key
        if self._layout.snapshot:
            raise BadRow(RowRule.NO_ROW_ID, "source_row_id")
        natural = [cells[c] for c in ("issuer", "patient_id", "code_system", "code", "observed_at")]
        key = f"{key_prefix(self._layout.name)}#" + hashlib.sha256("\x1f".join(natural).encode()).hexdigest()
        short = hash(key)
        if short not in self._repeated:
            return key
        self._ordinals[short] = ordinal = self._ordinals.get(short, 0) + 1
        return key if ordinal == 1 else f"{key}#{ordinal}"


def _remember(memory: dict[K, V], key: K, make: Callable[[], V]) -> V:
    found = memory.get(key)
    if found is None:
        if len(memory) >= _REMEMBERED:
            memory.clear()
        found = memory[key] = make()
    return found


def _deleted(cells: Mapping[str, str]) -> bool:
    text = cells.get("deleted", "").lower()
    if text not in _YES | _NO:
        raise BadRow(RowRule.DELETED, "deleted", text)
    return text in _YES
