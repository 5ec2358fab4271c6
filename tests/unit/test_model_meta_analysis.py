"""The bivariate model against R's metafor, hand calculations and simulated studies."""

from __future__ import annotations

import csv
import json
import math
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.tools import require_tool
from typer.testing import CliRunner

from model.evaluation.literature import ZHAO_2026_XRAY, Place, place
from model.evaluation.meta_analysis import MetaAnalysisError, Pooled, contrasts, deeks_p, pool
from model.evaluation.metrics import Confusion, Interval
from node.cli import app

# Kearon et al., Ann Intern Med 1998;128:663: ultrasonography for deep vein thrombosis, TP, FN, TN, FP of the studies
# without a missing cell; the first 16 in symptomatic, the others in asymptomatic patients.
KEARON = (
    (325, 8, 483, 22), (20, 5, 29, 0), (25, 3, 23, 0), (22, 3, 24, 1), (70, 7, 142, 1), (40, 6, 18, 1),
    (27, 7, 36, 5), (25, 4, 28, 7), (40, 0, 27, 10), (39, 2, 29, 7), (75, 22, 59, 1), (49, 1, 50, 0), (33, 1, 75, 0),
    (20, 3, 64, 0), (94, 27, 346, 7), (22, 3, 45, 2), (10, 15, 47, 6), (15, 9, 29, 3), (10, 4, 44, 3),
    (13, 10, 123, 0), (10, 22, 55, 1), (16, 45, 184, 2), (12, 37, 137, 1), (13, 13, 66, 8), (24, 18, 55, 2),
    (17, 10, 85, 6), (5, 17, 45, 1), (18, 13, 240, 5), (24, 4, 104, 0), (26, 29, 81, 8),
)  # fmt: skip
SYMPTOMATIC = 16
TABLES = tuple(Confusion(tp=tp, fn=fn, tn=tn, fp=fp) for tp, fn, tn, fp in KEARON)
GROUPS = ("symptomatic",) * SYMPTOMATIC + ("asymptomatic",) * (len(KEARON) - SYMPTOMATIC)

METAFOR = """
suppressMessages(library(metafor))
d <- read.csv(commandArgs(TRUE)[1])
z <- d$tp == 0 | d$fn == 0 | d$tn == 0 | d$fp == 0
a <- ifelse(z, 0.5, 0)
tp <- d$tp + a; fn <- d$fn + a; tn <- d$tn + a; fp <- d$fp + a
l <- data.frame(study = rep(seq_along(tp), 2), out = rep(c("a", "b"), each = length(tp)),
                y = c(log(tp / fn), log(tn / fp)), v = c(1 / tp + 1 / fn, 1 / tn + 1 / fp))
f <- rma.mv(y, v, mods = ~ out - 1, random = ~ out | study, struct = "UN", data = l, method = "REML",
            control = list(optimizer = "optim", optmethod = "BFGS"))
cat(c(coef(f), f$se, sqrt(f$tau2), f$rho, logLik(f)), sep = " ")
"""
"""metafor's default optimiser stops without convergence on these data."""


def figures(fitted: Pooled) -> list[float]:
    return [*fitted.mean, *fitted.se, *fitted.tau, fitted.rho]


def test_all_studies_agree_with_the_published_golden_fit() -> None:
    golden = [1.10974, 3.06720, 0.25435, 0.22507, 1.29767, 0.96638, -0.27908]
    assert figures(pool(TABLES)) == pytest.approx(golden, abs=1e-4)


def test_symptomatic_studies_agree_with_the_published_golden_fit() -> None:
    golden = [2.11004, 3.00898, 0.22142, 0.35049, 0.69868, 1.11975, -0.25664]
    assert figures(pool(TABLES[:SYMPTOMATIC])) == pytest.approx(golden, abs=1e-4)


def test_metafor_finds_the_same(tmp_path: Path) -> None:
    rscript = require_tool("Rscript")
    (tmp_path / "fit.R").write_text(METAFOR)
    write(tmp_path / "tables.csv", TABLES)
    arguments = [rscript, str(tmp_path / "fit.R"), str(tmp_path / "tables.csv")]
    run = subprocess.run(arguments, capture_output=True, text=True, check=True)
    ours = pool(TABLES)
    assert [*figures(ours), ours.log_likelihood] == pytest.approx([float(x) for x in run.stdout.split()], abs=1e-3)


