"""Whether two person identities can be the same person, and which identifiers are none at all.

Pure rules of clinical-data.md section 6. A name that cannot be compared is *unknown*: it neither agrees nor conflicts.
Reducing names to A-Z alone would turn every ideographic name into the empty string, and two empty strings "agree".
"""

from __future__ import annotations

import datetime as dt
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
}
_LONG = _SHORT | {"Ä": "AE", "Ö": "OE", "Ü": "UE", "Ø": "OE", "Œ": "OE", "Æ": "AE", "Å": "AA"}
_NO_ID = re.compile(r"0*|(\d)\1{2,}|UNKNOWN.*|ANON.*|NONE|NULL|N/?A", re.IGNORECASE)


UNDATED = dt.datetime(1, 1, 1, tzinfo=dt.UTC)
"""`PersonFact.valid_since` of a source that is no authority on demographics: anything dated is newer."""


def blocklisted(value: str) -> bool:
    """Whether an identifier's value identifies nobody: empty, zeros, one digit three times or more, UNKNOWN, ANON..."""
    return _NO_ID.fullmatch(value.strip()) is not None


def placeholder(name: PersonName) -> bool:
    """Whether the name is a stand-in (`DOE^JOHN`, `ANONYMOUS`, `UNKNOWN`) rather than a person's."""
    family, given = name.alphabetic.family.strip().upper(), name.alphabetic.given.strip().upper()
    return family.startswith(("ANON", "UNKNOWN")) or (family == "DOE" and given in ("JOHN", "JANE"))


def same_issuer(one: AssigningAuthority, other: AssigningAuthority) -> bool:
    """Whether two authorities are one: namespace or universal ID agree, unless both universal IDs exist and differ."""
    if one.universal_id and other.universal_id:
        return one.universal_id == other.universal_id
    return bool(one.namespace) and one.namespace == other.namespace


def conflicts(one: PatientIdentity, other: PatientIdentity) -> int:
    """How many of birth date, family name and given initial contradict each other; an empty side counts as nothing."""
    born = one.birth_date is not None and other.birth_date is not None and one.birth_date != other.birth_date
    pair = _comparable(one.name, other.name)
    if pair is None or _swapped(*pair):
        return int(born)
    return int(born) + (_family(*pair) is False) + (_given(*pair) is False)


def agree(one: PatientIdentity, other: PatientIdentity) -> bool:
    """Whether demographics prove enough without an issuer: birth date, sex not contradicting, and the name."""
    if one.birth_date is None or one.birth_date != other.birth_date:
        return False
    if Sex.UNKNOWN not in (one.sex, other.sex) and one.sex is not other.sex:
        return False
    pair = _comparable(one.name, other.name)
    return pair is not None and ((_family(*pair) is True and _given(*pair) is True) or _swapped(*pair))


def _comparable(one: PersonName, other: PersonName) -> tuple[NameGroup, NameGroup] | None:
    """The first component group that both names fill in the same kind of script; groups meet only their like."""
    left, right = _by_script(one), _by_script(other)
    return next(((a, b) for a, b in zip(left, right, strict=True) if _known(a.family) and _known(b.family)), None)


def _known(text: str) -> bool:
    return any(letter.isalpha() for letter in text)


def _by_script(name: PersonName) -> tuple[NameGroup, NameGroup, NameGroup]:
    """The groups, with an ideographic name that was sent in the alphabetic group moved to where it belongs."""
    first, second = name.alphabetic, name.ideographic
    if _known(first.family) and not _latin(first.family):
        first, second = NameGroup(), second if _known(second.family) else first
    return first, second, name.phonetic


def _family(one: NameGroup, other: NameGroup) -> bool | None:
    if _latin(one.family) is not _latin(other.family):
        return None
    if not _latin(one.family):
        return _exact(one.family) == _exact(other.family)
    return any(_within_one_edit(a, b) for a in _folds(one.family) for b in _folds(other.family))


def _given(one: NameGroup, other: NameGroup) -> bool | None:
    if not _known(one.given) or not _known(other.given) or _latin(one.given) is not _latin(other.given):
        return None
    if not _latin(one.given):
        return _exact(one.given) == _exact(other.given)
    return bool({f[0] for f in _folds(one.given)} & {f[0] for f in _folds(other.given)})


def _swapped(one: NameGroup, other: NameGroup) -> bool:
    """Family and given name in each other's place, both exactly."""
    forms = [_forms(text) for text in (one.family, other.given, one.given, other.family)]
    return all(forms) and bool(forms[0] & forms[1]) and bool(forms[2] & forms[3])


def _forms(text: str) -> frozenset[str]:
    return _folds(text) if _latin(text) else frozenset({_exact(text)} - {""})


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
