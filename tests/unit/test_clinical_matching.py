import datetime as dt

import pytest
import sqlalchemy as sa
from support.clinical import key_of
from support.hl7 import HOSP, OTHER, identity, weight, when

from config.clinical import Clinical
from model.domain import AssigningAuthority, Identifier, MatchClass, NameGroup, PatientIdentity, Sex
from node.facts import MergeFact, OrderFact, PersonFact
from node.matching import Image, age_years, clinical_record, match_patient
from node.names import blocklisted, same_issuer
from node.store import clinical
from node.store import clinical_persons as persons
from node.store.alerts import find as alerts
from node.store.clinical_schema import person

NOBODY = AssigningAuthority()
SETTINGS = Clinical()
DAYS = {"weight": 365.0, "height": 1826.0}


@pytest.fixture
def c(sqlite_ledger):
    with sqlite_ledger.begin() as connection:
        yield connection


def know(c, *facts, at=None):
    made = [PersonFact(identity=f, valid_since=when(1)) if isinstance(f, PatientIdentity) else f for f in facts]
    assert clinical.apply(c, made, at or when(1)).refused == ()


def outcome_of(c, who, settings=SETTINGS, **image):
    return match_patient(c, Image(identity=who, **image), settings)


def match(c, who, accession="", assumed="", settings=SETTINGS):
    return outcome_of(c, who, settings, accession=accession, assumed_issuer=assumed).match


def test_issuer_and_identifier(c):
    know(c, identity())
    assert match(c, identity()) is MatchClass.MATCH_ISSUER
    assert match(c, identity(family="", given="", born=None)) is MatchClass.MATCH_ISSUER


def test_a_stated_other_issuer_is_evidence_against(c):
    know(c, identity())
    assert match(c, identity(authority=OTHER)) is MatchClass.UNKNOWN_PATIENT


def test_one_contradiction_is_a_typing_error_two_are_a_conflict(c):
    know(c, identity())
    assert match(c, identity(family="SCHMIDT")) is MatchClass.MATCH_ISSUER, "a marriage"
    assert match(c, identity(born=dt.date(1948, 12, 3))) is MatchClass.MATCH_ISSUER
    assert match(c, identity(family="SCHMIDT", born=dt.date(1960, 1, 1))) is MatchClass.CONFLICT
    assert match(c, identity(family="SCHMIDT", given="KARL")) is MatchClass.CONFLICT


def test_without_an_issuer_demographics_must_agree(c):
    know(c, identity())
    assert match(c, identity(authority=NOBODY)) is MatchClass.MATCH_DEMOG
    for changes in (
        {"born": None},
        {"born": dt.date(1948, 3, 13)},
        {"family": ""},
        {"given": ""},
        {"family": "SCHMIDT"},
        {"given": "KARL"},
        {"sex": Sex.MALE},
        {"value": "100002"},
    ):
        assert match(c, identity(**{"authority": NOBODY, **changes})) is MatchClass.UNKNOWN_PATIENT, changes
    assert match(c, identity(authority=NOBODY, sex=Sex.UNKNOWN)) is MatchClass.MATCH_DEMOG
    assert match(c, identity(authority=NOBODY, family="ANNA", given="MÜLLER")) is MatchClass.MATCH_DEMOG, "swapped"


def test_an_assumed_issuer_narrows_and_never_proves(c):
    know(c, identity(), identity(authority=OTHER))
    assert match(c, identity(authority=NOBODY)) is MatchClass.AMBIGUOUS
    assert match(c, identity(authority=NOBODY), assumed="HOSP") is MatchClass.MATCH_DEMOG
    assert match(c, identity(authority=NOBODY, born=None), assumed="HOSP") is MatchClass.UNKNOWN_PATIENT
    assert match(c, identity(authority=NOBODY), assumed="THIRD") is MatchClass.UNKNOWN_PATIENT