def test_a_prediction_interval_is_wider_than_the_confidence_interval() -> None:
    sensitivity, specificity = pool(TABLES).predicted(normal=True)
    assert (sensitivity.low, sensitivity.high) == pytest.approx((0.19, 0.98), abs=0.005)
    assert (pool(TABLES).sensitivity.low, pool(TABLES).sensitivity.high) == pytest.approx((0.65, 0.83), abs=0.005)
    student, _ = pool(TABLES).predicted()
    assert student.low < sensitivity.low < specificity.low


def test_subgroups_agree_with_metafor() -> None:
    reference, other = contrasts(TABLES, GROUPS)
    assert reference.difference == (0.0, 0.0)
    assert math.isnan(reference.p)
    assert (reference.group, reference.studies, other.group, other.studies) == ("symptomatic", 16, "asymptomatic", 14)
    assert other.difference == pytest.approx((-2.1651, 0.2620), abs=1e-3)  # R: rma.mv, anova(X = ...)
    assert other.p == pytest.approx(8.17e-12, rel=0.02)  # QM(2) = 51.06


def test_likelihood_ratios_by_hand() -> None:
    even = Pooled(
        studies=10, mean=(math.log(9), math.log(4)), covariance=((0.04, 0.0), (0.0, 0.09)), tau=(0.5, 0.4), rho=0.0,
        log_likelihood=0.0,
    )  # fmt: skip
    positive, negative, odds = even.likelihood_ratios()  # SEN .9, SPC .8
    assert (positive.value, negative.value, odds.value) == pytest.approx((4.5, 0.125, 36.0))
    assert odds.low == pytest.approx(36 * math.exp(-1.959964 * math.sqrt(0.13)))
    se_log_plr = math.hypot(0.1 * 0.2, 0.8 * 0.3)
    assert positive.high == pytest.approx(4.5 * math.exp(1.959964 * se_log_plr))


def test_the_summary_curve_goes_through_the_pooled_point_and_rises() -> None:
    fitted = pool(TABLES)
    at = np.array([0.01, 1 - fitted.specificity.value, 0.5])
    curve = fitted.sroc(at)
    assert curve[1] == pytest.approx(fitted.sensitivity.value)
    assert np.all(np.diff(curve) > 0)


def test_the_prediction_region_holds_the_pooled_point_and_excludes_a_coin() -> None:
    fitted = pool(TABLES[:SYMPTOMATIC])
    assert fitted.within_prediction_region(fitted.sensitivity.value, fitted.specificity.value)
    assert not fitted.within_prediction_region(0.5, 0.5)


def test_small_study_effects_are_seen_where_small_studies_promise_more() -> None:
    biased = [Confusion(tp=9 * n, fn=n * n, tn=9 * n, fp=n * n) for n in range(1, 9)]
    assert deeks_p(biased) < 0.001 < deeks_p(TABLES[:SYMPTOMATIC])


def test_small_study_effects_need_studies_of_different_size() -> None:
    with pytest.raises(MetaAnalysisError):
        deeks_p([Confusion(tp=8, fn=2, tn=8, fp=2)] * 5)


@pytest.mark.parametrize(
    "tables",
    [TABLES[:3], [*TABLES[:5], Confusion(tp=0, fn=0, tn=3, fp=1)], [*TABLES[:5], Confusion(tp=-1, fn=3, tn=3, fp=1)]],
)
def test_tables_that_cannot_be_pooled_are_named(tables: list[Confusion]) -> None:
    with pytest.raises(MetaAnalysisError):
        pool(tables)


def test_a_comparison_needs_two_groups_of_two() -> None:
    with pytest.raises(MetaAnalysisError):
        contrasts(TABLES, ["one", *["other"] * (len(TABLES) - 1)])


