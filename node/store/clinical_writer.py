"""Facts of the feeds -> rows, within one transaction, many messages at a time.

A fact that cannot be taken without a guess is refused by a code and the rest of its message is taken, unless the
refused one was the statement about the person: then whoever is meant is not known, and nothing that hangs on it counts.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable

import sqlalchemy as sa

from model.domain import Identifier
from node.facts import (
    CancelFact,
    Change,
    DxaFact,
    ExposureFact,
    Fact,
    MergeFact,
    ObservationFact,
    OrderFact,
    PersonFact,
    StatusFact,
    TombstoneFact,
    Unusable,
    identifiers,
    key_start,
    replaces,
)
from node.store import clinical_persons as persons
from node.store import clinical_rows as rows
from node.store.alerts import AlertKind, raise_alert
from node.store.clinical_doubts import SIZES, as_stated, rejudge
from node.store.clinical_lock import write_alone
from node.store.clinical_meant import Meant, meant
from node.store.clinical_merges import merge
from node.store.clinical_message import OUTDATED, Applied, Message
from node.store.clinical_orders import link_order
from node.store.clinical_people import People
from node.store.clinical_persons import Known
from node.store.clinical_refusal import MERGE_REFUSALS, Refused
from node.store.clinical_schema import dxa_result, exposure, observation, person_identifier
from node.store.clinical_values import Versions

PRIOR_ID = "PRIOR_ID"
"""Warning: the message names an identifier that was merged away; it was taken and is read as the survivor's."""


