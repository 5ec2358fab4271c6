"""Which person an image belongs to: rule R4 (clinical-data.md section 6), and what was known of that person then.

    1. no usable identifier -> NO_ID; a deleted or test person -> BLOCKED; an identifier given before the patient was
       identified (a trauma number) -> UNKNOWN_PATIENT until a merge says who it is
    2. issuer stated in the image: the person with (issuer, ID). None -> UNKNOWN_PATIENT; two or more of birth date,
       family name and given initial contradict -> CONFLICT; else MATCH_ISSUER
    3. no issuer, or only an assumed one: same ID and agreeing demographics. One -> MATCH_DEMOG, several -> AMBIGUOUS
    4. an order under the image's accession number or Study Instance UID, and every other identifier of the image, must
       name the same person, else CONFLICT

A name alone never joins, and an assumed issuer narrows but never proves. Anything but a match joins nothing: the image
is then reported from the image alone. Never a guess. Each image is judged by its own header: what another image of its
study said is no evidence.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import structlog

from config.clinical import Clinical
from model.asof import Question
from model.domain import ClinicalRecord, Identifier, MatchClass, PatientIdentity, PersonName, Sex
from node.issuers import Issuers
from node.names import VETO, agree, blocklisted, contradictions, placeholder, same_issuer
from node.store import clinical_persons as persons
from node.store.clinical_asof import observations_as_of
from node.store.clinical_bearers import of_others
from node.store.clinical_orders import order_persons, study_persons
from node.store.engine import Connection

ORDER = "ORDER"
"""Contradiction: the order names somebody else."""
OTHER_ID = "OTHER_ID"
"""Contradiction: another identifier of the image names somebody else."""

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchOutcome:
    """The class of rule R4 and, when it joins, the person."""

    match: MatchClass
    person_key: int | None = None
    """Read through merges; None unless `match.joins`."""
    group: tuple[int, ...] = ()
    """All persons that are read as this one, itself first; empty without one."""
    conflict: tuple[str, ...] = ()
    """What contradicts: `BIRTH_DATE`, `FAMILY_NAME`, `GIVEN_INITIAL`, `ORDER`, `OTHER_ID`. A CONFLICT has at least one
    and is for a person to look at (`AlertKind.MATCH_CONFLICT`)."""
    conflict_with: int | None = None
    """The person whom identifier and image do not agree about."""

    @property
    def alert(self) -> str:
        """Detail of the operator alert, codes and numbers only; empty when there is none to raise."""
        return f"{','.join(self.conflict)} person {self.conflict_with}" if self.conflict else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """What an image says about whose it is."""

    identity: PatientIdentity
    """The first identifier decides, the others may only contradict."""
    accession: str = ""
    """Accession Number (0008,0050)."""
    study_uid: str = ""
    assumed_issuer: str = ""
    """Namespace or universal ID assumed for the sender of an image that states none."""


def match_patient(c: Connection, image: Image, settings: Clinical) -> MatchOutcome:
    """Apply R4. `c` is a reader or a transaction."""
    issuers = Issuers(listed=settings.issuers)
    identity = issuers.identity(image.identity)
    principal = identity.identifiers[0] if identity.identifiers else None
    if principal is None or blocklisted(principal.value):
        return MatchOutcome(match=MatchClass.NO_ID)
    temporary = _matches(settings.temporary_ids, principal.value)
    if placeholder(identity.name) and not temporary:
        return MatchOutcome(match=MatchClass.NO_ID)
    if _matches(settings.test_ids, principal.value) or _is_test(settings, identity.name):
        return MatchOutcome(match=MatchClass.BLOCKED)
    found = _candidates(c, principal, issuers, image.assumed_issuer)
    roots = persons.roots(c, {known.person_key for known in found})
    if temporary:
        roots = {key: root for key, root in roots.items() if key != root}
    outcome = _among(c, frozenset(roots.values()), identity, settings, proven=principal.authority.stated)
    if outcome.person_key is None:
        return outcome
    return _vetoed(c, outcome, identity.identifiers[1:], image)


def clinical_record(
    c: Connection,
    outcome: MatchOutcome,
    identity: PatientIdentity,
    t0: dt.datetime,
    known_at: dt.datetime,
    lookback_days: Mapping[str, float],
) -> ClinicalRecord:
    """What was known at `known_at` about the matched person as of the image's time `t0` (both aware).

    `lookback_days` names the variables that are asked for (`model.asof.lookbacks`). Age (years at t0) and sex are the
    person's, and the image's where the person's are not known. What came while the number meant somebody else is left
    out. Without a match the record holds the reason and nothing else.
    """
    if not outcome.match.joins or outcome.person_key is None:
        return ClinicalRecord(match=outcome.match)
    root = persons.root(c, outcome.person_key, known_at)
    group = persons.group(c, root, known_at)
    known = _identity_of(c, group, known_at)
    members = [p for p in group if _combinable(c, p, root, known, known_at)]
    question = Question(t0=t0, known_at=known_at, lookback_days=lookback_days)
    observations = observations_as_of(c, members, question, without=of_others(c, members, known_at))
    born = known.birth_date or identity.birth_date
    return ClinicalRecord(
        match=outcome.match,
        age_years=None if born is None else age_years(born, t0.date()),
        sex=identity.sex if known.sex is Sex.UNKNOWN else known.sex,
        observations=observations,
    )


def age_years(born: dt.date, on: dt.date) -> float | None:
    """Completed years plus the fraction of the current one, exact on birthdays; None for a date before birth."""
    if on < born:
        return None
    years = on.year - born.year - (_birthday(born, on.year) > on)
    last, following = _birthday(born, born.year + years), _birthday(born, born.year + years + 1)
    return years + (on - last).days / (following - last).days


def _birthday(born: dt.date, year: int) -> dt.date:
    """The birthday in `year`; 1 March for 29 February in a common year."""
    try:
        return born.replace(year=year)
    except ValueError:
        return dt.date(year, 3, 1)


def _candidates(c: Connection, principal: Identifier, issuers: Issuers, assumed: str) -> tuple[persons.Known, ...]:
    """Stored identifiers that may be this one: of the issuer that is stated, of the assumed one, or of any."""
    if principal.authority.stated:
        return persons.find_issued(c, principal)
    found = [
        known
        for known in persons.find_all(c, tuple(issuers.forms(principal.value)))
        if issuers.canonical(Identifier(value=principal.value, authority=known.identifier.authority)).value
        == known.identifier.value
    ]
    if assumed:
        authority = issuers.named(assumed)
        found = [known for known in found if same_issuer(known.identifier.authority, authority)]
    return tuple(found)


def _among(
    c: Connection, roots: frozenset[int], identity: PatientIdentity, settings: Clinical, *, proven: bool
) -> MatchOutcome:
    """Steps 2 and 3. A stated issuer is never given up for demographics: another one is evidence against a match."""
    groups = {root: persons.group(c, root) for root in roots}
    known = {root: _identity_of(c, group) for root, group in groups.items()}
    if not proven:
        known = {root: who for root, who in known.items() if agree(identity, who)}
    if not known:
        return MatchOutcome(match=MatchClass.UNKNOWN_PATIENT)
    if len(known) > 1:
        return MatchOutcome(match=MatchClass.AMBIGUOUS)
    [(person_key, who)] = known.items()
    if persons.blocked(c, person_key) or _is_test(settings, who.name):
        return MatchOutcome(match=MatchClass.BLOCKED)
    if not proven:
        return MatchOutcome(match=MatchClass.MATCH_DEMOG, person_key=person_key, group=groups[person_key])
    found = contradictions(identity, who)
    if len(found) >= VETO:
        return _conflict(person_key, found)
    return MatchOutcome(match=MatchClass.MATCH_ISSUER, person_key=person_key, group=groups[person_key])


def _vetoed(c: Connection, outcome: MatchOutcome, others: Iterable[Identifier], image: Image) -> MatchOutcome:
    """Step 4: CONFLICT when another statement of the image names somebody else."""
    person_key = outcome.person_key
    assert person_key is not None  # noqa: S101 - the caller has a match
    for other in others:
        if other.authority.stated and not blocklisted(other.value):
            named = persons.roots(c, {k.person_key for k in persons.find_issued(c, other)}).values()
            if named and person_key not in named:
                return _conflict(person_key, (OTHER_ID,))
    orders = order_persons(c, image.accession.strip()), study_persons(c, image.study_uid)
    if any(ordered and person_key not in ordered for ordered in orders):
        return _conflict(person_key, (ORDER,))
    return outcome


def _conflict(person_key: int, found: Iterable[str]) -> MatchOutcome:
    codes = tuple(str(code) for code in found)
    _log.warning("match_conflict", person=person_key, contradicts=codes)
    return MatchOutcome(match=MatchClass.CONFLICT, conflict=codes, conflict_with=person_key)


def _matches(patterns: Iterable[str], value: str) -> bool:
    return any(re.fullmatch(pattern, value, re.IGNORECASE) for pattern in patterns)


def _is_test(settings: Clinical, name: PersonName) -> bool:
    return _matches(settings.test_names, f"{name.alphabetic.family.strip()}^{name.alphabetic.given.strip()}")


def _identity_of(c: Connection, group: Iterable[int], known_at: dt.datetime | None = None) -> PatientIdentity:
    """Demographics of the first person of a group; of one merged into it where its own were never stated."""
    stated = (persons.demographics(c, p, known_at) for p in group)
    return next((s[0] for s in stated if s is not None), PatientIdentity())


def _combinable(c: Connection, member: int, root: int, known: PatientIdentity, known_at: dt.datetime) -> bool:
    """Whether a merged person's values may serve the survivor: birth dates equal, or one not known."""
    if member == root:
        return True
    stated = persons.demographics(c, member, known_at)
    born = stated[0].birth_date if stated else None
    return born is None or known.birth_date is None or born == known.birth_date
