"""What may reach a model and what may not: the allow-list of features, and the DXA label that stays apart from it."""

import datetime as dt

import pandas as pd
import pytest
import sqlalchemy as sa

from config import codes
from config.code_file import code_table
from model import asof
from model.clinical import REQUIRED
from model.domain import AssigningAuthority, Identifier
from model.screener import load_screener
from model.train.dxa_label import labels
from node.facts import DxaFact, ExposureFact
from node.store import clinical
from node.store.clinical_asof import observations_as_of
from node.store.clinical_schema import observation


def at(day, hour=12):
    return dt.datetime(2025, 3, day, hour, tzinfo=dt.UTC)


def study(t0, *, patient="p"):
    return pd.DataFrame([{"study": "s", "patient": patient, "t0": t0}])


def t_score(patient, region, value, day=0, **changes):
    base = {"patient": patient, "region": region, "t_score": value, "observed_at": at(1) + dt.timedelta(days=day)}
    return {**base, "usable": True, "superseded_at": pd.NaT, **changes}


def label(*results):
    found = labels(study(at(1)), pd.DataFrame(list(results)))
    return None if found.empty else found.to_dict("records")[0]


def test_label_is_the_lowest_t_of_lumbar_femoral_neck_and_total_hip_within_180_d_later_allowed():
    scores = (
        t_score("p", "lumbar", -1.0),
        t_score("p", "femoral_neck", -2.6, 170),
        t_score("p", "total_hip", -2.0, -20),
    )
    assert label(*scores) == {
        "study": "s",
        "t_lowest": -2.6,
        "region": "femoral_neck",
        "osteoporosis": True,
        "distance_days": 170.0,
    }
    assert label(*scores, t_score("p", "forearm", -4.0), t_score("p", "femur", -4.0))["t_lowest"] == -2.6
    assert label(t_score("p", "lumbar", -2.5, 180))["osteoporosis"]
    assert label(t_score("p", "lumbar", -2.4, -180))["osteoporosis"] is False


@pytest.mark.parametrize(
    "result",
    [
        t_score("p", "lumbar", -3.0, 181),
        t_score("p", "lumbar", -3.0, -181),
        t_score("q", "lumbar", -3.0),
        t_score("p", "lumbar", -3.0, usable=False),
        t_score("p", "lumbar", None),
        t_score("p", "lumbar", -3.0, superseded_at=pd.Timestamp(at(9))),
    ],
)
def test_what_is_no_truth_labels_nothing(result):
    assert label(result) is None


FORBIDDEN = (
    "dxa",
    "t_score",
    "z_score",
    "bmd",
    "frax",
    "osteopor",
    "drug",
    "bisphosph",
    "m05b",
    "score",
    "probability",
)


def test_no_dxa_frax_or_drug_column_in_features():
    """Walks the allow-list from the code table to the model: what is not on it is asked for by nobody."""
    table = code_table()
    everything = asof.lookbacks(table.lookback_days, {}, {})
    bundle = load_screener(None).bundle.manifest.eligibility
    inputs = {*bundle.required_variables, *bundle.optional_variables, *REQUIRED, *everything}
    assert "weight" in inputs
    assert not [name for name in inputs for word in FORBIDDEN if word in name]
    assert set(everything) <= {name for name, variable in table.variables.items() if variable.feature}
    assert set(inputs) - {"age", "sex"} <= set(everything)
    for rule in table.rules:
        if rule.use is not codes.Use.VARIABLE:
            assert rule.variable is None, rule.code
    site = {"frax_major": 365.0, "t_score_lumbar": 365.0, "bisphosphonate": 730.0, "weight": 100.0}
    assert asof.lookbacks(table.lookback_days, site, {}) == everything | {"weight": 100.0}, "no setting adds a feature"


def test_a_dxa_result_and_a_drug_are_stored_where_no_feature_is_read(ledger):
    who = Identifier(value="100001", authority=AssigningAuthority(namespace="HOSP"))
    t = DxaFact(patient=who, key="d", region="lumbar", t_score=-3.0, observed_at=at(1), source="s")
    drug = ExposureFact(
        patient=who,
        key="e",
        code="M05BA04",
        observed_start=at(1),
        observed_end=at(1),
        available_at=at(1),
        cancelled=False,
        source="s",
    )
    with ledger.begin() as c:
        assert clinical.apply(c, [t, drug], at(1)).written == 2
        everything = dict.fromkeys(code_table().variables, asof.EVER_DAYS)
        question = asof.Question(t0=at(9), known_at=at(9), lookback_days=everything)
        assert observations_as_of(c, [1], question) == ()
        assert c.execute(sa.select(sa.func.count()).select_from(observation)).scalar_one() == 0


def test_empty_keys_never_join_a_label():
    dxa = pd.DataFrame([t_score(None, "lumbar", -3.0), t_score("", "lumbar", -3.0)])
    for nobody in (None, ""):
        assert labels(study(at(3), patient=nobody), dxa).empty
