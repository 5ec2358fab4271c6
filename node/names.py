"""Whether two person identities can be the same person, and which identifiers are none at all.

Pure rules of clinical-data.md section 6. A name that cannot be compared is *unknown*: it neither agrees nor conflicts.
Reducing names to A-Z alone would turn every ideographic name into the empty string, and two empty strings "agree".
Component groups meet only their like (PS3.5 6.2.1.1): one group that contradicts is a contradiction, whatever the
others say.
"""

from __future__ import annotations

import datetime as dt
import enum
import re
import unicodedata

from model.domain import AssigningAuthority, NameGroup, PatientIdentity, PersonName, Sex

_SHORT = {
    "Ø": "O",
    "Œ": "O",
    "Æ": "A",
    "Å": "A",
    "ẞ": "SS",
    "ß": "SS",
    "Ł": "L",
    "Đ": "D",
    "Ð": "D",
    "Þ": "TH",
    "Ħ": "H",
    "Ŧ": "T",
}
_LONG = _SHORT | {"Ä": "AE", "Ö": "OE", "Ü": "UE", "Ø": "OE", "Œ": "OE", "Æ": "AE", "Å": "AA"}
_NO_ID = re.compile(r"0*|(\d)\1{2,}|UNKNOWN.*|ANON.*|NONE|NULL|NA", re.IGNORECASE)
_PUNCTUATION = re.compile(r"[\s./-]")
_KATAKANA = {code: code - 0x60 for code in range(0x30A1, 0x30F7)}
"""Katakana to hiragana: a reading is written in either."""
_NOBODY_BORN_IN = 1900
"""Birth dates up to this year stand for "not known"."""


UNDATED = dt.datetime(1, 1, 1, tzinfo=dt.UTC)
"""`PersonFact.valid_since` of a source that is no authority on demographics: anything dated is newer."""


VETO = 2
"""Contradictions that outweigh an identifier. One alone is a typing error or a marriage."""


class Contradiction(enum.StrEnum):
    """What two statements about a person contradict each other in."""

    BIRTH_DATE = "BIRTH_DATE"
    FAMILY_NAME = "FAMILY_NAME"
    GIVEN_INITIAL = "GIVEN_INITIAL"


def blocklisted(value: str) -> bool:
    """Whether an identifier's value identifies nobody: empty, zeros, one digit three times or more, UNKNOWN, ANON...

    However it is punctuated: 999-99-9999 is what a missing social security number looks like.
    """
    return _NO_ID.fullmatch(_PUNCTUATION.sub("", value)) is not None


def placeholder(name: PersonName) -> bool:
    """Whether the name is a stand-in (`DOE^JOHN`, `ANONYMOUS`, `UNKNOWN`) rather than a person's."""
    family, given = name.alphabetic.family.strip().upper(), name.alphabetic.given.strip().upper()
    return family.startswith(("ANON", "UNKNOWN")) or (family == "DOE" and given in ("JOHN", "JANE"))


def same_issuer(one: AssigningAuthority, other: AssigningAuthority) -> bool:
    """Whether two authorities are one: namespace or universal ID agree, unless both universal IDs exist and differ."""
    if one.universal_id and other.universal_id:
        return one.universal_id == other.universal_id
    return bool(one.namespace) and one.namespace == other.namespace


def contradictions(one: PatientIdentity, other: PatientIdentity) -> tuple[Contradiction, ...]:
    """What contradicts between two identities; an empty, incomparable or stand-in side counts as nothing."""
    found: list[Contradiction] = []
    born, other_born = _birth_date(one), _birth_date(other)
    if born is not None and other_born is not None and born != other_born:
        found.append(Contradiction.BIRTH_DATE)
    verdicts = _verdicts(one.name, other.name)
    if any(family is False for family, _ in verdicts):
        found.append(Contradiction.FAMILY_NAME)
    if any(given is False for _, given in verdicts):
        found.append(Contradiction.GIVEN_INITIAL)
    return tuple(found)


def conflicts(one: PatientIdentity, other: PatientIdentity) -> int:
    """How many of birth date, family name and given initial contradict each other."""
    return len(contradictions(one, other))


