"""The rules that compare what a report rests on with what would be used now; pure, so as properties."""

from __future__ import annotations

import dataclasses
import datetime as dt

from hypothesis import given
from hypothesis import strategies as st
from support.report_cases import MODEL, scored

from model.domain import ClinicalInput, MatchClass, Mode, NotAssessed, Reason
from node.amendment import Available, Finding, Used, compare, difference, review_code, within, would_differ

T0 = dt.datetime(2026, 3, 1, 8, tzinfo=dt.UTC)


@st.composite
def results(draw):
    """A result of any match and mode, with an age and perhaps a weight."""
    weight = draw(st.sampled_from([None, 50.0, 61.5, 80.0]))
    match = draw(st.sampled_from([MatchClass.MATCH_ISSUER, MatchClass.MATCH_DEMOG, MatchClass.UNKNOWN_PATIENT]))
    fused = weight is not None and match.joins
    inputs = (
        ClinicalInput(variable="age", value=draw(st.sampled_from([70.0, 71.0])), unit="a"),
        ClinicalInput(
            variable="weight",
            value=weight if fused else None,
            unit="kg",
            source=draw(st.sampled_from(["HL7 ORU^R01 1", "CSV 3:14"])),
            observed_at=draw(st.sampled_from([T0, T0 + dt.timedelta(days=1)])) if fused else None,
        ),
    )
    model = draw(st.sampled_from([MODEL, dataclasses.replace(MODEL, bundle_id="next", image_sha256="00" * 32)]))
    return scored(mode=Mode.IMAGE_AND_CLINICAL if fused else Mode.IMAGE_ONLY, match=match, inputs=inputs, model=model)


persons = st.sampled_from([(), (1,), (1, 2), (2,)])


@given(results(), results(), persons, persons, st.booleans())
def test_late_data_only_ever_add(before, now, were, are, standing):
    used, available = Used(result=before, persons=were, standing=standing), Available(result=now, persons=are)
    if compare(used, available) is Finding.LATE:
        assert now.mode is Mode.IMAGE_AND_CLINICAL
        assert would_differ(used, now)
        if before.mode is Mode.IMAGE_AND_CLINICAL:
            assert standing
            assert not were or set(were) == set(are)


@given(results(), persons, st.booleans())
def test_the_same_evidence_is_no_finding_whatever_the_model_says(before, were, standing):
    other = dataclasses.replace(before, model=dataclasses.replace(MODEL, version="9"), p_image=0.5)
    used = Used(result=before, persons=were, standing=standing)
    if before.mode is Mode.IMAGE_ONLY or before.match.joins:
        assert compare(used, Available(result=other, persons=were)) is Finding.SAME
        assert not would_differ(used, other)
        assert difference(before, other) == ""


@given(results(), results(), persons)
def test_what_is_found_is_a_function_of_the_evidence(before, now, are):
    used = Used(result=before, persons=are, standing=True)
    first, second = (Available(result=now, persons=p) for p in (are, tuple(reversed(are))))
    assert compare(used, first) is compare(used, second)
    assert first.digest == second.digest


@given(results(), persons)
def test_what_could_no_longer_be_assessed_is_always_for_a_person(before, were):
    now = Available(result=NotAssessed(reasons=(Reason.AGE_UNDER,)), persons=were)
    used = Used(result=before, persons=were, standing=True)
    assert compare(used, now) is Finding.CHANGED
    assert review_code(used, now) == "NOT-ASSESSABLE"


@given(st.floats(0, 1e6), st.floats(-10, 2e6))
def test_the_window_counts_from_the_first_report(window, seconds):
    assert within(T0, T0 + dt.timedelta(seconds=seconds), window) == (
        dt.timedelta(seconds=seconds).total_seconds() <= window
    )


@given(results(), results())
def test_what_changed_names_no_value(before, now):
    text = difference(before, now)
    assert not any(figure in text for figure in ("50.0", "61.5", "80.0", "70.0", "71.0"))
