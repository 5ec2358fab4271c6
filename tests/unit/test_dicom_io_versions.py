"""What a further version of a report takes over: series, predecessors, a later time; and what the walker refuses."""

from __future__ import annotations

import dataclasses
import datetime as dt
from io import BytesIO

import pytest
from pydicom import dcmread
from support.report_cases import SIMULATED_MODEL, context, header, radiograph, scored

from dicom_io.reference_header import reference_header
from dicom_io.report_check import ReportInvalid, check_report
from dicom_io.results import build_results
from dicom_io.versions import Amends, EarlierDocument, amends
from model.domain import Mode

FIRST_AT = dt.datetime(2026, 4, 4, 8, 20, 31, tzinfo=dt.UTC)
LATER = FIRST_AT + dt.timedelta(minutes=7)


@pytest.fixture(scope="module")
def first():
    """The SR of a first, image-only report."""
    return build_results(header(), radiograph(), scored(mode=Mode.IMAGE_ONLY), context(at=FIRST_AT, with_page=False))[
        -1
    ]


def earlier(first, *, released=True):
    return [EarlierDocument(part10=first.part10, released=released)]


def test_the_first_version_and_its_time_are_read_from_its_bytes(first):
    taken = amends(2, earlier(first))
    document = dcmread(BytesIO(first.part10))
    assert [p[1] for p in taken.predecessors] == [first.sop_instance_uid]
    assert taken.previous_at == taken.replaced_at == FIRST_AT
    assert dict(taken.series)["SeriesTime"] == document.SeriesTime
    assert taken.series_description == document.SeriesDescription


def test_content_time_is_later_also_when_the_clock_was_set_back(first):
    taken = amends(2, earlier(first))
    assert taken.not_before(LATER) == LATER
    assert taken.not_before(FIRST_AT - dt.timedelta(hours=1)) == FIRST_AT + dt.timedelta(seconds=1)


def test_an_unreleased_version_is_not_named_but_its_series_goes_on(first):
    taken = amends(2, earlier(first, released=False))
    assert taken.predecessors == ()
    assert taken.replaced_at is None
    page, sr = build_results(header(), radiograph(), scored(), context(at=LATER, amends=taken))
    document = dcmread(BytesIO(sr.part10))
    assert "PredecessorDocumentsSequence" not in document
    assert document.InstanceNumber == 2
    assert dcmread(BytesIO(page.part10)).SeriesDescription.startswith("v2 ")


def test_software_versions_stay_truthful_while_the_series_stays_the_same(first):
    taken = amends(2, earlier(first))
    new = context(at=LATER, amends=taken, node_version="9.0", site_name="Renamed Hospital", with_page=False)
    sr = dcmread(BytesIO(build_results(header(), radiograph(), scored(), new)[-1].part10))
    old = dcmread(BytesIO(first.part10))
    assert sr.SoftwareVersions[0] == "node 9.0"
    assert sr.InstitutionName == old.InstitutionName == "St. Example Hospital"


def test_without_any_earlier_document_nothing_is_taken_over():
    taken = amends(2, [])
    assert (taken.series, taken.predecessors, taken.previous_at) == ((), (), None)
    assert taken.not_before(LATER) == LATER


def test_the_same_inputs_and_predecessors_give_the_same_uids_others_do_not(first):
    named, unnamed = (amends(2, earlier(first, released=r)) for r in (True, False))
    made = [
        [o.sop_instance_uid for o in build_results(header(), radiograph(), scored(), context(at=at, amends=a))]
        for at, a in ((LATER, named), (LATER + dt.timedelta(days=1), named), (LATER, unnamed))
    ]
    assert made[0] == made[1]
    assert not set(made[0]) & set(made[2])


def test_the_walker_refuses_a_document_that_does_not_name_its_predecessor(first):
    taken = amends(2, earlier(first))
    sr = build_results(header(), radiograph(), scored(), context(at=LATER, amends=taken, with_page=False))[-1]
    reference = reference_header(header())

    def check(taken: Amends) -> None:
        check_report(sr.part10, {}, reference=reference, result=scored(), context=context(amends=taken))

    check(taken)
    with pytest.raises(ReportInvalid, match="I7 predecessor documents"):
        check(dataclasses.replace(taken, predecessors=()))
    with pytest.raises(ReportInvalid, match="I7 Instance Number"):
        check(dataclasses.replace(taken, version=3))


def test_a_simulated_model_does_not_write_into_a_series_that_does_not_say_so(first):
    taken = amends(2, earlier(first))
    with pytest.raises(ReportInvalid, match="simulated"):
        build_results(header(), radiograph(), scored(model=SIMULATED_MODEL), context(at=LATER, amends=taken))
