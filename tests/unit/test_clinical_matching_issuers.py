"""Rule R4 with a site's issuers: aliases, trust, numbers with zeros, orders, trauma numbers, test patients.

The numbers in the names of the last tests are issues of dcm4che/dcm4chee-arc-light, each a way in which others joined
the wrong patient or lost the right one.
"""

import datetime as dt

import pytest
from pydantic import ValidationError
from support.hl7 import HOSP, OTHER, RULES, identity, message, pid, weight, when

from config.clinical import Clinical, Issuer
from model.domain import AssigningAuthority, Identifier, MatchClass, NameGroup, PatientIdentity, PersonName, Sex
from node.facts import MergeFact, OrderFact, PersonFact, TombstoneFact
from node.feeds.er7 import parse
from node.feeds.hl7_messages import read_message
from node.issuers import Issuers
from node.matching import Image, clinical_record, match_patient
from node.store import clinical

NOBODY = AssigningAuthority()
OID = "1.2.276.0.76.4.9"
FULL = AssigningAuthority(namespace="HOSP", universal_id=OID, universal_id_type="ISO")
OWN = Issuer(namespace="HOSP", universal_id=OID, universal_id_type="ISO", aliases=("KLINIK", "1.2.3.4"))
SITE = Clinical(issuers=(OWN, Issuer(namespace="ELSEWHERE")))


@pytest.fixture
def c(sqlite_ledger):
    with sqlite_ledger.begin() as connection:
        yield connection


def know(c, *facts, at=None, site=SITE):
    """As the feeds do: identifiers in the site's spelling."""
    issuers = Issuers(listed=site.issuers)
    made = [
        PersonFact(identity=issuers.identity(f), valid_since=when(1)) if isinstance(f, PatientIdentity) else f
        for f in facts
    ]
    return clinical.apply(c, made, at or when(1), trusted=site.trusted_issuers)


def match(c, who, settings=SITE, **image):
    return match_patient(c, Image(identity=who, **image), settings).match


def ns(name):
    return AssigningAuthority(namespace=name)


def test_two_issuers_are_one_if_namespace_or_universal_id_agree_unless_both_universal_ids_exist_and_differ():
    issuers = Issuers(listed=(OWN,))
    for form in (FULL, HOSP, AssigningAuthority(universal_id=OID), AssigningAuthority(namespace="X", universal_id=OID)):
        assert issuers.canonical(Identifier(value="1", authority=form)).authority == FULL
    for form in (ns("X"), AssigningAuthority(namespace="HOSP", universal_id="9.9"), NOBODY):
        assert issuers.canonical(Identifier(value="1", authority=form)).authority == form


def test_an_alias_is_read_as_the_authority_itself(c):
    know(c, identity(authority=ns("KLINIK")))
    for form in (HOSP, FULL, ns("KLINIK"), AssigningAuthority(universal_id="1.2.3.4")):
        assert match(c, identity(authority=form)) is MatchClass.MATCH_ISSUER
    assert match(c, identity(authority=ns("CLINIC"))) is MatchClass.UNKNOWN_PATIENT
    other_oid = AssigningAuthority(namespace="KLINIK", universal_id="9.9")
    assert match(c, identity(authority=other_oid)) is MatchClass.UNKNOWN_PATIENT


def test_an_alias_is_one_spelling_in_a_feed_too():
    rules = RULES.__class__(zone=RULES.zone, codes=RULES.codes, issuers=Issuers(listed=(OWN,)))
    frame = message("ADT^A28", pid().replace("HOSP", "KLINIK"))
    [fact] = read_message(parse(frame), rules, received_at=when()).facts
    assert fact.identity.identifiers == (Identifier(value="100001", authority=FULL),)


def test_the_issuer_of_a_calling_ae_may_be_named_by_an_alias(c):
    know(c, identity(), identity(authority=OTHER))
    for name in ("HOSP", "KLINIK", OID, f"HOSP&{OID}&ISO"):
        assert match(c, identity(authority=NOBODY), assumed_issuer=name) is MatchClass.MATCH_DEMOG
    assert match(c, identity(authority=NOBODY), assumed_issuer="THIRD") is MatchClass.UNKNOWN_PATIENT


