"""What a hard range cannot see: swapped units, body sizes that contradict each other, a feed that drifts.

The swap table is that of clinical-data.md section 8: each swap passes by range, and is stopped by one of checks 1 to 4
where the data allow it.
"""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.dicom_objects import radiograph_dataset
from support.dicom_objects import write as write_dicom
from support.hl7 import HOSP, UTC, identity, when
from support.node_parts import TAKEN, settings

from config.code_file import code_table
from dicom_io.header import instance_reference, read_header
from model.asof import Question
from model.domain import Identifier, MatchClass
from node.case import Source
from node.drift import ENOUGH, drifted, watch_medians
from node.facts import ChangeKind, MergeFact, ObservationFact, PersonFact, StatusFact, Unusable
from node.feeds.hl7_time import Interval
from node.feeds.observations import RawObservation, read_observation
from node.joining import Joiner
from node.plausibility import Measured, judge
from node.store import alerts, clinical, clinical_asof, clinical_merges
from node.store import clinical_persons as persons
from node.store.clinical_medians import FeedValue

SITE = """
[[codes]]
code = "14879-1"
confirmed = true
[[codes]]
code = "14749-6"
confirmed = true
[[codes]]
code = "59261-8"
confirmed = true
[[codes]]
code = "PTH-MOL"
system = "L"
variable = "pth"
units = ["pmol/L"]
"""
TABLE = code_table()


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    file = tmp_path_factory.mktemp("codes") / "codes.toml"
    file.write_text(SITE, encoding="utf-8")
    return code_table(file)


def read(table, code, value, unit, reference="", system="LN"):
    raw = RawObservation(
        patient=Identifier(value="1", authority=HOSP),
        key="k",
        codes=((code, system),),
        value=str(value),
        unit=unit,
        status="F",
        observed=Interval(start=when(), end=when()),
        available_at=when(),
        source="HL7 ORU^R01 1",
        reference=reference,
    )
    return read_observation(raw, table)


SWAPS = [
    # code, system, unit of the label, value and reference range in the unit that is meant
    ("2777-1", "LN", "mg/dL", 1.1, "0.81-1.45"),  # phosphate mmol/L as mg/dL
    ("14879-1", "LN", "mmol/L", 3.5, "2.5-4.5"),  # phosphate mg/dL as mmol/L
    ("68438-1", "LN", "nmol/L", 24, "30-100"),  # 25-OH-D ng/mL as nmol/L
    ("68438-1", "LN", "nmol/L", 24, "20-50"),
    ("62292-8", "LN", "ng/mL", 60, "75-250"),  # 25-OH-D nmol/L as ng/mL
    ("62292-8", "LN", "ng/mL", 60, "50 - 125"),
    ("2731-8", "LN", "pg/mL", 4.5, "1.6-6.9"),  # PTH pmol/L as pg/mL
    ("PTH-MOL", "L", "pmol/L", 45, "15-65"),  # PTH pg/mL as pmol/L
    ("14749-6", "LN", "mmol/L", 95, "70-99"),  # glucose mg/dL as mmol/L
    ("6768-6", "LN", "ukat/L", 60, "35-104"),  # ALP U/L as ukat/L
    ("2160-0", "LN", "mg/dL", 55, "45-84"),  # creatinine umol/L as mg/dL
    ("718-7", "LN", "g/dL", 8.7, "7.4-9.9"),  # haemoglobin mmol/L as g/dL
    ("59261-8", "LN", "mmol/mol", 10, "4.0-5.6"),  # HbA1c % as mmol/mol
]


@pytest.mark.parametrize(("code", "system", "unit", "value", "reference"), SWAPS)
def test_codes_the_swap_table_as_a_regression(site, code, system, unit, value, reference):
    """Passes by range, stopped by check 2."""
    assert read(site, code, value, unit, system=system).usable, "by range alone it passes"
    fact = read(site, code, value, unit, reference, system)
    assert (fact.usable, fact.value, fact.reason) == (False, None, Unusable.REFERENCE)


