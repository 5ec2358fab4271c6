"""One row of a dropped file -> facts, by the same rules as an OBX segment (clinical-data.md section 9).

A row that would need a guess is bad: an identifier that a spreadsheet turned into a number, a decimal mark that was not
declared, a date in a local notation. What belongs to the file (columns, decimal mark, zone, issuer) is worked out once;
who, when and what are worked out once for each distinct text, as the rows of an export repeat them.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import re
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias, TypeVar

from config.codes import CodeTable
from config.csv_feed import Content, CsvValue, Decimal
from model.domain import Identifier, NameGroup, PatientIdentity, PersonName, Sex
from node.facts import UNSTATED, Fact, PersonFact, TombstoneFact
from node.feeds.csv_cells import Cell, CellReader
from node.feeds.csv_columns import Columns
from node.feeds.csv_keys import key_prefix, own_key
from node.feeds.csv_layout import Layout
from node.feeds.csv_rules import BadRow, RowRule
from node.feeds.hl7_time import Interval, date, local_interval
from node.issuers import Issuers
from node.names import UNDATED, blocklisted

_SPREADSHEET_NUMBER = re.compile(r"[+-]?\d+([.,]\d+)?[eE][+-]?\d+|\d+[.,]0+")
_TIME = re.compile(r"\d{4}-\d\d-\d\d(?P<time>[T ]\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d:?\d\d)?)?", re.ASCII)
_YES, _NO = frozenset({"1", "true", "y", "yes"}), frozenset({"", "0", "false", "n", "no"})
_WHO = ("patient_id", "issuer", "birth_date", "sex", "family_name", "given_name")
_WHAT = ("code", "code_system", "value", "unit", "status", "deleted")
K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
_What: TypeAlias = tuple[Hashable, dt.timedelta, str, CsvValue | None]
"""Fields that say what is stated, the length of its time, and in the wide form a cell and what its column means."""
_REMEMBERED: Final = 4_096
"""Identities and times that are kept: exports list a patient's rows together."""
_REMEMBERED_VALUES: Final = 16_384
"""Values that are kept: all patients of an export share them, and a value costs 0.5 kB (measured)."""


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
    own: bool = False
    """Whether the keys hold the source's own row id."""
    problems: tuple[CellProblem, ...] = ()
    remarks: tuple[str, ...] = ()
    """Why values made no fact, without the values."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Who:
    """The person of a row, and how the row names it."""

    identifier: Identifier
    statement: PersonFact
    named: str
    """Issuer and identifier as stated."""


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
        self._import_id = import_id
        self._available_at = available_at
        self._repeated = repeated
        self._ordinals: dict[int, int] = {}
        ours = layout.header()
        present = {ours[name]: i for i, name in enumerate(header) if name in ours}
        self._all = Columns(tuple(present), present, layout.source.fixed)
        self._who_columns = Columns(_WHO, present, layout.source.fixed)
        self._what_columns = Columns(_WHAT, present, layout.source.fixed)
        self._when_columns = Columns(("observed_at",), present, layout.source.fixed)
        self._row_id = present.get("source_row_id")
        self._fixed_id = layout.source.fixed.get("source_row_id", "")
        self._values = tuple((value, header.index(value.column)) for value in layout.source.values)
        self._issuers = issuers
        self._issuer = issuers.named(layout.source.issuer) if layout.source.issuer else UNSTATED
        comma = layout.source.decimal is Decimal.COMMA
        self._cells = CellReader(codes, available_at=available_at, decimal_comma=comma)
        self._people: dict[Hashable, _Who] = {}
        self._times: dict[str, Interval] = {}
        self._moments: dict[Hashable, tuple[str, Interval, dt.timedelta]] = {}
        self._whats: dict[_What, Cell] = {}

    def read(self, record: Sequence[str], row: int) -> RowFacts:
        """The facts of the row whose fields are `record`.

        Raises:
            BadRow: no usable patient, no readable time, an impossible birth date or sex, an id that is there twice.

        """
        if self._layout.source.content is Content.PATIENTS:
            return self._patient(self._all.cells(self._all.pick(record)), row)
        return self._observations(record, row, told=True)

    def look(self, record: Sequence[str], row: int) -> RowFacts:
        """As `read`, without the facts: what a file is judged by."""
        if self._layout.source.content is Content.PATIENTS:
            return self.read(record, row)
        return self._observations(record, row, told=False)

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
        # A date in the future must not hold against all that is said until then: the file's arrival is the latest.
        return RowFacts(row=row, facts=(PersonFact(identity=identity, valid_since=min(since, self._available_at)),))

    def _observations(self, record: Sequence[str], row: int, *, told: bool) -> RowFacts:
        who = _remember(self._people, self._who_columns.pick(record), self._read_who)
        moment = _remember(self._moments, self._when_columns.pick(record), self._read_when)
        facts: list[Fact] = [who.statement]
        keys: list[str] = []
        problems: list[CellProblem] = []
        remarks: list[str] = []
        own = self._fixed_id if self._row_id is None else record[self._row_id].strip()
        for column, cell in self._stated(record, moment[2]):
            key = self._key(own, column, who, cell, moment[0])
            keys.append(key)
            if cell.remark:
                remarks.append(cell.remark)
            elif told and cell.template is not None:
                facts.append(cell.fact(who.identifier, key, moment[1], f"CSV {self._import_id}:{row}"))
            if cell.rule:
                problems.append(CellProblem(column=column or "value", rule=cell.rule, code=cell.code, value=cell.value))
        return RowFacts(
            row=row,
            facts=tuple(facts) if told else (),
            keys=tuple(keys),
            own=bool(own),
            problems=tuple(problems),
            remarks=tuple(remarks),
        )

    def _stated(self, record: Sequence[str], span: dt.timedelta) -> Sequence[tuple[str, Cell]]:
        """What the row states in each of its value columns, by column; "" is the one column of the long form."""
        what = self._what_columns.pick(record)
        if not self._values:
            return (("", _remember(self._whats, (what, span, "", None), self._read_what, _REMEMBERED_VALUES)),)
        found = []
        for value, at in self._values:
            cell = _remember(self._whats, (what, span, record[at], value), self._read_what, _REMEMBERED_VALUES)
            if not cell.empty:
                found.append((value.column, cell))
        return found

    def _read_who(self, picked: Hashable) -> _Who:
        cells = self._who_columns.cells(picked)
        identity = self._identity(cells)
        return _Who(
            identifier=identity.identifiers[0],
            statement=PersonFact(identity=identity, valid_since=UNDATED),
            named=f"{cells['issuer']}\x1f{cells['patient_id']}",
        )

    def _read_when(self, picked: Hashable) -> tuple[str, Interval, dt.timedelta]:
        """(as stated, the interval, its length)."""
        text = self._when_columns.cells(picked)["observed_at"]
        observed = self._time(text, "observed_at")
        return text, observed, observed.end - observed.start

    def _read_what(self, asked: _What) -> Cell:
        what, span, text, value = asked
        cells = self._what_columns.cells(what)
        deleted = _deleted(cells)
        if value is not None:
            stated = {"code": value.code, "code_system": value.code_system, "unit": value.unit}
            cells |= stated | {"value": text.strip()}
        return self._cells.read(cells, span, deleted=deleted)

    def _identity(self, cells: Mapping[str, str]) -> PatientIdentity:
        value, issuer, birth_date, sex = (cells[name] for name in ("patient_id", "issuer", "birth_date", "sex"))
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
        named = NameGroup(family=cells.get("family_name", ""), given=cells.get("given_name", ""))
        return PatientIdentity(
            identifiers=(self._issuers.canonical(Identifier(value=value, authority=authority)),),
            name=PersonName(alphabetic=named),
            birth_date=born,
            sex=code,
        )

    def _time(self, text: str, column: str) -> Interval:
        match = _TIME.fullmatch(text)
        if match is None:
            raise BadRow(RowRule.NO_ISO_TIME, column, text)
        try:
            zone = self._layout.zone
            return local_interval(dt.datetime.fromisoformat(text), whole_day=not match["time"], zone=zone)
        except (ValueError, OverflowError) as error:
            raise BadRow(RowRule.NO_ISO_TIME, column, text) from error

    def _key(self, own: str, column: str, who: _Who, cell: Cell, observed_at: str) -> str:
        """The source's own row id, so that a row corrected to another patient leaves the first; else what it is about.

        Without ids, several values of one code at one time are told apart by their order: as one key 75,000 rows
        collapsed to 36,000 (measured).
        """
        if own:
            key = own_key(self._layout.name, own, column)
            if self._repeated and hash(key) in self._repeated:
                raise BadRow(RowRule.DUPLICATE_ROW_ID, "source_row_id")
            return key
        if self._layout.snapshot:
            raise BadRow(RowRule.NO_ROW_ID, "source_row_id")
        natural = f"{who.named}\x1f{cell.named}\x1f{observed_at}"
        key = f"{key_prefix(self._layout.name)}#" + hashlib.sha256(natural.encode()).hexdigest()
        short = hash(key)
        if short not in self._repeated:
            return key
        self._ordinals[short] = ordinal = self._ordinals.get(short, 0) + 1
        return key if ordinal == 1 else f"{key}#{ordinal}"


def _remember(memory: dict[K, V], key: K, make: Callable[[K], V], most: int = _REMEMBERED) -> V:
    found = memory.get(key)
    if found is None:
        if len(memory) >= most:
            memory.clear()
        found = memory[key] = make(key)
    return found


def _deleted(cells: Mapping[str, str]) -> bool:
    text = cells.get("deleted", "").lower()
    if text not in _YES | _NO:
        raise BadRow(RowRule.DELETED, "deleted", text)
    return text in _YES