class Writer:
    """Takes facts within one write transaction, the only one that does. Call `flush` at its end.

    Make it before the transaction looks at what stands: from then on no other one changes it.
    """

    def __init__(self, c: sa.Connection, *, trusted: tuple[str, ...] = ()) -> None:
        """`trusted`: assigning authorities (namespace or universal ID) that may be inserted; empty means all."""
        write_alone(c)
        self._c = c
        self.people = People(c, trusted)
        self._observations = Versions(c, observation, rows.OBSERVATION, rows.OBSERVATION_EXTRA, as_stated=as_stated)
        self._dxa = Versions(c, dxa_result, rows.DXA, rows.DXA_EXTRA)
        self._exposures = Versions(c, exposure, rows.EXPOSURE, rows.EXPOSURE_EXTRA, usable="cancelled")
        self._resized: dict[int, dt.datetime] = {}

    def prepare(self, facts: Iterable[Fact]) -> None:
        """Look up together what these facts will need."""
        facts = tuple(facts)
        keys: dict[type[Fact], set[str]] = {ObservationFact: set(), DxaFact: set(), ExposureFact: set()}
        named: dict[
            int, Identifier
        ] = {}  # by identity: the values of a message or file name their patient by one object
        for fact in facts:
            if isinstance(fact, ObservationFact | DxaFact | ExposureFact):
                keys[type(fact)].add(fact.key)
                named[id(fact.patient)] = fact.patient
            else:
                named.update({id(i): i for i in identifiers(fact)})
        self.people.prepare(named.values())
        self._observations.prepare(keys[ObservationFact])
        self._dxa.prepare(keys[DxaFact])
        self._exposures.prepare(keys[ExposureFact])

    def apply(self, facts: Iterable[Fact], recorded_at: dt.datetime, *, seq: int | None = None) -> Applied:
        """Take the facts of one message as known since `recorded_at` (aware).

        Args:
            facts: in the order of the message.
            recorded_at: when the node learned of them.
            seq: number of the inbox frame, if they came with one.

        """
        message = Message(at=recorded_at, seq=seq)
        facts = tuple(facts)
        self.prepare(facts)
        message.spoken_of.update(f.key for f in facts if isinstance(f, ObservationFact | DxaFact))
        for fact in facts:
            try:
                if not message.doubtful or message.doubtful.isdisjoint(identifiers(fact)):
                    self._apply(fact, message)
            except Refused as why:
                self._refuse(fact, str(why), message)
        return message.applied()

    def known(self, patient: Identifier) -> Known | None:
        """The stored identifier where this very form stands and its person was not merged away, else None.

        Only then may `take_value` write for it: nothing is inserted and nothing is to be warned of.
        """
        exact = [k for k in self.people.find_issued(patient) if k.identifier.authority == patient.authority]
        plain = len(exact) == 1 and len({k.person_key for k in self.people.find_issued(patient)}) == 1
        return exact[0] if plain and self.people.root(exact[0].person_key) == exact[0].person_key else None

    def take_value(self, fact: ObservationFact, patient: Known, message: Message) -> None:
        """Take a value that replaces none by its status, of a patient that `known` gave: `apply` without questions.

        Of a file's rows nearly all are such; the tables end as by `apply`, which a test compares.
        """
        content, extra = rows.observation_row(fact, patient.row, message.seq)
        written, old = self._observations.put(fact.key, patient.person_key, content, extra, message.at)
        if not written:
            return
        message.written += 1
        message.tell(self._c, old, patient.person_key, usable=fact.usable, reason=fact.reason)
        if fact.variable in SIZES:
            self._resized.update({v.person_key: message.at for v in (patient, old) if v is not None})

    def settle(self) -> tuple[Change, ...]:
        """Hold the body sizes of the message just taken against the others of its patient; what that changed.

        After every message that brought one: which values stood when must not depend on how messages were batched.
        """
        if not self._resized:
            return ()
        self._write()
        resized, self._resized = self._resized, {}
        return rejudge(self._c, resized, max(resized.values()))

    def flush(self) -> tuple[Change, ...]:
        """Write the values that were collected, and `settle`."""
        changes = self.settle()
        self._write()
        return changes

    def _write(self) -> None:
        for versions in (self._observations, self._dxa, self._exposures):
            versions.flush()

    def _apply(self, fact: Fact, message: Message) -> None:
        match fact:
            case PersonFact():
                self._person(fact, message)
            case MergeFact():
                self._merge(fact, message)
            case TombstoneFact():
                message.count(self.people.delete(fact.patient, message.at))
            case OrderFact():
                patient = self._patient(fact.patient, message)
                message.count(link_order(self._c, fact, patient, message.at, seq=message.seq))
            case CancelFact():
                self._cancel(fact, message)
            case StatusFact():
                self._final(fact, message)
            case _:
                self._value(fact, message)

    def _merge(self, fact: MergeFact, message: Message) -> None:
        message.patient = None
        merged = merge(self._c, self.people, fact, message.at, seq=message.seq)
        message.count((merged.written, merged.changes))
        self._resized.update({change.person_key: message.at for change in merged.changes})
        if merged.remark:
            message.warnings[merged.remark] = None

    def _person(self, fact: PersonFact, message: Message) -> None:
        message.count(self.people.upsert(fact, message.at))
        usable = [i for i in fact.identity.identifiers if self.people.trusts(i)]
        message.stand_ins.update({i: usable[0] for i in fact.identity.identifiers if i not in usable})

    def _patient(self, identifier: Identifier, message: Message) -> Known:
        if message.patient is not None and message.patient[0] is identifier:
            return message.patient[1]
        known = self.people.known(message.stand_ins.get(identifier, identifier), message.at)
        if self.people.root(known.person_key) != known.person_key:
            message.warnings[PRIOR_ID] = None
        message.patient = identifier, known
        return known

    def _value(self, fact: ObservationFact | DxaFact | ExposureFact, message: Message) -> None:
        patient = self._patient(fact.patient, message)
        key = fact.key
        if replaces(fact):
            found = self._replaced(fact, patient) or self._meant(fact, patient, message)
            if found is None:
                return
            key, patient = found
        elif isinstance(fact, ObservationFact) and self._observations.outdates(key, patient.person_key, fact.sent_at):
            message.remarks.append(OUTDATED)
            return
        versions, content, extra = self._row(fact, patient.row, message.seq)
        written, old = versions.put(key, patient.person_key, content, extra, message.at, weak_time=fact.weak_time)
        message.written += written
        if written and isinstance(fact, ObservationFact):
            message.tell(self._c, old, patient.person_key, usable=fact.usable, reason=fact.reason)
            if fact.variable in SIZES:
                self._resized.update({v.person_key: message.at for v in (patient, old) if v is not None})

    def _replaced(self, fact: ObservationFact | DxaFact | ExposureFact, patient: Known) -> tuple[str, Known] | None:
        """Key and identifier of what stands in the place of a value that replaces another; None when nothing does.

        It may have come under another identifier of the person, before a merge for one. Left standing there, it would
        be used although it was taken back.
        """
        versions, start = self._versions(fact), key_start(fact.patient)
        if versions.stands(fact.key, patient.person_key):
            return fact.key, patient
        for known in self.people.kin(patient.person_key) if fact.key.startswith(start) else ():
            key = key_start(known.identifier) + fact.key.removeprefix(start)
            if versions.stands(key, known.person_key):
                return key, known
        return None

    def _meant(
        self, fact: ObservationFact | DxaFact | ExposureFact, patient: Known, message: Message
    ) -> tuple[str, Known] | None:
        """As `_replaced`, of a value sent with another time; else its own place, or None if nothing is to be kept."""
        found = Meant()
        if not isinstance(fact, ExposureFact) and fact.named:
            kin = self.people.kin(patient.person_key)
            found = meant(self._versions(fact), fact, kin, spoken_of=message.spoken_of)
        if found.patient is not None:
            message.spoken_of.add(found.key)
            return found.key, found.patient
        return None if message.misses(self._c, fact, unclear=found.unclear) else (fact.key, patient)

    def _versions(self, fact: ObservationFact | DxaFact | ExposureFact) -> Versions:
        if isinstance(fact, ObservationFact):
            return self._observations
        return self._dxa if isinstance(fact, DxaFact) else self._exposures

    def _row(
        self, fact: ObservationFact | DxaFact | ExposureFact, identifier: int, seq: int | None
    ) -> tuple[Versions, rows.Columns, rows.Columns]:
        """Where a value goes, what makes two versions of it differ, and what goes along."""
        versions = self._versions(fact)
        if isinstance(fact, ObservationFact):
            return versions, *rows.observation_row(fact, identifier, seq)
        if isinstance(fact, DxaFact):
            return versions, *rows.dxa_row(fact, identifier, seq)
        return versions, *rows.exposure_row(fact, identifier, seq)

    def _cancel(self, fact: CancelFact, message: Message) -> None:
        """Void the values that the ADT messages of a cancelled visit carried."""
        person_key = self._patient(fact.patient, message).person_key
        t = observation.c
        theirs = t.identifier_id.in_(self._theirs(person_key))
        carried = self._observations.open_where(sa.and_(t.visit == fact.visit, theirs))
        self._observations.prepare({row["key"] for row in carried})
        void = {"value": None, "usable": False, "reason": "VOID", "seq": message.seq}
        for row in carried:
            written, old = self._observations.put_again(row, void, message.at)
            message.written += written
            message.tell(self._c, old, person_key, usable=False, reason="VOID")
            if row["variable"] in SIZES:
                self._resized[person_key] = message.at

    def _final(self, fact: StatusFact, message: Message) -> None:
        """OBX-11 U: a value that was kept as preliminary counts from now on."""
        patient = self._patient(fact.patient, message)
        final = {"usable": True, "reason": "", "status": "F", "available_at": fact.available_at, "seq": message.seq}
        theirs = self._theirs(patient.person_key)
        for versions in (self._observations, self._dxa):
            t = versions.table.c
            held = sa.and_(t.key == fact.key, t.reason == Unusable.STATUS, t.identifier_id.in_(theirs))
            for row in versions.open_where(held):
                written, old = versions.put_again(row, final, message.at)
                message.written += written
                if versions is self._observations:
                    message.tell(self._c, old, patient.person_key, usable=True, reason="")
                    if row["variable"] in SIZES:
                        self._resized[patient.person_key] = message.at

    def _theirs(self, person_key: int) -> sa.Select[tuple[int]]:
        """Rows of the identifiers of the person and of those merged with it."""
        members = persons.groups(self._c, (self.people.root(person_key),))
        return sa.select(person_identifier.c.id).where(person_identifier.c.person_id.in_(members))

    def _refuse(self, fact: Fact, code: str, message: Message) -> None:
        message.refused.append(code)
        if isinstance(fact, PersonFact):
            message.doubtful.update(fact.identity.identifiers)
        if code in MERGE_REFUSALS:
            subject = "merge" if message.seq is None else f"frame {message.seq}"
            raise_alert(self._c, AlertKind.MERGE_REFUSED, subject, code)
