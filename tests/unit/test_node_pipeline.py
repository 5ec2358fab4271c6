"""The steps from Received to Reported: what they need, what they refuse, and what they wait for."""

from __future__ import annotations

import copy
import datetime as dt

import pytest
from support.dicom_objects import radiograph_dataset
from support.hl7 import message, pid
from support.inbox import ward
from support.node_parts import TAKEN, FixedScreener, pipeline, receive, settings
from support.report_cases import scored

from model.domain import Category, MatchClass, NotAssessed, Reason
from node.case import Delivered, Matched, NotApplicable, Reported, Screened
from node.errors import FailureCode, GiveUp, Retry
from node.film import Films
from node.store import jobs
from node.worker import save_step

SOON = TAKEN + dt.timedelta(seconds=30)
LATE = TAKEN + dt.timedelta(seconds=601)
WEIGHT = "OBX|1|NM|29463-7^Body weight^LN||61.5|kg^^UCUM|||||F|||20240301080000+0000"
OBR = "OBR|1||V1|34565-2^Vital signs^LN|||20240301080000+0000|||||||||||||||20240301080000+0000|||F"
PATIENT = pid("0012345", "WEBER^PETRA^^^^^L", "19550620")


def feed(ledger, *messages: bytes) -> None:
    with ward(ledger, settings()) as here:
        assert set(here.take(*messages)) == {"AA"}


def looked(steps, case):
    """The state after the image part, saved as the worker saves it."""
    step = steps.look(case)
    with steps.ledger.begin() as c:
        save_step(c, task=jobs.get(c, "advance", str(case.case_id)), step=step)
    return step.case


def clinical_data(ledger) -> None:
    adt = message("ADT^A08", "EVN|A08|20240301080000+0000", PATIENT, control="A1")
    feed(ledger, adt, message("ORU^R01", PATIENT, OBR, WEIGHT, control="R1"))


def test_a_film_waits_for_its_clinical_data_until_the_deadline(ledger, tmp_path):
    steps = pipeline(ledger, tmp_path, at=SOON)
    case = looked(steps, receive(ledger, steps.spool))
    with pytest.raises(Retry) as retry:
        steps.match(case)
    assert retry.value.after == pytest.approx(570)
    assert "weight" in retry.value.reason
    late = pipeline(ledger, tmp_path, at=LATE).match(case).case
    assert isinstance(late, Matched)
    assert late.record.match is MatchClass.UNKNOWN_PATIENT
    assert late.record.observations == ()


def test_clinical_data_end_the_wait_and_wake_the_case(ledger, tmp_path):
    steps = pipeline(ledger, tmp_path, at=dt.datetime.now(dt.UTC))
    case = looked(steps, receive(ledger, steps.spool, at=dt.datetime.now(dt.UTC)))
    with ledger.begin() as c:
        (task,) = jobs.claim(c, "infer", 1, owner="test", lease=60)
        jobs.retry_later(c, task, after=600, reason="waiting")
        assert not jobs.any_due(c, "infer")
    clinical_data(ledger)
    with ledger.read() as c:
        assert jobs.any_due(c, "infer")
    matched = pipeline(ledger, tmp_path, at=dt.datetime.now(dt.UTC)).match(case).case
    assert matched.record.match is MatchClass.MATCH_ISSUER
    assert matched.record.value("weight") == pytest.approx(61.5)
    assert matched.record.observations[0].age_days == pytest.approx(9.094, abs=0.01)


def test_without_any_feed_nothing_is_waited_for(ledger, tmp_path):
    steps = pipeline(ledger, tmp_path, at=SOON, clinical={"mllp": {"enabled": False}})
    assert isinstance(steps.match(looked(steps, receive(ledger, steps.spool))).case, Matched)


def test_an_image_without_patient_id_is_not_kept_waiting(ledger, tmp_path):
    steps = pipeline(ledger, tmp_path, at=SOON)
    matched = steps.match(looked(steps, receive(ledger, steps.spool, radiograph_dataset(PatientID="")))).case
    assert matched.record.match is MatchClass.NO_ID


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"Modality": "MG"}, Reason.MODALITY),
        ({"BodyPartExamined": "HIP"}, Reason.BODY_PART),
        ({"ViewPosition": "LL"}, Reason.VIEW_LATERAL),
        ({"PatientAge": "031Y", "PatientBirthDate": "19930101"}, Reason.AGE_UNDER),
        ({"PresentationIntentType": "FOR PROCESSING"}, Reason.FOR_PROCESSING),
        ({"ManufacturerModelName": "Osteon"}, Reason.OWN_RESULT),
    ],
)
def test_what_the_header_rules_out_ends_at_once_without_waiting(ledger, tmp_path, attributes, reason):
    steps = pipeline(ledger, tmp_path, at=SOON)
    step = steps.look(receive(ledger, steps.spool, radiograph_dataset(**attributes)))
    assert isinstance(step.case, NotApplicable)
    assert reason in step.case.reasons
    assert reason in step.why


