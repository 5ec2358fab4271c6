"""Two facilities that number their patients alike, and images of these patients with the noise that real headers carry.

Synthetic throughout: names are made of syllables with the skew of real family names (the commonest one has 0.6 %), some
with umlauts or letters that do not decompose, some in two scripts. The shares of noise are assumptions
(clinical-data.md section 6); they prove nothing about a real site.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import itertools
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from model.domain import AssigningAuthority, Identifier, NameGroup, PatientIdentity, PersonName, Sex

FACILITIES = (
    AssigningAuthority(namespace="NORTH", universal_id="1.2.276.0.76.4.1", universal_id_type="ISO"),
    AssigningAuthority(namespace="SOUTH", universal_id="1.2.276.0.76.4.2", universal_id_type="ISO"),
)
FAMILY_NAMES = 5_000
SKEW = 30
"""Family name of rank r has a share proportional to 1 / (r + SKEW)."""
TWO_SCRIPTS = 0.05
WITHOUT_ISSUER = 0.30

_ONSETS = "B BR D F FR G GR H K KL KR L M N P R S SCH ST T"
_VOWELS = "A E I O U Ä Ö Ü Ø AU EI IE"
_CODAS = "BACH BERG CK HOLT KE LD LER MANN NDT NER RICH RT SEN SKI ẞ TZ"
_WOMEN = """
ANNA BERTA CLARA DORA EVA FRIEDA GRETA HANNA INGE JUTTA KÄTHE LENA MARIA NORA OLGA PAULA RITA SØLVI TEA URSULA VERA
WILMA ELSE EDITH HELGA GERDA KARIN MONIKA RENATE SABINE
"""
_MEN = """
ANTON BERND CARL DIRK ERIK FRANZ GEORG HANS IVO JÜRGEN KURT LARS MAX NILS OTTO PAUL RALF SVEN TOM UWE VOLKER WERNER
ERNST HEINZ HORST GERD KLAUS MANFRED RUDOLF STEFAN
"""
_GIVEN = {Sex.FEMALE: _WOMEN.split(), Sex.MALE: _MEN.split()}
_KANJI_FAMILY = "佐藤 鈴木 高橋 田中 伊藤 渡辺 山本 中村 小林 加藤 吉田 山田 佐々木 山口 松本 井上"
_KANJI_GIVEN = "花子 恵子 幸子 和子 節子 太郎 一郎 健 誠 隆"


@dataclass(frozen=True, slots=True, kw_only=True)
class Patient:
    """One person as a facility's register knows them."""

    key: int
    """Primary key in the ledger; 0 for somebody no register knows."""
    facility: AssigningAuthority
    number: str
    identity: PatientIdentity
    """Name, birth date and sex; no identifiers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """What an image says, whose it really is, and which facility's scanner sent it."""

    patient: Patient
    image: PatientIdentity
    assumed: str
    noise: str
    """What is wrong with the header; empty when nothing is."""


def population(persons: int, rng: random.Random) -> list[Patient]:
    """`persons` patients of each facility; number n is another person in each."""
    families = list(itertools.islice(_family_names(rng), FAMILY_NAMES))
    weights = list(itertools.accumulate(1 / (rank + SKEW) for rank in range(FAMILY_NAMES)))
    return [
        Patient(
            key=1 + place * persons + n,
            facility=facility,
            number=f"{n + 1:06d}",
            identity=_somebody(rng, families, weights),
        )
        for place, facility in enumerate(FACILITIES)
        for n in range(persons)
    ]


def stated(patients: list[Patient], count: int, rng: random.Random) -> list[Study]:
    """Studies of a site whose scanners mostly state the issuer: 30 % do not; 4.5 % of all headers are wrong."""
    studies = []
    for _ in range(count):
        patient = rng.choice(patients)
        noise, identity, number = _noisy(patient, patients, rng)
        issuer = AssigningAuthority() if rng.random() < WITHOUT_ISSUER else _spelled(patient.facility, rng)
        image = dataclasses.replace(identity, identifiers=(Identifier(value=number, authority=issuer),))
        studies.append(Study(patient=patient, image=image, assumed="", noise=noise))
    return studies


def assumed(patients: list[Patient], count: int, rng: random.Random) -> list[Study]:
    """Studies of a site whose scanners never state one: the sender's is assumed, and 3 % were imported from elsewhere.

    A tenth each has no birth date and no name.
    """
    families = list(itertools.islice(_family_names(rng), FAMILY_NAMES))
    weights = list(itertools.accumulate(1 / (rank + SKEW) for rank in range(FAMILY_NAMES)))
    studies = []
    for _ in range(count):
        patient = rng.choice(patients)
        noise, identity, number = _noisy(patient, patients, rng)
        if rng.random() < 0.03:
            noise, identity = "imported", _somebody(rng, families, weights)
            patient = Patient(key=0, facility=patient.facility, number=number, identity=identity)
        if rng.random() < 0.10:
            identity = dataclasses.replace(identity, birth_date=None)
        if rng.random() < 0.10:
            identity = dataclasses.replace(identity, name=PersonName())
        image = dataclasses.replace(identity, identifiers=(Identifier(value=number),))
        studies.append(Study(patient=patient, image=image, assumed=patient.facility.namespace, noise=noise))
    return studies