@pytest.mark.parametrize(
    ("code", "value", "unit"),
    [
        ("2777-1", "3.5", "mmol/L"),
        ("17861-6", "2.4", "mmol/L"),
        ("62292-8", "60", "nmol/L"),
        ("68438-1", "24", "ng/mL"),
        ("2731-8", "5", "pmol/L"),
        ("2345-7", "5.5", "mmol/L"),
        ("2160-0", "80", "umol/L"),
        ("718-7", "8.2", "mmol/L"),
        ("4548-4", "48", "mmol/mol"),
        ("29463-7", "162", "cm"),
    ],
)
def test_check_1_the_unit_must_fit_the_codes_property(code, value, unit):
    assert read(TABLE, code, value, unit).reason == Unusable.UNIT


@pytest.mark.parametrize(
    ("code", "value", "unit"),
    [
        ("8302-2", "1.62", "cm"),
        ("8302-2", "162", "m"),
        ("8302-2", "64", "cm"),
        ("8302-2", "162", "[in_i]"),
        ("17861-6", "2.4", "mg/dL"),
        ("1751-7", "4.1", "g/L"),
        ("1751-7", "41", "g/dL"),
        ("3084-1", "300", "mg/dL"),
        ("2093-3", "5", "mg/dL"),
        ("718-7", "132", "g/dL"),
        ("718-7", "13.2", "g/L"),
    ],
)
def test_what_the_range_alone_catches(code, value, unit):
    assert read(TABLE, code, value, unit).reason == Unusable.RANGE


@pytest.mark.parametrize(
    ("code", "value", "unit", "reference"),
    [
        ("17861-6", "9.6", "mg/dL", "8.5-10.2"),
        ("2777-1", "3.5", "mg/dL", "2.5 - 4.5"),
        ("62292-8", "24", "ng/mL", "30-100"),
        ("62292-8", "24", "ng/mL", "20-50"),
        ("62292-8", "24", "ng/mL", ">20"),
        ("68438-1", "60", "nmol/L", "50-250"),
        ("2731-8", "45", "pg/mL", "15-65"),
        ("2160-0", "0.9", "mg/dL", "0.50-0.90"),
        ("6768-6", "80", "U/L", "35-104"),
        ("6768-6", "1.2", "ukat/L", "0.58-1.74"),
        ("6768-6", "80", "U/L", "0-120"),
        ("1751-7", "41", "g/L", "35-52"),
        ("718-7", "13.2", "g/dL", "11.7-15.5"),
        ("718-7", "145", "g/L", "135-175"),
        ("2345-7", "95", "mg/dL", "70-199"),
        ("4548-4", "6.5", "%", "4.0\u20135.6"),
        ("3084-1", "5", "mg/dL", "2.4-5.7"),
        ("17861-6", "9.6", "mg/dL", "see comment"),
        ("17861-6", "9.6", "mg/dL", "negative"),
    ],
)
def test_check_2_a_right_reference_range_or_one_that_cannot_be_read_stops_nothing(code, value, unit, reference):
    assert read(TABLE, code, value, unit, reference).usable


def days(number):
    return dt.datetime(2025, 3, 1, 8, tzinfo=UTC) + dt.timedelta(days=number)


def series(*values, start=0):
    return [Measured(id=start + n, at=days(n), value=v) for n, v in enumerate(values)]


def test_check_3_pounds_as_kilograms_contradict_the_patients_other_weights():
    assert judge(series(70.0, 154.0, 71.0), []) == {1: Unusable.WEIGHT_JUMP}
    assert judge(series(70.0, 31.8), []) == dict.fromkeys((0, 1), Unusable.WEIGHT_JUMP), "which one is wrong?"
    assert judge(series(70.0, 70.0, 154.0, 154.0), []) == dict.fromkeys(range(4), Unusable.WEIGHT_JUMP)
    assert judge(series(70.0, 90.9, 60.0), []) == {}, "within 30 per cent of half of the others"


def test_check_3_holds_within_30_days_only():
    old = Measured(id=1, at=days(-31), value=100.0)
    assert judge([old, Measured(id=2, at=days(0), value=70.0)], []) == {}
    assert judge([old, Measured(id=2, at=days(-1), value=70.0)], []).keys() == {1, 2}


def test_check_3_an_adult_does_not_grow():
    assert judge([], series(162.0, 163.0, 182.0)) == {2: Unusable.HEIGHT_JUMP}
    assert judge([], series(162.0, 156.0)) == {}, "6 cm"
    assert judge([], series(162.0, 155.9)).keys() == {0, 1}
    lost = [Measured(id=1, at=days(-2000), value=168.0), Measured(id=2, at=days(0), value=160.0)]
    assert judge([], lost) == {}, "vertebral fractures over years"