@pytest.mark.parametrize("value", ["", " ", "0", "000", "111111", "UNKNOWN", "anon42", "Anonymous"])
def test_an_identifier_that_identifies_nobody(c, value):
    know(c, identity())
    assert match(c, identity(value)) is MatchClass.NO_ID
    assert blocklisted(value)


def test_no_identity_at_all_and_a_placeholder_name(c):
    know(c, identity())
    assert match(c, PatientIdentity()) is MatchClass.NO_ID
    assert match(c, identity(family="DOE", given="JOHN")) is MatchClass.NO_ID


def test_leading_zeros_stay(c):
    know(c, identity("007123"))
    assert match(c, identity("7123")) is MatchClass.UNKNOWN_PATIENT
    assert match(c, identity("007123")) is MatchClass.MATCH_ISSUER


def test_a_blocked_person_joins_nothing(c):
    know(c, identity())
    c.execute(sa.update(person).values(blocked=True))
    assert match(c, identity()) is MatchClass.BLOCKED


def test_an_order_must_name_the_same_person(c):
    know(c, identity(), identity("200002", family="SCHMIDT", given="EVA"))
    know(c, OrderFact(accession="A1", patient=Identifier(value="200002", authority=HOSP)))
    assert match(c, identity(), accession="A1") is MatchClass.CONFLICT
    assert match(c, identity(), accession="A2") is MatchClass.MATCH_ISSUER
    know(c, OrderFact(accession="A1", patient=Identifier(value="100001", authority=HOSP)))
    assert match(c, identity(), accession="A1") is MatchClass.MATCH_ISSUER, "the order was corrected"


def test_another_identifier_of_the_image_may_contradict(c):
    know(c, identity(), identity("9", AssigningAuthority(namespace="NAT"), family="SCHMIDT", given="EVA"))
    two = (*identity().identifiers, Identifier(value="9", authority=AssigningAuthority(namespace="NAT")))
    image = PatientIdentity(identifiers=two, name=identity().name, birth_date=identity().birth_date)
    assert match(c, image) is MatchClass.CONFLICT


def test_ideographic_names_are_compared_exactly_and_empty_reductions_do_not_agree(c):
    know(c, identity(family="", given="", ideographic=NameGroup(family="山田", given="太郎")))
    same = {"authority": NOBODY, "family": "", "given": ""}
    assert match(c, identity(**same, ideographic=NameGroup(family="山田", given="太郎"))) is MatchClass.MATCH_DEMOG
    for other in (NameGroup(family="山本", given="太郎"), NameGroup(family="山田", given="花子"), NameGroup()):
        assert match(c, identity(**same, ideographic=other)) is MatchClass.UNKNOWN_PATIENT
    assert match(c, identity(authority=NOBODY, family="山田", given="太郎")) is MatchClass.MATCH_DEMOG
    assert match(c, identity(authority=NOBODY, family="YAMADA", given="TARO")) is MatchClass.UNKNOWN_PATIENT


def test_issuers_are_one_by_namespace_or_universal_id():
    full = AssigningAuthority(namespace="HOSP", universal_id="1.2.3", universal_id_type="ISO")
    assert same_issuer(full, HOSP)
    assert same_issuer(full, AssigningAuthority(namespace="X", universal_id="1.2.3"))
    assert not same_issuer(full, AssigningAuthority(namespace="HOSP", universal_id="1.2.4"))
    assert not same_issuer(NOBODY, NOBODY)


def test_a_half_stated_issuer_that_fits_two_persons_is_ambiguous(c):
    for oid, family in (("1.2.3", "MÜLLER"), ("1.2.4", "SCHMIDT")):
        know(c, identity(authority=AssigningAuthority(namespace="HOSP", universal_id=oid), family=family))
    assert match(c, identity()) is MatchClass.AMBIGUOUS


