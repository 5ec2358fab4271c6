"""The evaluation's figures, its report, and the way of a phantom through the served bundle."""

from __future__ import annotations

import json
import math
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from support.appraised import BUNDLE, COUNTERFACTUAL, POINTS, appraised, cohort, figures
from support.shared_data import BONE_QUALITY, needs_table

from model.evaluation import plots
from model.evaluation.appraisal import appraise
from model.evaluation.appraisal_page import page
from model.evaluation.appraisal_report import SHORT, SIMULATED, markdown
from model.evaluation.metrics import wilson
from model.screener import DEMO_BUNDLE
from model.train.bars import bars
from model.train.clinical_cv import cross_validate
from model.train.evaluate import Extent, banner_lines, evaluate_on_phantoms
from model.train.score_cache import gathered, kept_scores

SEED = 4
"""Its first twelve virtual patients hold both classes."""
FACTS = {"bundle": BUNDLE, "counterfactual": COUNTERFACTUAL}


def report(found):
    return markdown(found, {"ROC": "plot-1.svg"})


def test_figures_are_those_of_scikit_learn_and_of_hand_counts() -> None:
    own, found = cohort(), appraised()
    assert found["auc"]["image"]["all"]["value"] == pytest.approx(roc_auc_score(own.truth, own.column("p_image")))
    assert found["auc"]["fused"]["all"]["n"] == 320  # a fifth has no clinical data
    table = found["operating_points"]["image"]["t_high"]["table"]
    assert table["tp"] + table["fn"] == own.truth.sum()
    assert table["tp"] == int(((own.column("p_image") >= 0.4) & (own.truth == 1)).sum())
    assert found["flow"]["not_assessed"] == {"AGE": 1, "INVERTED": 3}


def test_spectra_differ_for_the_same_scores() -> None:
    spectra = appraised()["spectra"]["image"]
    assert spectra["T <= -2.5 against T >= -1"]["value"] > spectra["T <= -2.5 against all others"]["value"]


def test_real_patients_have_no_ceiling_and_no_simulated_banner() -> None:
    found = figures(simulated=False)
    assert "ceiling" not in found["auc"]
    assert SIMULATED not in report(found)


def test_the_report_says_simulated_first_and_holds_every_table() -> None:
    text = report(figures())
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
    assert "MISSED: x = 0.5000 (0.4000 to 0.6000) (at least 0.6)" in text
    assert "MISSED: y = not measured (at least 0.6)" in text
    assert "![ROC](plot-1.svg)" in text


def test_no_word_of_the_report_reads_as_a_diagnosis() -> None:
    assert not re.search(r"\b(normal|healthy|ruled out|diagnos\w+|accura\w+)\b", report(figures()), re.IGNORECASE)


def test_the_page_is_one_file_with_three_plots_and_escaped_text() -> None:
    own, found = cohort(), figures()
    drawn = {
        "ROC": plots.roc(own, found["operating_points"]),
        "Calibration": plots.calibration(found["calibration"], simulated=True),
        "Decision": plots.decision(found["decision_curve"], simulated=True),
    }
    shown = page(found, drawn)
    assert shown.count("<svg") == 3
    assert "Test &amp; bundle" in shown
    assert "src=" not in shown


def test_what_was_simulated_says_so_in_the_title_on_every_printed_page_and_in_every_plot() -> None:
    own, found = cohort(), figures()
    film = plots.attention(np.zeros((20, 20), np.float32), ((0.0, 1.0), (1.0, 0.0)), (0, 0, 20, 20), simulated=True)
    drawn = {
        "ROC": plots.roc(own, found["operating_points"]),
        "Calibration": plots.calibration(found["calibration"], simulated=True),
        "Decision": plots.decision(found["decision_curve"], simulated=True),
        "Film": film,
    }
    assert all(SIMULATED in svg for svg in drawn.values())
    shown = page(found, drawn)
    assert SIMULATED in shown[shown.index("<title>") : shown.index("</title>")]
    assert f'<div class="on-every-page" aria-hidden="true">{SIMULATED}</div>' in shown
    real = figures(simulated=False)
    assert SIMULATED not in page(real, {"ROC": plots.roc(cohort(simulated=False), real["operating_points"])})