def screened(ledger, tmp_path, *, screener=None, **tables):
    steps = pipeline(ledger, tmp_path, at=LATE, screener=screener, **tables)
    return steps, steps.match(looked(steps, receive(ledger, steps.spool))).case


def test_a_refused_picture_ends_at_once_with_its_measurements_and_no_score(ledger, tmp_path):
    answer = NotAssessed(reasons=(Reason.NOT_CHEST,), measurements=(("distance_ratio", 1.52),))
    steps = pipeline(ledger, tmp_path, at=SOON, screener=FixedScreener(answer))
    case = looked(steps, receive(ledger, steps.spool))
    assert isinstance(case, NotApplicable)
    assert case.measurements == (("distance_ratio", 1.52),)


def test_the_report_holds_page_and_sr_for_every_destination(ledger, tmp_path):
    pacs = {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": 104}
    steps, matched = screened(ledger, tmp_path, delivery={"destinations": [pacs, {**pacs, "name": "vna"}]})
    case = steps.screen(matched).case
    assert isinstance(case, Screened)
    step = steps.advance(case)
    assert isinstance(step.case, Reported)
    assert [o.kind for o in step.objects] == ["page", "sr"]
    assert [o.sha256 for o in step.case.objects] != []
    assert step.case.destinations == ("pacs", "vna")


def test_a_category_the_site_wants_no_report_of_ends_without_objects(ledger, tmp_path):
    below = FixedScreener(scored(Category.BELOW, analysed_region=(0, 0, 48, 40), attention=((1.0,),)))
    steps, matched = screened(ledger, tmp_path, screener=below, report={"report_on": ["above"]})
    step = steps.advance(steps.screen(matched).case)
    assert isinstance(step.case, Delivered)
    assert step.objects == ()
    assert "report_on" in step.why


def test_a_spool_file_that_is_gone_or_changed_is_a_coded_failure(ledger, tmp_path):
    steps = pipeline(ledger, tmp_path, at=LATE)
    case = receive(ledger, steps.spool)
    path = steps.spool.path(case.source.spool_file)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(GiveUp) as changed:
        steps.look(case)
    assert changed.value.code is FailureCode.SPOOL_MISSING
    path.unlink()
    with pytest.raises(GiveUp) as gone:
        steps.look(case)
    assert gone.value.code is FailureCode.SPOOL_MISSING


def test_all_steps_share_one_header_that_stays_as_received(ledger, tmp_path):
    steps = pipeline(ledger, tmp_path, at=LATE)
    case = receive(ledger, steps.spool)
    films = Films(spool=steps.spool, zone=steps.settings.site.zone)
    header = films.header(case.source)
    received = copy.deepcopy(header)
    reported = steps.advance(steps.screen(steps.match(looked(steps, case)).case).case)
    assert isinstance(reported.case, Reported)
    assert films.header(case.source) is header
    assert header == received
    steps.spool.path(case.source.spool_file).unlink()
    with pytest.raises(GiveUp):
        films.header(case.source)


def test_a_sender_s_character_set_holds_for_its_own_headers_alone(ledger, tmp_path):
    steps = pipeline(ledger, tmp_path, at=LATE)
    source = receive(ledger, steps.spool).source
    declared, redeclared = (
        Films(spool=steps.spool, zone=steps.settings.site.zone, charsets=charsets).header(source)
        for charsets in ({}, {source.calling_ae: ("GBK",)})
    )
    assert (declared.SpecificCharacterSet, redeclared.SpecificCharacterSet) == ("ISO_IR 192", "GBK")


def test_pixels_that_cannot_be_decoded_are_a_coded_failure(ledger, tmp_path):
    steps = pipeline(ledger, tmp_path, at=LATE)
    with pytest.raises(GiveUp) as error:
        steps.look(receive(ledger, steps.spool, radiograph_dataset(Rows=4000)))
    assert error.value.code is FailureCode.PIXEL_DECODE