def test_assumed_issuer_without_birth_date_does_not_join(c):
    know(c, identity())
    assert match(c, identity(authority=NOBODY, born=None), assumed_issuer="HOSP") is MatchClass.UNKNOWN_PATIENT


def test_untrusted_issuers_are_not_inserted(c):
    """Also #4233: among several identifiers only the trusted ones become known."""
    site = Clinical(issuers=(OWN, Issuer(namespace="NAT", trusted=False)))
    both = (
        *identity().identifiers,
        Identifier(value="N7", authority=ns("NAT")),
        Identifier(value="X1", authority=ns("X")),
    )
    who = identity()
    known = PatientIdentity(identifiers=both, name=who.name, birth_date=who.birth_date, sex=who.sex)
    assert know(c, known, site=site).refused == ()
    assert match(c, identity(), site) is MatchClass.MATCH_ISSUER
    for value, issuer in (("N7", "NAT"), ("X1", "X")):
        assert match(c, identity(value, ns(issuer)), site) is MatchClass.UNKNOWN_PATIENT
    assert know(c, identity("5", ns("NAT")), site=site).refused == ("UNTRUSTED_ISSUER",)


def test_a_list_of_issuers_must_make_sense():
    for issuers in (
        (Issuer(namespace="A", trusted=False),),
        (Issuer(namespace="A"), Issuer(namespace="B", aliases=("A",))),
    ):
        with pytest.raises(ValidationError, match="issuers"):
            Clinical(issuers=issuers)
    with pytest.raises(ValidationError, match="namespace or a universal_id"):
        Issuer()
    with pytest.raises(ValidationError, match="regular expression"):
        Clinical(test_ids=("(",))


def test_leading_zeros_stay_unless_the_issuer_has_a_normaliser(c):
    site = Clinical(issuers=(Issuer(namespace="HOSP", strip_leading_zeros=True), Issuer(namespace="ELSEWHERE")))
    know(c, identity("007123"), identity("007123", OTHER, family="SCHMIDT"), site=site)
    for value in ("7123", "007123", " 0007123 "):
        assert match(c, identity(value), site) is MatchClass.MATCH_ISSUER
        assert match(c, identity(value, NOBODY), site) is MatchClass.MATCH_DEMOG
    assert match(c, identity("7123", OTHER), site) is MatchClass.UNKNOWN_PATIENT
    assert match(c, identity("7123", NOBODY, family="SCHMIDT"), site) is MatchClass.UNKNOWN_PATIENT
    assert match(c, identity("007123", NOBODY, family="SCHMIDT"), site) is MatchClass.MATCH_DEMOG


def test_deleted_or_test_persons_are_blocked(c):
    know(c, identity(), identity("T1"), identity("300", family="ZZTEST", given="EVA"))
    site = SITE.model_copy(update={"test_ids": ("T.*",)})
    assert match(c, identity("T1"), site) is MatchClass.BLOCKED
    assert match(c, identity("300", family="", given="")) is MatchClass.BLOCKED, (
        "known as a test person by the register"
    )
    assert match(c, identity("100001", family="Test", given="")) is MatchClass.BLOCKED, "or by the image"
    assert match(c, identity("100001", family="TESTA", given="")) is MatchClass.MATCH_ISSUER, "a name in Italy"
    know(c, TombstoneFact(patient=Identifier(value="100001", authority=FULL)))
    assert match(c, identity()) is MatchClass.BLOCKED
    assert match(c, identity(authority=NOBODY)) is MatchClass.BLOCKED


def test_a_temporary_id_gives_image_only_until_a_merge_says_who_it_is(c):
    site = SITE.model_copy(update={"temporary_ids": (r"TRAUMA-\d+",)})
    trauma = identity("TRAUMA-7", family="DOE", given="JOHN", born=dt.date(1900, 1, 1), sex=Sex.UNKNOWN)
    know(c, trauma, identity(), weight(70.0, patient="100001", authority=FULL))
    assert match(c, trauma, site) is MatchClass.UNKNOWN_PATIENT
    survivor, prior = (Identifier(value=v, authority=FULL) for v in ("100001", "TRAUMA-7"))
    know(c, MergeFact(survivor=survivor, prior=prior), at=when(2))
    outcome = match_patient(c, Image(identity=trauma), site)
    assert outcome.match is MatchClass.MATCH_ISSUER
    assert clinical_record(c, outcome, trauma, when(10), when(10), {"weight": 365.0}).value("weight") == 70.0