def test_operating_points_are_named_and_no_curve_runs_through_a_legend() -> None:
    drawn = plots.roc(cohort(), appraised()["operating_points"])
    for mode in ("image", "fused"):
        for label in ("t_high", "t_low"):
            assert f"<!-- {mode}, {label} -->" in drawn
    assert "examine nobody" in plots.decision(appraised()["decision_curve"], simulated=True)


def test_a_short_report_judges_no_bar_and_says_so() -> None:
    found = figures() | {"asked": {"short": True}}
    held = bars(appraised() | FACTS | {"asked": {"short": True}})
    found["bars"] = [asdict(bar) | {"outcome": bar.outcome} for bar in held]
    for text in (report(found), page(found, {})):
        assert SHORT in text
        assert "MISSED" not in text
        assert "not judged: auc_image_all" in text
    assert SHORT not in report(figures())
    assert all(bar.line.startswith("not judged ") for bar in held)


def test_what_is_not_defined_is_a_dash_and_an_added_half_is_named() -> None:
    found = figures()
    own, few = cohort(), replace(cohort(), patients=cohort().patients[:40])
    perfect = tuple(replace(p, p_image=0.9 if p.t_lowest <= -2.5 else 0.1) for p in own.patients)
    sharp = appraise(replace(own, patients=perfect), POINTS) | FACTS | {"bars": found["bars"]}
    assert "1/2 added to each cell" in report(sharp)
    shy = tuple(replace(p, p_image=0.1 + 1e-6 * p.t_lowest) for p in few.patients)
    text = report(appraise(replace(few, patients=shy), POINTS) | FACTS | {"bars": found["bars"]})
    assert "| image, t_high: PPV | - | - | - | - | - |" in text
    assert "(no interval)" in text
    assert "nan" not in text


def test_an_ece_stands_beside_what_chance_alone_gives() -> None:
    own = cohort()
    rng = np.random.default_rng(3)
    p = rng.beta(1.5, 3, 2000)
    t = np.where(rng.random(2000) < p, -3.0, -1.5)
    patients = tuple(
        replace(own.patients[i % 400], p_image=float(p[i]), p_fused=float(p[i]), t_lowest=float(t[i]))
        for i in range(2000)
    )
    found = appraise(replace(own, patients=patients), POINTS)
    ece = found["calibration"]["image"]["ece"]
    assert ece.keys() == {"value", "expected", "expected_high"}
    assert 0 < ece["expected"] < ece["expected_high"] < 0.05
    assert ece["value"] < ece["expected_high"]  # a calibrated model is not told from one
    bar = {bar.name: bar for bar in bars(found | FACTS)}["ece_fused"]
    assert bar.value == found["calibration"]["fused"]["ece"]["value"]
    assert math.isnan(bar.low)
    assert "by chance alone" in bar.remark


@needs_table
def test_the_clinical_model_on_the_real_table_is_the_design_s() -> None:
    found = cross_validate(BONE_QUALITY, repeats=3)
    everyone, women, men = found.against
    assert found.fold_auc == pytest.approx(0.827, abs=0.004)
    assert everyone.osta == pytest.approx(0.808, abs=5e-4)
    assert (women.osta, men.osta) == pytest.approx((0.761, 0.822), abs=1e-3)
    assert everyone.difference > 0.01
    assert men.difference < 0  # the pooled gain is the sex term; by sex there is none


def test_the_leak_detector_finds_a_score_above_the_ceiling() -> None:
    own = cohort()
    seen = tuple(replace(p, ceiling=p.p_image, p_image=float(p.t_lowest <= -2.5) * 0.98 + 0.01) for p in own.patients)
    leaking = appraise(replace(own, patients=seen), POINTS) | FACTS
    honest = appraised() | FACTS
    met = {bar.name: bar.met for bar in bars(leaking)}
    assert not met["image_above_ceiling"]
    assert {bar.name: bar.met for bar in bars(honest)}["image_above_ceiling"]