def _family_names(rng: random.Random) -> Iterator[str]:
    onsets, vowels, codas = _ONSETS.split(), _VOWELS.split(), _CODAS.split()
    seen: set[str] = set()
    while True:
        middle = rng.choice(onsets) + rng.choice(vowels) if rng.random() < 0.6 else ""
        name = rng.choice(onsets) + rng.choice(vowels) + middle + rng.choice(codas)
        if name not in seen:
            seen.add(name)
            yield name


def _somebody(rng: random.Random, families: list[str], weights: list[float]) -> PatientIdentity:
    sex = rng.choice((Sex.FEMALE, Sex.MALE))
    [family] = rng.choices(families, cum_weights=weights)
    ideographic = NameGroup()
    if rng.random() < TWO_SCRIPTS:
        ideographic = NameGroup(family=rng.choice(_KANJI_FAMILY.split()), given=rng.choice(_KANJI_GIVEN.split()))
    name = PersonName(alphabetic=NameGroup(family=family, given=rng.choice(_GIVEN[sex])), ideographic=ideographic)
    born = dt.date(1930, 1, 1) + dt.timedelta(days=rng.randrange(45 * 365))
    return PatientIdentity(name=name, birth_date=born, sex=sex)


def _spelled(facility: AssigningAuthority, rng: random.Random) -> AssigningAuthority:
    """The issuer in full, by its name alone, or by its OID alone."""
    name = AssigningAuthority(namespace=facility.namespace)
    oid = AssigningAuthority(universal_id=facility.universal_id, universal_id_type="ISO")
    return rng.choices((facility, name, oid), weights=(5, 4, 1))[0]


def _noisy(patient: Patient, patients: list[Patient], rng: random.Random) -> tuple[str, PatientIdentity, str]:
    """(kind of noise, demographics, number) of an image."""
    draw = rng.random()
    for kind, (share, change) in _NOISE.items():
        draw -= share
        if draw < 0:
            return kind, change(patient.identity, rng), patient.number
    for kind, share in (("number mistyped", 0.005), ("wrong worklist entry", 0.005)):
        draw -= share
        if draw < 0:
            typed = kind == "number mistyped"
            return kind, patient.identity, _mistyped(patient.number, rng) if typed else rng.choice(patients).number
    return "", patient.identity, patient.number


def _mistyped(number: str, rng: random.Random) -> str:
    place = rng.randrange(1, len(number))
    return number[:place] + rng.choice([d for d in "0123456789" if d != number[place]]) + number[place + 1 :]


def _named(identity: PatientIdentity, **changes: str) -> PatientIdentity:
    alphabetic = dataclasses.replace(identity.name.alphabetic, **changes)
    return dataclasses.replace(identity, name=dataclasses.replace(identity.name, alphabetic=alphabetic))


def _typo(identity: PatientIdentity, rng: random.Random) -> PatientIdentity:
    family = identity.name.alphabetic.family
    place = rng.randrange(len(family))
    letter = rng.choice("ABCDEFGHIKLMNOPRSTUW")
    typed = rng.choice(("", letter, letter + family[place]))
    return _named(identity, family=family[:place] + typed + family[place + 1 :])


def _married(identity: PatientIdentity, rng: random.Random) -> PatientIdentity:
    return _named(identity, family=next(_family_names(rng)))


def _swapped(identity: PatientIdentity, rng: random.Random) -> PatientIdentity:
    group = identity.name.alphabetic
    return _named(identity, family=group.given, given=group.family)


def _transliterated(identity: PatientIdentity, rng: random.Random) -> PatientIdentity:
    spelled = rng.choice(({"Ä": "AE", "Ö": "OE", "Ü": "UE"}, {"Ä": "A", "Ö": "O", "Ü": "U", "Ø": "O", "ẞ": "SS"}))
    family = "".join(spelled.get(letter, letter) for letter in identity.name.alphabetic.family)
    return _named(identity, family=family.title())


def _short_given(identity: PatientIdentity, rng: random.Random) -> PatientIdentity:
    return _named(identity, given=identity.name.alphabetic.given[:1] + ".")


def _born_wrong(identity: PatientIdentity, rng: random.Random) -> PatientIdentity:
    born = identity.birth_date
    assert born is not None
    moved = dt.timedelta(days=rng.choice((-10, -1, 1, 10, 365, -365)))
    return dataclasses.replace(identity, birth_date=born + moved)


def _sex_wrong(identity: PatientIdentity, rng: random.Random) -> PatientIdentity:
    return dataclasses.replace(identity, sex=Sex.MALE if identity.sex is Sex.FEMALE else Sex.FEMALE)


_Change = Callable[[PatientIdentity, random.Random], PatientIdentity]
_NOISE: dict[str, tuple[float, _Change]] = {
    "family name mistyped": (0.010, _typo),
    "other family name (marriage)": (0.005, _married),
    "names swapped": (0.005, _swapped),
    "transliterated": (0.005, _transliterated),
    "given name shortened": (0.003, _short_given),
    "birth date wrong": (0.005, _born_wrong),
    "sex wrong": (0.002, _sex_wrong),
}
"""With 0.5 % mistyped numbers and 0.5 % wrong worklist entries: 4.5 %."""