def each_with_each(weights, heights):
    """The rule of section 8 word for word, at the price of comparing each value with each."""
    found = {}
    for values, window, reason, agree in (
        (weights, 30, Unusable.WEIGHT_JUMP, lambda a, b: max(a, b) <= 1.3 * min(a, b)),
        (heights, 1826, Unusable.HEIGHT_JUMP, lambda a, b: abs(a - b) <= 6),
    ):
        for m in values:
            near = [o for o in values if o is not m and abs(o.at - m.at) <= dt.timedelta(days=window)]
            if 2 * sum(agree(m.value, o.value) for o in near) < len(near):
                found[m.id] = reason
    sound = [[m for m in values if m.id not in found] for values in (weights, heights)]
    for own, others, index in (
        (*sound, lambda w, h: w / (h / 100) ** 2),
        (*reversed(sound), lambda h, w: w / (h / 100) ** 2),
    ):
        for m in own:
            if 2 * sum(10 <= index(m.value, o.value) <= 80 for o in others) < len(others):
                found[m.id] = Unusable.BMI
    return found


def drawn(values, first):
    rows = st.lists(st.tuples(st.integers(0, 70), values), max_size=9)
    return rows.map(lambda rows: [Measured(id=first + n, at=days(d), value=v) for n, (d, v) in enumerate(rows)])


body_weights = st.sampled_from([25.0, 31.8, 55.0, 70.0, 71.5, 91.0, 154.0, 300.0]) | st.floats(25, 300)
body_heights = st.sampled_from([100.0, 150.0, 156.0, 162.0, 168.0, 230.0]) | st.floats(100, 230)


@given(drawn(body_weights, 0), drawn(body_heights, 100))
def test_the_sorted_count_says_what_comparing_each_with_each_says(weights, heights):
    assert judge(weights, heights) == each_with_each(weights, heights)


@pytest.mark.timeout(60)
def test_twenty_thousand_weights_of_one_patient_in_one_message_do_not_hold_up_the_feed():
    """Comparing each with each took minutes; the time limit is a hundred times what it takes now."""
    minute = dt.timedelta(minutes=1)
    weights = [Measured(id=n, at=days(0) + n * minute, value=154.0 if n % 4 == 0 else 70.0) for n in range(20_000)]
    heights = [Measured(id=-n, at=days(0) + n * minute, value=165.0) for n in range(1, 20_000)]
    assert judge(weights, heights).keys() == set(range(0, 20_000, 4))


def test_check_4_weight_and_height_must_make_a_body():
    assert judge(series(250.0), series(150.0, start=10)) == dict.fromkeys((0, 10), Unusable.BMI)
    assert judge(series(70.0, 70.0, 71.0), series(162.0, 163.0, start=10)) == {}
    assert judge(series(26.0), series(162.0, start=10)).keys() == {0, 10}, "9.9 kg/m2"


sizes = st.lists(st.sampled_from([55.0, 60.0, 70.0, 71.0, 154.0, 31.8]), max_size=7)


@given(sizes, st.randoms())
def test_the_order_of_arrival_does_not_matter(values, random):
    rows = series(*values)
    mixed = random.sample(rows, len(rows))
    assert judge(mixed, []) == judge(rows, [])


@given(st.floats(40, 100), st.lists(st.floats(0.95, 1.05), min_size=1, max_size=8))
def test_a_steady_patient_is_never_doubted(base, factors):
    height = [Measured(id=99, at=days(0), value=165.0)]
    assert judge(series(*(base * f for f in factors)), height) == {}


# --- in the ledger --------------------------------------------------------------------------------------------------


def fact(value, day, *, variable="weight", key="", patient="100001", reason="", usable=True):
    at = days(day)
    return ObservationFact(
        patient=Identifier(value=patient, authority=HOSP),
        key=key or f"HL7|{variable}|{day}",
        variable=variable,
        raw_value=str(value),
        raw_unit="",
        value=value,
        unit=TABLE.variables[variable].unit,
        observed_start=at,
        observed_end=at,
        available_at=at,
        usable=usable,
        reason=reason,
        source="HL7 ORU^R01 1",
    )


