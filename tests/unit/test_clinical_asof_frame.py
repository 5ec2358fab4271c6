"""The as-of join in SQL (serving) and in pandas (training): equal on random histories; and the labels beside it."""

import datetime as dt
import random
from zoneinfo import ZoneInfo

import pandas as pd
import sqlalchemy as sa

from config import codes
from model import asof
from model.train.asof_frame import OBSERVATION_COLUMNS, as_history, as_of, known_at, prepared, wide
from node.store.clinical_asof import observations_as_of
from node.store.clinical_schema import observation, person, person_identifier
from node.store.engine import open_ledger

BERLIN = ZoneInfo("Europe/Berlin")
UTC = dt.UTC
STUDIES = 4_000
"""Each asked for every variable of `LOOKBACK`: 16,000 cases."""
PERSONS = 120
LOOKBACK = {"weight": 365.0, "calcium": 180.0, "albumin": 30.0, "ever": asof.EVER_DAYS}
FIRST = dt.datetime(2025, 3, 1, tzinfo=BERLIN)
"""The histories run over both changes of the clock of 2025 (30 March, 26 October)."""


def moment(rng):
    """A minute of 2025 in the local zone: few distinct ones, so that ties are common."""
    local = FIRST + dt.timedelta(days=rng.randrange(260), hours=rng.randrange(24), minutes=rng.choice((0, 30)))
    return local.astimezone(UTC)


def history(rng, number):
    """One stated value: an instant, a local day or a month; known at once or late; often replaced later."""
    start = moment(rng)
    kind = rng.random()
    if kind < 0.4:
        day = start.astimezone(BERLIN).replace(hour=0, minute=0)
        start, end = day.astimezone(UTC), (day + dt.timedelta(days=1)).astimezone(UTC)
    elif kind < 0.5:
        month = start.astimezone(BERLIN).replace(day=1, hour=0, minute=0)
        start, end = month.astimezone(UTC), (month + dt.timedelta(days=32)).replace(day=1).astimezone(UTC)
    else:
        end = start + rng.choice((dt.timedelta(), dt.timedelta(minutes=1)))
    late = dt.timedelta(days=rng.randrange(1, 60)) if rng.random() < 0.15 else dt.timedelta(minutes=5)
    recorded = end + late
    return {
        "id": number,
        "patient": rng.randrange(1, PERSONS + 1),
        "variable": rng.choice(tuple(LOOKBACK)),
        "value": float(number),
        "usable": rng.random() < 0.95,
        "start_at": start,
        "stated_end_at": end,
        "available_at": end,
        "recorded_at": recorded,
        "superseded_at": recorded + dt.timedelta(days=rng.randrange(1, 30)) if rng.random() < 0.1 else None,
    }


def store(c, rows):
    """Rows of the ledger as the writer makes them, with the frame's numbers."""
    at = dt.datetime(2025, 1, 1, tzinfo=UTC)
    everybody = range(1, PERSONS + 1)
    c.execute(sa.insert(person), [{"id": p, "recorded_at": at} for p in everybody])
    identifiers = [
        {"id": p, "person_id": p, "value": str(p), "namespace": "H", "universal_id": "", "universal_id_type": ""}
        for p in everybody
    ]
    c.execute(sa.insert(person_identifier), [i | {"recorded_at": at} for i in identifiers])
    text = {"raw_value": "", "raw_unit": "", "unit": "u", "reason": "", "code": "", "source": "s"}
    c.execute(
        sa.insert(observation),
        [
            {name: value for name, value in row.items() if name != "patient"}
            | text
            | {"identifier_id": row["patient"], "key": str(row["id"])}
            for row in rows
        ],
    )


def questions(rng, count):
    for case in range(count):
        t0 = moment(rng)
        yield {"study": case, "patient": rng.randrange(1, PERSONS + 1), "t0": t0}