def test_intervals_cover_the_truth_in_simulated_meta_analyses() -> None:
    rng = np.random.default_rng(20261122)
    truth, tau, rho = np.array([2.0, 1.5]), np.array([0.8, 0.9]), -0.4
    sigma = np.array([[tau[0] ** 2, rho * tau[0] * tau[1]], [rho * tau[0] * tau[1], tau[1] ** 2]])
    covered, runs = 0, 60
    for _ in range(runs):
        logits = rng.multivariate_normal(truth, sigma, size=22)
        rates = 1 / (1 + np.exp(-logits))
        hits, passes = rng.binomial(80, rates[:, 0]), rng.binomial(150, rates[:, 1])
        fitted = pool(
            [
                Confusion(tp=int(h), fn=int(80 - h), tn=int(p), fp=int(150 - p))
                for h, p in zip(hits, passes, strict=True)
            ]
        )
        for mean, se, true in zip(fitted.mean, fitted.se, truth, strict=True):
            covered += abs(mean - true) <= 1.96 * se
    assert covered / (2 * runs) >= 0.86  # nominal .95; normal intervals with 22 studies and binomial logits cover less


@settings(max_examples=5, deadline=None)
@given(st.permutations(range(10)))
def test_the_order_of_the_studies_does_not_matter(order: list[int]) -> None:
    assert figures(pool([TABLES[i] for i in order])) == pytest.approx(figures(pool(TABLES[:10])), abs=2e-4)


def test_the_published_ruler_is_the_papers_and_its_spread_is_marked_as_derived() -> None:
    assert (ZHAO_2026_XRAY.sensitivity.value, ZHAO_2026_XRAY.specificity.value) == (0.92, 0.83)
    predicted = ZHAO_2026_XRAY.predicted(normal=True)
    assert predicted is not None
    assert (predicted[0].low, predicted[0].high) == pytest.approx((0.65, 0.99), abs=0.01)
    assert (predicted[1].low, predicted[1].high) == pytest.approx((0.40, 0.97), abs=0.01)


@pytest.mark.parametrize(
    ("value", "where"),
    [(0.5, Place.BELOW), (0.7, Place.LOWER), (0.88, Place.WITHIN), (0.95, Place.UPPER), (0.999, Place.ABOVE)],
)
def test_a_site_is_placed_on_the_ruler(value: float, where: Place) -> None:
    pooled, predicted = Interval(value=0.92, low=0.88, high=0.94), Interval(value=0.92, low=0.63, high=0.99)
    assert place(value, pooled, predicted) is where


def test_literature_command_pools_a_table(tmp_path: Path) -> None:
    write(tmp_path / "tables.csv", TABLES, GROUPS)
    arguments = ["literature", "--table", str(tmp_path / "tables.csv"), "--by", "patients"]
    shown = CliRunner().invoke(app, [*arguments, "--site", "90", "20", "10", "80"])
    assert shown.exit_code == 0
    assert "RESULT literature studies=30 sen=0.7521 spc=0.9555" in shown.output
    facts = json.loads(CliRunner().invoke(app, [*arguments, "--json"]).output)
    assert facts["tau"] == pytest.approx([1.29767, 0.96638], abs=1e-4)
    assert [g["group"] for g in facts["subgroups"]] == ["symptomatic", "asymptomatic"]


def test_literature_command_without_a_table_shows_the_published_ruler() -> None:
    shown = CliRunner().invoke(app, ["literature", "--site", "90", "20", "10", "80"])
    assert "Zhao et al." in shown.output
    assert "derived by us" in shown.output
    assert "this site's sensitivity 0.900" in shown.output


@pytest.mark.parametrize("text", ["tp,fp,fn\n1,2,3\n", "tp,fp,fn,tn\n1,2,x,4\n", "tp,fp,fn,tn\n1,2,3,4\n"])
def test_literature_command_names_what_is_wrong_with_a_table(text: str, tmp_path: Path) -> None:
    (tmp_path / "bad.csv").write_text(text)
    failed = CliRunner().invoke(app, ["literature", "--table", str(tmp_path / "bad.csv")])
    assert failed.exit_code != 0
    assert "bad.csv" in str(failed.exception)


def write(path: Path, tables: tuple[Confusion, ...], groups: tuple[str, ...] = ()) -> None:
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["tp", "fp", "fn", "tn", *(["patients"] if groups else [])])
        for number, t in enumerate(tables):
            rows.writerow([t.tp, t.fp, t.fn, t.tn, *([groups[number]] if groups else [])])
