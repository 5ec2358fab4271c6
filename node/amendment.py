"""Whether a report still says what it would say now, and if not, what follows (clinical-data.md section 12).

Pure rules: "what was used" against "what would be used now". Only evidence is compared, never a probability: a new
model or threshold never issues an old result again. Late data are those that add to a report; anything that takes from
what a report rests on is a correction, and that is a person's matter unless the site decided otherwise.
"""

from __future__ import annotations

import datetime as dt
import enum
import hashlib
from dataclasses import dataclass

from model.domain import ClinicalInput, ClinicalRecord, Mode, NotAssessed, Scored, ScreeningResult

_DERIVED = ("age", "sex")
"""Inputs that are statements about the person, not observations: a change of one is a correction."""


class Finding(enum.Enum):
    """What comparing found."""

    SAME = "same"
    """The report says what it would say now, or nothing new could be used."""
    LATE = "late"
    """More is known than was, and would be used."""
    CHANGED = "changed"
    """What the report rests on is no longer so."""


class ReviewCode(enum.StrEnum):
    """Why a person must look at a report."""

    CORRECTED = "CORRECTED"
    """A value it rests on was corrected or taken back."""
    PERSON_CHANGED = "PERSON-CHANGED"
    """The patient it was joined with was merged, separated, deleted, or no longer fits."""
    NOT_ASSESSABLE = "NOT-ASSESSABLE"
    """With what is known now the image would not be assessed at all."""
    AMENDMENT_FAILED = "AMENDMENT-FAILED"
    """It should be amended and could not be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    """What the newest version of a report rests on."""

    result: Scored
    persons: tuple[int, ...]
    """Empty when it was joined with nobody, or made by a release that did not record it."""
    standing: bool
    """None of its observations was corrected or taken back since."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Available:
    """What would be used now."""

    result: ScreeningResult
    persons: tuple[int, ...]

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of what would be used, so that the same is flagged, logged or acted on once."""
        known = self.result.reasons if isinstance(self.result, NotAssessed) else _evidence(self.result)
        return hashlib.sha256(repr((known, sorted(self.persons))).encode()).hexdigest()


def used_observations(record: ClinicalRecord, result: Scored) -> tuple[int, ...]:
    """Numbers of the observation versions that the result shows as inputs."""
    shown = {item.variable for item in result.inputs if item.value is not None}
    return tuple(o.observation_id for o in record.observations if o.variable in shown)


def compare(used: Used, now: Available) -> Finding:
    """Compare what was used with what would be used."""
    if isinstance(now.result, NotAssessed):
        return Finding.CHANGED
    if used.result.mode is Mode.IMAGE_ONLY:
        return Finding.LATE if now.result.mode is Mode.IMAGE_AND_CLINICAL else Finding.SAME
    if not now.result.match.joins or (used.persons and set(used.persons) != set(now.persons)):
        return Finding.CHANGED
    if _evidence(used.result) == _evidence(now.result):
        return Finding.SAME
    lost = not used.standing or now.result.mode is Mode.IMAGE_ONLY
    return Finding.CHANGED if lost or _derived(used.result) != _derived(now.result) else Finding.LATE


def review_code(used: Used, now: Available) -> ReviewCode:
    """Why a person must look; for `Finding.CHANGED`."""
    if isinstance(now.result, NotAssessed):
        return ReviewCode.NOT_ASSESSABLE
    same_person = now.result.match.joins and (not used.persons or set(used.persons) == set(now.persons))
    return ReviewCode.CORRECTED if same_person else ReviewCode.PERSON_CHANGED


def would_differ(used: Used, now: Scored) -> bool:
    """Whether a report made now would rest on other evidence."""
    return _evidence(used.result) != _evidence(now)


def within(first_made_at: dt.datetime, arrived_at: dt.datetime, window: float) -> bool:
    """Whether data that arrived then may still amend the report by themselves; `window` in seconds."""
    return (arrived_at - first_made_at).total_seconds() <= window


def difference(used: Scored, now: Scored) -> str:
    """What differs, in codes and names of variables; no value of the patient."""
    parts = [
        f"{name} {before} -> {after}"
        for name, before, after in (
            ("match", used.match, now.match),
            ("mode", used.mode, now.mode),
            ("category", used.category, now.category),
        )
        if before is not after
    ]
    before, after = ({i.variable: _content(i) for i in r.inputs if i.value is not None} for r in (used, now))
    for variable in sorted(before.keys() | after.keys()):
        if before.get(variable) != after.get(variable):
            word = "new" if variable not in before else "gone" if variable not in after else "changed"
            parts.append(f"{variable} {word}")
    return "; ".join(parts)


def _evidence(result: Scored) -> tuple[object, ...]:
    """What a result rests on. The source is left out: the same value sent again is no other value."""
    inputs = sorted(_content(item) for item in result.inputs if item.value is not None)
    return (str(result.mode), *inputs)


def _derived(result: Scored) -> tuple[object, ...]:
    return tuple(_content(item) for item in result.inputs if item.variable in _DERIVED)


def _content(item: ClinicalInput) -> tuple[str, ...]:
    observed = "" if item.observed_at is None else item.observed_at.astimezone(dt.UTC).isoformat()
    return (item.variable, repr(item.value), item.unit, observed)