def by_sql(ledger, rows, studies):
    """What the serving side answers: (study, variable) -> (observation, age in days)."""
    stored = rows.astype(object).where(rows.notna(), None)
    with ledger.begin() as c:
        store(c, [{k: python(v) for k, v in row.items()} for row in stored.to_dict("records")])
    found = {}
    with ledger.read() as c:
        for study, patient, t0, at in studies.itertuples(index=False):
            question = asof.Question(t0=t0.to_pydatetime(), known_at=at.to_pydatetime(), lookback_days=LOOKBACK)
            for o in observations_as_of(c, [patient], question):
                found[study, o.variable] = (o.observation_id, o.age_days)
    return found


def random_cases(seed, count):
    rng = random.Random(seed)
    rows = prepared(pd.DataFrame([history(rng, n) for n in range(1, 6_001)]), LOOKBACK)
    studies = pd.DataFrame(list(questions(rng, count)))
    return rows, studies.assign(known_at=known_at(studies["t0"], dt.timedelta(minutes=10)))


def mismatches(frame, sql):
    columns = frame[["study", "variable", "id", "age_days"]].itertuples(index=False)
    by_frame = {(study, variable): (number, age) for study, variable, number, age in columns}
    differ = [k for k in by_frame.keys() | sql.keys() if by_frame.get(k, (0,))[0] != sql.get(k, (0,))[0]]
    return differ + [k for k, (_, age) in sql.items() if k in by_frame and abs(by_frame[k][1] - age) > 1e-9]


def test_sql_equals_pandas_zero_mismatches(tmp_path):
    """16,000 random cases with late, superseded, tied, date-only and month-only rows, and both changes of the clock."""
    rows, studies = random_cases(4, STUDIES)
    found = as_of(studies, rows, LOOKBACK)
    ledger = open_ledger(tmp_path / "ledger.db")
    answered = by_sql(ledger, rows, studies)
    ledger.close()
    assert len(studies) * len(LOOKBACK) >= 10_000
    assert len(answered) > 5_000
    assert mismatches(found, answered) == []
    later = studies.assign(known_at=pd.Timestamp(2026, 12, 31, tz=UTC))
    assert mismatches(as_of(later, rows, LOOKBACK), answered), "the cases hold rows that were not known in time"


def test_both_databases_answer_alike(ledger):
    rows, studies = random_cases(5, 300)
    assert mismatches(as_of(studies, rows, LOOKBACK), by_sql(ledger, rows, studies)) == []


def python(value):
    return value.to_pydatetime() if isinstance(value, pd.Timestamp) else value


def at(day, hour=12, month=3):
    return dt.datetime(2025, month, day, hour, tzinfo=UTC)


def frame(*rows):
    base = {"patient": "p", "variable": "weight", "usable": True, "superseded_at": None}
    made = []
    for number, row in enumerate(rows, start=1):
        end = row.get("end_at", at(1))
        made.append(
            {**base, "id": number, "value": float(number), "start_at": end, "end_at": end, "recorded_at": end, **row}
        )
    return pd.DataFrame(made).astype({"superseded_at": "datetime64[us, UTC]"})


def study(t0, *, patient="p", known=None, name="s"):
    return pd.DataFrame(
        [{"study": name, "patient": patient, "t0": t0, "known_at": known or t0 + dt.timedelta(minutes=10)}]
    )


def used(studies, rows, lookback=LOOKBACK):
    return as_of(studies, rows, lookback)["id"].tolist()


def test_nothing_after_t0():
    assert used(study(at(2)), frame({"end_at": at(2)}, {"end_at": at(2, 13)})) == [1]


def test_late_row_excluded_from_training_and_an_older_known_one_found():
    rows = frame({"end_at": at(1)}, {"end_at": at(2), "recorded_at": at(20)})
    assert used(study(at(3)), rows) == [1]
    assert used(study(at(3), known=at(21)), rows) == [2]


def test_a_replaced_row_serves_what_was_known_before_its_replacement():
    rows = frame({"end_at": at(1), "superseded_at": at(5)}, {"end_at": at(1), "recorded_at": at(5)})
    assert used(study(at(3)), rows) == [1]
    assert used(study(at(6)), rows) == [2]


