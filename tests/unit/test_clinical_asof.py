import dataclasses
import datetime as dt

from hypothesis import given
from hypothesis import strategies as st

from model.asof import Question, coarser_than_a_day, eligible, end_in_use, latest

T0 = dt.datetime(2025, 3, 10, 12, tzinfo=dt.UTC)
DAY = dt.timedelta(days=1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    id: int = 1
    variable: str = "weight"
    usable: bool = True
    start_at: dt.datetime = T0 - DAY
    end_at: dt.datetime = T0 - DAY
    recorded_at: dt.datetime = T0 - DAY
    superseded_at: dt.datetime | None = None


QUESTION = Question(t0=T0, known_at=T0 + DAY, lookback_days={"weight": 365.0})


def test_window_is_closed_at_both_ends():
    assert eligible(Row(end_at=T0), QUESTION)
    assert not eligible(Row(end_at=T0 + dt.timedelta(microseconds=1)), QUESTION)
    assert eligible(Row(end_at=T0 - 365 * DAY), QUESTION)
    assert not eligible(Row(end_at=T0 - 365 * DAY - dt.timedelta(microseconds=1)), QUESTION)


def test_knowledge_begins_with_recording_and_ends_with_replacement():
    assert eligible(Row(recorded_at=QUESTION.known_at), QUESTION)
    assert not eligible(Row(recorded_at=QUESTION.known_at + DAY), QUESTION)
    assert not eligible(Row(superseded_at=QUESTION.known_at), QUESTION)
    assert eligible(Row(superseded_at=QUESTION.known_at + DAY), QUESTION)


def test_unusable_and_unasked_rows_never_serve():
    assert not eligible(Row(usable=False), QUESTION)
    assert not eligible(Row(variable="calcium"), QUESTION)


def test_a_late_row_does_not_hide_an_older_known_one():
    late = Row(id=2, end_at=T0, recorded_at=QUESTION.known_at + DAY)
    assert latest([Row(id=1), late], QUESTION)["weight"].id == 1


def test_date_only_weight_serves_its_own_day_and_a_laboratory_value_does_not():
    day = dt.datetime(2025, 3, 10, tzinfo=dt.UTC)
    assert end_in_use("weight", day, day + DAY) == day
    assert end_in_use("calcium", day, day + DAY) == day + DAY
    assert end_in_use("weight", day, day + dt.timedelta(hours=1)) == day + dt.timedelta(hours=1)
    assert coarser_than_a_day(day, day + 31 * DAY)
    assert not coarser_than_a_day(day, day + dt.timedelta(hours=25))


rows = st.builds(
    Row,
    id=st.integers(0, 9),
    usable=st.booleans(),
    end_at=st.integers(-500, 5).map(lambda d: T0 + d * DAY),
    recorded_at=st.integers(-500, 5).map(lambda d: T0 + d * DAY),
    superseded_at=st.none() | st.integers(-500, 5).map(lambda d: T0 + d * DAY),
)


@given(st.lists(rows, max_size=8))
def test_nothing_after_the_image_is_ever_used_and_the_choice_is_the_last(history):
    chosen = latest(history, QUESTION).get("weight")
    eligible_rows = [r for r in history if eligible(r, QUESTION)]
    assert (chosen is None) == (not eligible_rows)
    if chosen is not None:
        assert chosen.end_at <= T0
        assert chosen.usable
        assert chosen.end_at == max(r.end_at for r in eligible_rows)