def agree(one: PatientIdentity, other: PatientIdentity) -> bool:
    """Whether demographics prove enough without an issuer: birth date, sex not contradicting, and the name."""
    born = _birth_date(one)
    if born is None or born != _birth_date(other):
        return False
    if Sex.UNKNOWN not in (one.sex, other.sex) and one.sex is not other.sex:
        return False
    verdicts = _verdicts(one.name, other.name)
    return (True, True) in verdicts and not any(False in verdict for verdict in verdicts)


def _birth_date(identity: PatientIdentity) -> dt.date | None:
    born = identity.birth_date
    return None if born is None or born.year <= _NOBODY_BORN_IN else born


def _verdicts(one: PersonName, other: PersonName) -> list[tuple[bool | None, bool | None]]:
    """Whether family name and given name agree, by component group; None where a side is empty or not comparable."""
    if placeholder(one) or placeholder(other):
        return []
    pairs = zip(_by_script(one), _by_script(other), strict=True)
    return [(True, True) if _swapped(a, b) else (_family(a, b), _given(a, b)) for a, b in pairs]


def _known(text: str) -> bool:
    return any(letter.isalpha() for letter in text)


def _by_script(name: PersonName) -> tuple[NameGroup, NameGroup, NameGroup]:
    """The groups, with an ideographic name that was sent in the alphabetic group moved to where it belongs."""
    first, second, third = name.alphabetic, name.ideographic, name.phonetic
    if _known(first.family) and not _latin(first.family):
        first, second = NameGroup(), second if _known(second.family) else first
    reading = NameGroup(family=_hiragana(third.family), given=_hiragana(third.given))
    return first, second, reading


def _hiragana(text: str) -> str:
    return unicodedata.normalize("NFKC", text).translate(_KATAKANA)


def _family(one: NameGroup, other: NameGroup) -> bool | None:
    if not _comparable(one.family, other.family):
        return None
    if not _latin(one.family):
        return _exact(one.family) == _exact(other.family)
    return any(_within_one_edit(a, b) for a in _folds(one.family) for b in _folds(other.family))


def _given(one: NameGroup, other: NameGroup) -> bool | None:
    if not _comparable(one.given, other.given):
        return None
    if not _latin(one.given):
        return _exact(one.given) == _exact(other.given)
    return bool({f[0] for f in _folds(one.given)} & {f[0] for f in _folds(other.given)})


def _comparable(one: str, other: str) -> bool:
    """Whether both say something, in one kind of script."""
    return _known(one) and _known(other) and _latin(one) is _latin(other)


def _swapped(one: NameGroup, other: NameGroup) -> bool:
    """Family and given name in each other's place, both exactly."""
    forms = [_forms(text) for text in (one.family, other.given, one.given, other.family)]
    return all(forms) and bool(forms[0] & forms[1]) and bool(forms[2] & forms[3])


def _forms(text: str) -> frozenset[str]:
    """Spellings to be equal in; none for a name without a letter (`-`), which says nothing."""
    if not _known(text):
        return frozenset()
    return _folds(text) if _latin(text) else frozenset({_exact(text)})


def _latin(text: str) -> bool:
    return bool(_folds(text))


def _folds(text: str) -> frozenset[str]:
    """The name reduced to A-Z with umlauts as one letter and as two; empty when nothing Latin remains."""
    return frozenset({_reduced(text, _SHORT), _reduced(text, _LONG)} - {""})


def _reduced(text: str, table: dict[str, str]) -> str:
    composed = unicodedata.normalize("NFC", text).replace("ß", "SS").upper()
    spelled = "".join(table.get(letter, letter) for letter in composed)
    return re.sub("[^A-Z]", "", unicodedata.normalize("NFKD", spelled))


def _exact(text: str) -> str:
    return "".join(unicodedata.normalize("NFKC", text).casefold().split())


def _within_one_edit(one: str, other: str) -> bool:
    """Whether one insertion, deletion or substitution at most turns `one` into `other`."""
    if len(one) > len(other):
        one, other = other, one
    if len(other) - len(one) > 1:
        return False
    same = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), len(one))
    return one[same + (len(one) == len(other)) :] == other[same + 1 :]