def test_record_of_a_match(c):
    know(c, identity(), weight(61.5, at=when(9)), weight(170.0, key="h", variable="height", at=when(10, 8)))
    image = identity(family="", given="", born=None, sex=Sex.UNKNOWN)
    record = clinical_record(c, outcome_of(c, image), image, when(10, 8), when(10, 9), DAYS)
    assert record.match is MatchClass.MATCH_ISSUER
    assert (record.value("weight"), record.value("height")) == (61.5, 170.0)
    assert next(o.age_days for o in record.observations if o.variable == "weight") == pytest.approx(23 / 24)
    assert record.sex is Sex.FEMALE
    assert record.age_years == pytest.approx(76 + 363 / 365)


def test_record_without_a_match_holds_only_the_reason(c):
    know(c, identity(), weight())
    image = identity(authority=OTHER)
    record = clinical_record(c, outcome_of(c, image), image, when(), when(), DAYS)
    assert (record.match, record.age_years, record.observations) == (MatchClass.UNKNOWN_PATIENT, None, ())


def test_a_merge_brings_the_prior_values_unless_birth_dates_differ(c):
    survivor, prior = (Identifier(value=v, authority=HOSP) for v in ("1001", "2002"))
    know(c, identity("1001"), identity("2002"), weight(70, patient="2002"), MergeFact(survivor=survivor, prior=prior))
    for value in ("1001", "2002"):
        image = identity(value)
        outcome = outcome_of(c, image)
        assert outcome.group == persons.group(c, key_of(c, "1001"))
        assert len(outcome.group) == 2
        record = clinical_record(c, outcome, image, when(10), when(10), DAYS)
        assert record.value("weight") == 70
    before = clinical_record(c, outcome, identity("2002"), when(10), when(1) - dt.timedelta(days=1), DAYS)
    assert before.observations == ()
    know(c, PersonFact(identity=identity("2002", born=dt.date(1950, 1, 1)), valid_since=when(5)), at=when(5))
    image = identity("1001")
    assert clinical_record(c, outcome, image, when(10), when(10), DAYS).observations == ()


def test_values_of_who_bore_a_number_before_are_not_joined_to_who_bears_it_now(ledger):
    with ledger.begin() as c:
        former, bearer = identity("1001"), identity("1001", family="SCHULZ", given="KARL", born=dt.date(1961, 1, 1))
        know(c, former, weight(50.0, patient="1001", key="a"))
        know(c, PersonFact(identity=bearer, valid_since=when(5)), at=when(5))

        def known_of(who, at):
            return clinical_record(c, outcome_of(c, who), who, at, at, DAYS).value("weight")

        assert known_of(bearer, when(6)) is None
        assert match(c, former) is MatchClass.CONFLICT
        with_own = weight(80.0, patient="1001", key="b", at=when(6))
        know(c, with_own, at=when(7))
        assert known_of(bearer, when(8)) == 80.0
        (alert,) = alerts(c)
        assert (alert.kind, alert.subject) == ("IDENTITY_REPLACED", f"person {outcome_of(c, bearer).person_key}")
        know(c, PersonFact(identity=former, valid_since=when(9)), at=when(9))  # it had been sent under the wrong number
        assert known_of(former, when(10)) == 50.0
        married = identity("1001", family="SCHULZ")
        know(c, PersonFact(identity=married, valid_since=when(11)), at=when(11))
        assert known_of(married, when(12)) == 50.0, "one contradiction is a marriage"


def test_ages_are_exact_on_birthdays():
    born = dt.date(1975, 3, 10)
    assert age_years(born, dt.date(2025, 3, 10)) == 50.0
    assert age_years(born, dt.date(2025, 3, 9)) < 50.0
    assert age_years(dt.date(1976, 2, 29), dt.date(2026, 3, 1)) == 50.0
    assert age_years(dt.date(1976, 2, 29), dt.date(2026, 2, 28)) < 50.0
    assert age_years(born, dt.date(1975, 3, 9)) is None
