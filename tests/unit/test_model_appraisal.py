"""The evaluation's figures, its report, and the way of a phantom through the served bundle."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from support.shared_data import BONE_QUALITY, needs_table

from model.domain import Sex, View
from model.evaluation import plots
from model.evaluation.appraisal import appraise
from model.evaluation.appraisal_report import SIMULATED, markdown, page
from model.evaluation.cohort import Cohort, Patient
from model.fusion import OperatingPoints
from model.screener import DEMO_BUNDLE
from model.train.clinical_cv import cross_validate
from model.train.evaluate import evaluate_on_phantoms

POINTS = {"image": OperatingPoints(t_low=0.2, t_high=0.4), "fused": OperatingPoints(t_low=0.2, t_high=0.4)}
SEED = 4
"""Its first twelve virtual patients hold both classes."""
BUNDLE = {"name": "Test & bundle", "id": "test-1", "calibration_id": "abc", "gate": {}}


def cohort(count: int = 400, *, simulated: bool = True) -> Cohort:
    rng = np.random.default_rng(11)
    t = rng.normal(-1.6, 1.3, count)
    seen = t + rng.normal(0, 0.7, count)
    z = -2.2 * (seen + 2.3)
    clinical = 1 / (1 + np.exp(0.8 * (t + 2.3) + rng.normal(0, 1, count)))
    patients = tuple(
        Patient(
            t_lowest=float(t[i]),
            age_years=float(rng.uniform(50, 90)),
            sex=Sex.FEMALE if i % 2 else Sex.MALE,
            view=View.PA if i % 3 else View.AP,
            bmi=float(rng.normal(24, 4)),
            p_image=float(1 / (1 + np.exp(-z[i]))),
            p_clinical=math.nan if i % 5 == 0 else float(clinical[i]),
            p_fused=math.nan if i % 5 == 0 else float(1 / (1 + np.exp(-z[i]))),
            ceiling=float(-t[i]) if simulated else math.nan,
            p_wide=float(1 / (1 + np.exp(-z[i]))) if simulated else math.nan,
        )
        for i in range(count)
    )
    return Cohort(
        population="made-up patients", simulated=simulated, patients=patients, not_assessed={"INVERTED": 3, "AGE": 1}
    )


def figures(*, simulated: bool = True) -> dict[str, object]:
    found = appraise(cohort(simulated=simulated), POINTS) | {"bundle": BUNDLE}
    return found | {"bars": [{"name": "x", "value": 0.5, "demand": "at least 0.6", "met": False}]}


def test_figures_are_those_of_scikit_learn_and_of_hand_counts() -> None:
    own, found = cohort(), appraise(cohort(), POINTS)
    assert found["auc"]["image"]["all"]["value"] == pytest.approx(roc_auc_score(own.truth, own.column("p_image")))
    assert found["auc"]["fused"]["all"]["n"] == 320  # a fifth has no clinical data
    table = found["operating_points"]["image"]["t_high"]["table"]
    assert table["tp"] + table["fn"] == own.truth.sum()
    assert table["tp"] == int(((own.column("p_image") >= 0.4) & (own.truth == 1)).sum())
    assert found["flow"]["not_assessed"] == {"AGE": 1, "INVERTED": 3}


def test_spectra_differ_for_the_same_scores() -> None:
    spectra = appraise(cohort(), POINTS)["spectra"]["image"]
    assert spectra["T <= -2.5 against T >= -1"]["value"] > spectra["T <= -2.5 against all others"]["value"]


def test_real_patients_have_no_ceiling_and_no_simulated_banner() -> None:
    found = figures(simulated=False)
    assert "ceiling" not in found["auc"]
    assert SIMULATED not in markdown(found)


def test_the_report_says_simulated_first_and_holds_every_table() -> None:
    text = markdown(figures())
    assert text.index(SIMULATED) < text.index("| score |")
    for heading in (
        "Spectra",
        "Operating points",
        "PPV / NPV at other prevalences",
        "Calibration",
        "Subgroups",
        "Bars",
    ):
        assert f"## {heading}" in text
    assert "MISSED: x = 0.5000 (at least 0.6)" in text


def test_no_word_of_the_report_reads_as_a_diagnosis() -> None:
    assert not re.search(r"\b(normal|healthy|ruled out|diagnos\w+|accura\w+)\b", markdown(figures()), re.IGNORECASE)


def test_the_page_is_one_file_with_three_plots_and_escaped_text() -> None:
    own, found = cohort(), figures()
    drawn = {
        "ROC": plots.roc(own, found["operating_points"]),
        "Calibration": plots.calibration(found["calibration"]),
        "Decision": plots.decision(found["decision_curve"]),
    }
    shown = page(found, drawn)
    assert shown.count("<svg") == 3
    assert "Test &amp; bundle" in shown
    assert "src=" not in shown


@needs_table
def test_the_clinical_model_on_the_real_table_is_the_design_s() -> None:
    found = cross_validate(BONE_QUALITY, repeats=3)
    everyone, women, men = found.against
    assert found.fold_auc == pytest.approx(0.827, abs=0.004)
    assert everyone.osta == pytest.approx(0.808, abs=5e-4)
    assert (women.osta, men.osta) == pytest.approx((0.761, 0.822), abs=1e-3)
    assert everyone.difference > 0.01
    assert men.difference < 0  # the pooled gain is the sex term; by sex there is none


def test_phantoms_go_the_served_way_and_every_bar_is_reported(tmp_path: Path) -> None:
    bars = evaluate_on_phantoms(DEMO_BUNDLE, tmp_path, count=12, seed=SEED, workers=1)
    found = json.loads((tmp_path / "evaluation.json").read_text())
    assert found["flow"]["assessed"] + sum(found["flow"]["not_assessed"].values()) >= 12
    assert {bar.name for bar in bars} >= {"auc_image_all", "monotone", "ece_fused", "auc_above_ceiling"}
    assert [b["met"] for b in found["bars"]] == [bar.met for bar in bars]
    assert SIMULATED in (tmp_path / "evaluation.md").read_text()
    assert (tmp_path / "evaluation.html").read_text().count("<svg") == 3