def test_studies_under_a_prior_id_follow_the_alias_through_a_chain(c):
    know(c, identity("1"), identity("2"), identity("3"))
    for prior, survivor in (("1", "2"), ("2", "3")):
        ids = {n: Identifier(value=v, authority=FULL) for n, v in (("prior", prior), ("survivor", survivor))}
        know(c, MergeFact(**ids), at=when(2))
    keys = {match_patient(c, Image(identity=identity(v)), SITE).person_key for v in ("1", "2", "3")}
    assert len(keys) == 1
    assert None not in keys


def order(value, accession="A1", study_uid="", authority=FULL):
    return OrderFact(accession=accession, study_uid=study_uid, patient=Identifier(value=value, authority=authority))


def test_an_order_link_for_the_accession_or_the_study_uid_must_name_the_same_person(c):
    know(c, identity(), identity("200002", family="SCHMIDT", given="EVA"))
    know(c, order("200002", accession="A1", study_uid="1.2.840.1"))
    assert match(c, identity(), accession="A1") is MatchClass.CONFLICT
    assert match(c, identity(), study_uid="1.2.840.1") is MatchClass.CONFLICT
    assert match(c, identity(), accession="A2", study_uid="1.2.840.2") is MatchClass.MATCH_ISSUER
    eva = identity("200002", family="SCHMIDT", given="EVA")
    assert match(c, eva, accession=" A1 ", study_uid="1.2.840.1") is MatchClass.MATCH_ISSUER
    know(c, order("100001", accession="A3", study_uid=""), at=when(2))
    assert match(c, identity(), accession="A3", study_uid="1.2.840.1") is MatchClass.CONFLICT, "one of the two suffices"


def test_an_order_of_a_merged_patient_names_the_survivor(c):
    know(c, identity(), identity("2"), order("2"))
    ids = {n: Identifier(value=v, authority=FULL) for n, v in (("prior", "2"), ("survivor", "100001"))}
    assert match(c, identity(), accession="A1") is MatchClass.CONFLICT
    know(c, MergeFact(**ids), at=when(2))
    assert match(c, identity(), accession="A1") is MatchClass.MATCH_ISSUER


def test_conflict_says_what_contradicts_in_codes_for_the_alert(c):
    know(c, identity(), identity("9", OTHER, family="SCHMIDT"), order("9", authority=OTHER))
    wrong = match_patient(c, Image(identity=identity(family="SCHMIDT", born=dt.date(1960, 1, 1))), SITE)
    assert wrong.match is MatchClass.CONFLICT
    assert wrong.person_key is None
    assert wrong.conflict == ("BIRTH_DATE", "FAMILY_NAME")
    assert wrong.alert == f"BIRTH_DATE,FAMILY_NAME person {wrong.conflict_with}"
    assert match_patient(c, Image(identity=identity(), accession="A1"), SITE).conflict == ("ORDER",)
    two = (*identity().identifiers, Identifier(value="9", authority=OTHER))
    image = PatientIdentity(identifiers=two, name=identity().name, birth_date=identity().birth_date)
    assert match_patient(c, Image(identity=image), SITE).conflict == ("OTHER_ID",)
    assert match_patient(c, Image(identity=identity()), SITE).alert == ""


def test_a_name_alone_never_joins(c):
    know(c, identity())
    assert match(c, identity("556", NOBODY)) is MatchClass.UNKNOWN_PATIENT
    assert match(c, identity("", NOBODY)) is MatchClass.NO_ID


def test_dcm4chee_2905_dicom_before_hl7_without_issuer(c):
    """The image comes first and states no issuer; the register follows with one. It joins by demographics only."""
    assert match(c, identity(authority=NOBODY)) is MatchClass.UNKNOWN_PATIENT
    know(c, identity(authority=FULL), at=when(2))
    assert match(c, identity(authority=NOBODY)) is MatchClass.MATCH_DEMOG
    assert match(c, identity(authority=NOBODY, family="SCHMIDT")) is MatchClass.UNKNOWN_PATIENT