def test_a_bar_that_was_not_measured_is_not_met_and_says_so() -> None:
    found = {bar.name: bar for bar in bars(appraised() | FACTS)}
    for name in ("clinical_fold_auc", "other_objects_refused", "young_or_unknown_scored", "gate_upright_accepted"):
        assert not found[name].met
        assert "not measured" in found[name].line


def test_gate_bars_carry_wilson_intervals_and_cases_that_depend_on_each_other_none() -> None:
    real = {
        "real_films": {"young_scored": 0, "young": 200, "unknown_age_scored": 0, "unknown_age": 433},
        "real_objects": [{"chest": False, "refused": True}] * 12 + [{"chest": True, "refused": False}],
    }
    gate = [
        {"name": "gate.transforms-refused", "value": 1 - 4 / 2454, "n": 409},
        {"name": "gate.upright-accepted", "value": 399 / 409, "n": 409},
    ]
    own = appraised() | FACTS | real | {"bundle": BUNDLE | {"gate": gate}}
    found = {bar.name: bar for bar in bars(own)}
    assert found["young_or_unknown_scored"].met
    assert found["other_objects_refused"].met
    assert found["gate_transforms_refused"].met
    upright = found["gate_upright_accepted"]
    assert (upright.low, upright.high) == pytest.approx((wilson(399, 409).low, wilson(399, 409).high))
    for name in ("young_or_unknown_scored", "other_objects_refused", "gate_transforms_refused"):
        assert math.isnan(found[name].low)
        assert "no interval: " in found[name].remark


def test_what_was_kept_is_read_and_only_the_rest_is_computed(tmp_path: Path) -> None:
    files = [tmp_path / f"{number}.json" for number in range(4)]
    kept_scores(files[2], lambda: {"number": 2, "kept": True})
    jobs = [(file, kept_scores, (file, lambda n=n: {"number": n})) for n, file in enumerate(files)]
    with ThreadPoolExecutor(1) as pool:
        first = list(gathered(pool, jobs))
    assert first[0] == {"number": 2, "kept": True}
    assert sorted(found["number"] for found in first) == [0, 1, 2, 3]
    closed = ThreadPoolExecutor(1)
    closed.shutdown()  # takes no work
    assert [found["number"] for found in gathered(closed, jobs)] == [0, 1, 2, 3]


def test_phantoms_go_the_served_way_and_a_second_run_renders_nothing(tmp_path: Path) -> None:
    extent = Extent(count=12, seed=SEED, workers=1, short=True)
    found = evaluate_on_phantoms(DEMO_BUNDLE, tmp_path / "out", extent, run=tmp_path / "run")
    written = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert written["flow"]["assessed"] + sum(written["flow"]["not_assessed"].values()) >= 12
    assert written["bundle"]["engine"].startswith("torch ")
    assert {bar.name for bar in found} >= {"auc_image_all", "monotone", "ece_fused", "image_above_ceiling"}
    assert [b["met"] for b in written["bars"]] == [bar.met for bar in found]
    assert SIMULATED in (tmp_path / "out" / "evaluation.md").read_text()
    assert banner_lines(tmp_path / "out") == [SIMULATED, SHORT]
    assert {b["outcome"] for b in written["bars"]} == {"not judged"}
    assert all(SIMULATED in file.read_text() for file in (tmp_path / "out").glob("plot-*.svg"))
    assert (tmp_path / "out" / "evaluation.html").read_text().count("<svg") >= 5  # three curves, two outcomes at least
    kept = {file: file.stat().st_mtime_ns for file in (tmp_path / "run").rglob("*") if file.is_file()}
    again = evaluate_on_phantoms(DEMO_BUNDLE, tmp_path / "out", extent, run=tmp_path / "run")
    assert [bar.value for bar in again] == pytest.approx([bar.value for bar in found], nan_ok=True)
    assert {file: file.stat().st_mtime_ns for file in (tmp_path / "run").rglob("*") if file.is_file()} == kept