def write(c, *facts, hour=0):
    return clinical.apply(c, facts, when(20, hour))


def used(c, hour=23):
    """What a case of 15 March 2025 would use, as known at `hour` of the 20th."""
    (known,) = persons.find(c, "100001")
    question = Question(t0=days(14), known_at=when(20, hour), lookback_days={"weight": 365.0, "height": 1826.0})
    return {o.variable: o.value for o in clinical_asof.observations_as_of(c, (known.person_key,), question)}


def test_a_contradicted_weight_is_not_used_and_comes_back_when_a_third_bears_it_out(ledger):
    with ledger.begin() as c:
        assert [x.kind for x in write(c, fact(70.0, 1)).changes] == [ChangeKind.NEW_VALUE]
        assert used(c) == {"weight": 70.0}
        applied = write(c, fact(154.0, 2), hour=1)
        assert ChangeKind.CORRECTED in {x.kind for x in applied.changes}, "the first one, that a report may rest on"
        assert used(c) == {}
        write(c, fact(71.0, 3), hour=2)
        assert used(c) == {"weight": 71.0}
        assert used(c, hour=0) == {"weight": 70.0}, "back-tests see what was known then"
        assert used(c, hour=1) == {}


def test_resending_writes_nothing_also_when_a_value_is_doubted(ledger):
    with ledger.begin() as c:
        write(c, fact(70.0, 1), fact(154.0, 2))
        again = write(c, fact(154.0, 2), fact(70.0, 1), hour=1)
        assert (again.written, again.changes) == (0, ())


def test_a_voided_weight_no_longer_contradicts(ledger):
    with ledger.begin() as c:
        write(c, fact(70.0, 1), fact(154.0, 2))
        assert used(c) == {}
        write(c, fact(None, 2, usable=False, reason=Unusable.WRONG_PATIENT), hour=1)
        assert used(c) == {"weight": 70.0}


def test_other_patients_and_other_variables_are_left_alone(ledger):
    with ledger.begin() as c:
        write(c, fact(70.0, 1), fact(154.0, 2, patient="200002", key="other"))
        write(c, fact(2.4, 1, variable="calcium"), fact(165.0, 1, variable="height"), hour=1)
        assert used(c) == {"weight": 70.0, "height": 165.0}


def merged(c, hour=1):
    survivor, prior = (Identifier(value=v, authority=HOSP) for v in ("100001", "200002"))
    return clinical.apply(c, (MergeFact(survivor=survivor, prior=prior),), when(20, hour))


def test_a_merge_holds_both_records_values_against_each_other_and_its_undoing_lets_them_go(ledger):
    with ledger.begin() as c:
        write(c, fact(70.0, 1), fact(154.0, 2, patient="200002", key="other"))
        assert used(c) == {"weight": 70.0}
        assert ChangeKind.CORRECTED in {x.kind for x in merged(c).changes}
        assert used(c) == {}
        changes = clinical_merges.undo_merge(c, clinical_merges.merges(c)[0].id, when(20, 2))
        assert ChangeKind.NEW_VALUE in {x.kind for x in changes}
        assert used(c) == {"weight": 70.0}


def test_a_merge_of_persons_born_apart_combines_nothing(ledger):
    with ledger.begin() as c:
        for value, year in (("100001", 1948), ("200002", 1951)):
            who = identity(value, born=dt.date(year, 3, 12))
            write(c, PersonFact(identity=who, valid_since=days(0)))
        write(c, fact(70.0, 1), fact(154.0, 2, patient="200002", key="other"))
        merged(c)
        assert used(c) == {"weight": 70.0}


def test_u_makes_the_preliminary_value_final(ledger):
    kept = fact(70.0, 1, usable=False, reason=Unusable.STATUS)
    final = StatusFact(patient=kept.patient, key=kept.key, available_at=days(2), source="HL7 ORU^R01 2")
    with ledger.begin() as c:
        write(c, kept)
        assert used(c) == {}
        applied = write(c, final, hour=1)
        assert used(c) == {"weight": 70.0}
        assert [x.kind for x in applied.changes] == [ChangeKind.NEW_VALUE]
        assert write(c, final, hour=2).written == 0
        assert write(c, StatusFact(**{**_fields(final), "key": "unknown"}), hour=3).written == 0


def _fields(final):
    return {name: getattr(final, name) for name in ("patient", "key", "available_at", "source")}