def test_dcm4chee_3153_a_less_qualified_issuer_does_not_win(c):
    know(c, identity(authority=FULL), site=Clinical())
    know(c, identity(authority=HOSP), at=when(2), site=Clinical())
    assert match(c, identity(authority=AssigningAuthority(universal_id=OID)), Clinical()) is MatchClass.MATCH_ISSUER
    other = AssigningAuthority(namespace="HOSP", universal_id="9.9")
    assert (
        match(c, identity(authority=other, family="X", given="Y", born=None), Clinical()) is not MatchClass.MATCH_ISSUER
    )


def test_dcm4chee_3413_one_universal_id_under_two_namespaces_is_one_issuer(c):
    greek, latin = (
        AssigningAuthority(namespace=n, universal_id=OID, universal_id_type="ISO") for n in ("GREEK", "LATIN")
    )
    know(c, identity(authority=greek), site=Clinical())
    assert match(c, identity(authority=latin), Clinical()) is MatchClass.MATCH_ISSUER


def test_dcm4chee_4508_one_study_two_issuers(c):
    """A scanner's own issuer beside the hospital's in one study: each image is judged by what it states itself."""
    know(c, identity())
    images = [identity(authority=a) for a in (HOSP, ns("DCM4CHEE.40CBE202.0C09C769"))]
    found = [match(c, image, study_uid="1.2.840.1") for image in images]
    assert found == [MatchClass.MATCH_ISSUER, MatchClass.UNKNOWN_PATIENT]
    site = Clinical(issuers=(Issuer(namespace="HOSP", aliases=("DCM4CHEE.40CBE202.0C09C769",)),))
    know(c, identity("7"), site=site)
    assert match(c, identity("7", images[1].identifiers[0].authority), site) is MatchClass.MATCH_ISSUER, (
        "once it is listed"
    )


def test_dcm4chee_506_objects_of_one_study_with_differing_patient_ids(c):
    """Two patients in one study: each image joins its own; the order of the study vetoes whom it does not name."""
    know(c, identity(), identity("200002", family="SCHMIDT", given="EVA", born=dt.date(1960, 1, 1)))
    eva = identity("200002", family="SCHMIDT", given="EVA", born=dt.date(1960, 1, 1))
    keys = {match_patient(c, Image(identity=who, study_uid="1.2.3"), SITE).person_key for who in (identity(), eva)}
    assert len(keys - {None}) == 2
    know(c, order("100001", accession="", study_uid="1.2.3"))
    assert match(c, identity(), study_uid="1.2.3") is MatchClass.MATCH_ISSUER
    assert match(c, eva, study_uid="1.2.3") is MatchClass.CONFLICT


def test_dcm4chee_4935_an_unknown_id_in_a_known_study_is_not_the_known_patient(c):
    """Others merge the two when the names agree. A second ID is for a register to state, never for an image."""
    know(c, identity(), order("100001", accession="", study_uid="1.2.3"))
    assert match(c, identity("778"), study_uid="1.2.3") is MatchClass.UNKNOWN_PATIENT
    assert match(c, identity("778", NOBODY), study_uid="1.2.3") is MatchClass.UNKNOWN_PATIENT


def test_dcm4chee_4968_merged_id_inside_pid_3(c):
    """After 2 was merged into 1, an update that lists both is about the survivor; images of either join him."""
    know(c, identity("1"), identity("2"))
    one, two = (Identifier(value=v, authority=FULL) for v in ("1", "2"))
    know(c, MergeFact(survivor=one, prior=two), at=when(2))
    who = identity()
    both = PatientIdentity(identifiers=(one, two), name=who.name, birth_date=who.birth_date, sex=who.sex)
    assert know(c, both, at=when(3)).refused == ()
    assert match(c, identity("1")) is match(c, identity("2")) is MatchClass.MATCH_ISSUER


def test_ideographic_only_names_join_by_demographics(c):
    name = PersonName(ideographic=NameGroup(family="山田", given="花子"))
    who = PatientIdentity(
        identifiers=identity().identifiers, name=name, birth_date=dt.date(1948, 3, 12), sex=Sex.FEMALE
    )
    know(c, who)
    image = PatientIdentity(identifiers=identity(authority=NOBODY).identifiers, name=name, birth_date=who.birth_date)
    assert match(c, image) is MatchClass.MATCH_DEMOG
