"""Which person an image belongs to: rule R4 (clinical-data.md section 6), and what was known of that person then.

    1. no usable identifier -> NO_ID; a deleted or test person -> BLOCKED
    2. issuer stated in the image: the person with (issuer, ID). None -> UNKNOWN_PATIENT; two or more of birth date,
       family name and given initial contradict -> CONFLICT; else MATCH_ISSUER
    3. no issuer, or only an assumed one: same ID and agreeing demographics. One -> MATCH_DEMOG, several -> AMBIGUOUS
    4. an order under the image's accession number must name the same person, else CONFLICT

A name alone never joins, and an assumed issuer narrows but never proves. Anything but a match joins nothing: the image
is then reported from the image alone. Never a guess.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import structlog

from config.clinical import Clinical
from config.codes import shipped
from model.asof import Question
from model.domain import AssigningAuthority, ClinicalRecord, Identifier, MatchClass, PatientIdentity, Sex
from node.names import agree, blocklisted, conflicts, placeholder, same_issuer
from node.store import clinical
from node.store import clinical_persons as persons
from node.store.engine import Connection

VETO = 2
"""Contradictions that outweigh an identifier. One alone is a typing error or a marriage."""

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchOutcome:
    """The class of rule R4 and, when it joins, the person."""

    match: MatchClass
    person_key: int | None = None
    """Read through merges; None unless `match.joins`."""


def match_patient(c: Connection, identity: PatientIdentity, accession: str, assumed_issuer: str = "") -> MatchOutcome:
    """Apply R4.

    Args:
        c: a reader or a transaction.
        identity: what the image says; its first identifier decides, the others may only contradict.
        accession: Accession Number (0008,0050); may be empty.
        assumed_issuer: namespace or universal ID assumed for the sender of an image that states none.

    """
    if not identity.identifiers or blocklisted(identity.identifiers[0].value) or placeholder(identity.name):
        return MatchOutcome(match=MatchClass.NO_ID)
    principal, *others = identity.identifiers
    if principal.authority.stated:
        outcome = _by_issuer(c, identity, principal)
    else:
        outcome = _by_demographics(c, identity, principal, assumed_issuer)
    person_key = outcome.person_key
    if person_key is None:
        return outcome
    if persons.blocked(c, person_key):
        return MatchOutcome(match=MatchClass.BLOCKED)
    if _contradicted(c, person_key, others, accession):
        _log.warning("match_conflict", person=person_key)
        return MatchOutcome(match=MatchClass.CONFLICT)
    return outcome


def clinical_record(
    c: Connection,
    outcome: MatchOutcome,
    identity: PatientIdentity,
    t0: dt.datetime,
    known_at: dt.datetime,
    settings: Clinical,
) -> ClinicalRecord:
    """What was known at `known_at` about the matched person as of the image's time `t0` (both aware).

    Age (years at t0) and sex are the person's, and the image's where the person's are not known. Without a match the
    record holds the reason and nothing else.
    """
    if not outcome.match.joins or outcome.person_key is None:
        return ClinicalRecord(match=outcome.match)
    root = persons.root(c, outcome.person_key, known_at)
    known = _identity_of(c, root, known_at)
    table = shipped().variables
    lookback = {name: v.lookback_days for name, v in table.items()} | settings.lookback_days
    members = [p for p in persons.group(c, root, known_at) if _combinable(c, p, root, known, known_at)]
    observations = clinical.observations_as_of(c, members, Question(t0=t0, known_at=known_at, lookback_days=lookback))
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


def _by_issuer(c: Connection, identity: PatientIdentity, principal: Identifier) -> MatchOutcome:
    """Step 2. No fall-back to demographics: a stated other issuer is evidence against a match."""
    roots = {persons.root(c, k.person_key) for k in persons.find_issued(c, principal)}
    if len(roots) > 1:
        return MatchOutcome(match=MatchClass.AMBIGUOUS)
    if not roots:
        return MatchOutcome(match=MatchClass.UNKNOWN_PATIENT)
    person_key = roots.pop()
    if conflicts(identity, _identity_of(c, person_key)) >= VETO:
        _log.warning("match_conflict", person=person_key)
        return MatchOutcome(match=MatchClass.CONFLICT)
    return MatchOutcome(match=MatchClass.MATCH_ISSUER, person_key=person_key)


def _by_demographics(
    c: Connection, identity: PatientIdentity, principal: Identifier, assumed_issuer: str
) -> MatchOutcome:
    """Step 3. The assumed issuer narrows the candidates; agreement is demanded all the same."""
    found = persons.find(c, principal.value)
    if assumed_issuer:
        forms = (AssigningAuthority(namespace=assumed_issuer), AssigningAuthority(universal_id=assumed_issuer))
        found = tuple(k for k in found if any(same_issuer(k.identifier.authority, f) for f in forms))
    roots = {persons.root(c, k.person_key) for k in found}
    agreeing = [p for p in roots if agree(identity, _identity_of(c, p))]
    if len(agreeing) > 1:
        return MatchOutcome(match=MatchClass.AMBIGUOUS)
    if not agreeing:
        return MatchOutcome(match=MatchClass.UNKNOWN_PATIENT)
    return MatchOutcome(match=MatchClass.MATCH_DEMOG, person_key=agreeing[0])


def _contradicted(c: Connection, person_key: int, others: list[Identifier], accession: str) -> bool:
    """Whether another stated identifier of the image, or the order of its accession number, names someone else."""
    for other in others:
        if other.authority.stated and not blocklisted(other.value):
            named = {persons.root(c, k.person_key) for k in persons.find_issued(c, other)}
            if named and person_key not in named:
                return True
    ordered = clinical.order_persons(c, accession.strip()) if accession.strip() else frozenset()
    return bool(ordered) and person_key not in ordered


def _identity_of(c: Connection, person_key: int, known_at: dt.datetime | None = None) -> PatientIdentity:
    """Demographics of the person; of one merged into it where its own were never stated."""
    stated = (persons.demographics(c, p, known_at) for p in persons.group(c, person_key, known_at))
    return next((s[0] for s in stated if s is not None), PatientIdentity())


def _combinable(c: Connection, member: int, root: int, known: PatientIdentity, known_at: dt.datetime) -> bool:
    """Whether a merged person's values may serve the survivor: birth dates equal, or one not known."""
    if member == root:
        return True
    stated = persons.demographics(c, member, known_at)
    born = stated[0].birth_date if stated else None
    return born is None or known.birth_date is None or born == known.birth_date