def test_empty_keys_never_join():
    """`merge` and `merge_asof` join None to None: two patients without ID would receive each other's values."""
    rows = frame({"patient": None}, {"patient": ""}, {"patient": "p"})
    for nobody in (None, ""):
        assert used(study(at(3), patient=nobody), rows) == []
    assert used(pd.concat([study(at(3), patient=None), study(at(3))]), rows) == [3]


def test_date_only_same_day():
    """A weight dated on the study's day may serve it, a laboratory value may not: it may follow from the image."""
    day, end = at(10, 0), at(11, 0)
    stated = frame({"start_at": day}, {"start_at": day, "variable": "calcium"}).assign(stated_end_at=end)
    rows = prepared(stated, LOOKBACK).assign(recorded_at=day)
    assert used(study(at(10)), rows) == [1]
    assert sorted(used(study(at(11, 0)), rows)) == [1, 2]


def test_coarser_than_a_day_serves_only_ever_before_variables():
    stated = frame({"start_at": at(1, 0)}, {"start_at": at(1, 0), "variable": "ever"}).assign(
        stated_end_at=at(1, 0, month=4)
    )
    rows = prepared(stated, LOOKBACK).assign(recorded_at=at(1))
    assert used(study(at(1, month=5)), rows) == [2]


def test_history_is_known_when_it_was_available():
    """Rows loaded years later: a back-test knows them from `available_at`, and until their correction was available."""
    loaded = at(1, month=12)
    first = {"key": "k", "end_at": at(1), "available_at": at(2), "recorded_at": loaded, "superseded_at": loaded}
    rows = frame(first, {"key": "k", "end_at": at(1), "available_at": at(8), "recorded_at": loaded})
    assert used(study(at(5)), rows) == []
    assert used(study(at(5)), as_history(rows)) == [1]
    assert used(study(at(1, 13)), as_history(rows)) == []
    assert used(study(at(9)), as_history(rows)) == [2]


def test_merged_persons_serve_one_study_together():
    rows = frame({"patient": "old", "end_at": at(1)}, {"patient": "new", "end_at": at(2)})
    both = pd.concat([study(at(3), patient="old"), study(at(3), patient="new")])
    assert used(both, rows) == [2]
    assert used(study(at(3), patient="old"), rows) == [1]


def test_look_back_per_variable_and_ages_passed_on():
    rows = frame({"variable": "albumin"}, {"variable": "calcium"})
    studies = study(at(30))
    found = as_of(studies, rows, LOOKBACK)
    assert found["age_days"].tolist() == [29.0, 29.0]
    later = study(at(2, month=4))
    assert as_of(later, rows, LOOKBACK)["variable"].tolist() == ["calcium"]
    table = wide(as_of(later, rows, LOOKBACK), later["study"], ("albumin", "calcium"))
    assert table.loc["s", ["albumin_missing", "calcium_missing"]].tolist() == [True, False]
    assert table.loc["s", "calcium_age_days"] == 32.0


def test_without_rows_or_studies_there_is_nothing():
    assert as_of(study(at(3)), frame({}).iloc[:0], LOOKBACK).empty
    assert as_of(study(at(3)).iloc[:0], frame({}), LOOKBACK).empty
    assert as_of(study(at(3)), frame({}), {}).empty


def test_look_backs_come_from_the_code_table_and_settings_and_a_bundle_may_only_narrow():
    allowed = {"weight": 365.0, "height": 1826.0, "calcium": 365.0}
    found = asof.lookbacks(allowed, {"height": 3650.0}, {"weight": 730.0, "calcium": 180.0, "other": 1.0})
    assert found == {"weight": 365.0, "height": 3650.0, "calcium": 180.0}


def test_ever_before_is_one_number():
    assert asof.EVER_DAYS == codes.EVER_DAYS


def test_the_columns_are_those_of_the_ledger():
    assert set(OBSERVATION_COLUMNS) - {"patient"} <= set(observation.c.keys())