# --- drift ----------------------------------------------------------------------------------------------------------


def test_check_5_a_feeds_median_tells_that_its_unit_changed(ledger):
    with ledger.begin() as c:
        write(c, *(fact(154.0 + n % 7, n, patient=f"3000{n:02d}", key=f"HL7|{n}") for n in range(ENOUGH)))
        write(c, *(fact(70.0, n, patient=f"4000{n:02d}", key=f"CSV|ward|{n}") for n in range(ENOUGH)))
    watch_medians(ledger, TABLE)
    watch_medians(ledger, TABLE)
    with ledger.read() as c:
        (alert,) = alerts.find(c)
    assert (alert.kind, alert.subject, alert.count) == ("UNIT_DRIFT", "feed HL7 weight", 2)


@pytest.mark.parametrize(
    ("variable", "usual", "swapped"),
    [
        ("weight", 72.0, 72.0 / 0.4536),
        ("weight", 72.0, 72.0 * 0.4536),
        ("phosphate", 1.1, 3.4),
        ("phosphate", 1.1, 0.36),
        ("vitamin_d", 55.0, 22.0),
        ("vitamin_d", 55.0, 137.0),
        ("pth", 48.0, 5.1),
        ("pth", 48.0, 452.0),
        ("glucose", 5.8, 104.0),
        ("haemoglobin", 130.0, 81.0),
        ("hba1c", 5.9, 2.7),
    ],
)
def test_check_5_tells_the_swaps_that_pass_by_range(variable, usual, swapped):
    def values(level, count=ENOUGH):
        return [FeedValue(feed="HL7", variable=variable, value=level * (0.9 + 0.2 * n / count)) for n in range(count)]

    assert drifted(values(usual), TABLE) == ()
    assert drifted(values(swapped), TABLE) == (("HL7", variable),)
    assert drifted(values(swapped, ENOUGH - 1), TABLE) == (), "too few"
    assert drifted(values(usual, 200) + values(swapped, 200), TABLE) == (), "the newest count"


# --- the confirmation -----------------------------------------------------------------------------------------------


RECEIVED = when(20)


def joined(ledger, folder, received_at=RECEIVED, **codes):
    dataset = radiograph_dataset(PatientName="MÜLLER^ANNA", IssuerOfPatientID="HOSP")
    header = read_header(write_dicom(folder / "film.dcm", dataset))
    with ledger.begin() as c:
        who = identity(str(dataset.PatientID), born=None)
        person = PersonFact(identity=who, valid_since=TAKEN - dt.timedelta(days=50))
        day = (TAKEN - days(0)).days - 10
        clinical.apply(c, (person, fact(70.0, day, patient=str(dataset.PatientID))), TAKEN - dt.timedelta(days=1))
        joiner = Joiner(settings=settings(clinical={"codes": codes}), required=("weight", "age"), narrowed_days={})
        return joiner.join(c, _source(dataset, received_at), header, known_at=RECEIVED)


def _source(dataset, received_at):
    return Source(
        reference=instance_reference(dataset), spool_file="x", digest="", calling_ae="MODALITY", received_at=received_at
    )


def test_until_the_table_is_confirmed_results_are_image_only_with_the_reason(ledger, tmp_path):
    for codes in ({}, {"confirmed_by": "A. Person"}, {"confirmed_by": "A. Person", "confirmed_version": "2020-01+0"}):
        found = joined(ledger, tmp_path, **codes)
        assert found.record.match is MatchClass.CODES_UNCONFIRMED
        assert found.record.observations == ()
        assert found.missing == (), "nothing that could come would be used: no waiting"
    signed = joined(ledger, tmp_path, confirmed_by="A. Person", confirmed_version=TABLE.version)
    assert signed.record.match is MatchClass.MATCH_ISSUER
    assert signed.record.value("weight") == 70.0


def test_a_modality_whose_clock_runs_ahead_lets_no_value_in_that_came_after_its_image(ledger, tmp_path):
    signed = {"confirmed_by": "A. Person", "confirmed_version": TABLE.version}
    assert joined(ledger, tmp_path, TAKEN - dt.timedelta(days=9), **signed).record.value("weight") == 70.0
    assert joined(ledger, tmp_path, TAKEN - dt.timedelta(days=11), **signed).record.value("weight") is None
