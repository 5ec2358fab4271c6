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
from scipy import stats
from scipy.special import logit
from support.tools import require_tool
from typer.testing import CliRunner

from config.settings import SettingsError
from model.evaluation.literature import ZHAO_2026_XRAY, Place, place
from model.evaluation.meta_analysis import MetaAnalysisError, Pooled, contrasts, deeks_p, pool, region_bound
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
# TP, FP, FN, TN of simulated studies that differ little: the likelihood is greatest at a correlation of 1. The figures
# asked of them are metafor's, as METAFOR below has it, the better of BFGS and Nelder-Mead.
LITTLE_4 = ((237, 13, 15, 82), (116, 11, 6, 60), (86, 53, 7, 219), (115, 49, 13, 174))
LITTLE_10 = (
    (200, 35, 14, 133), (59, 22, 4, 109), (147, 6, 8, 64), (167, 44, 9, 206), (73, 37, 2, 183), (249, 33, 27, 129),
    (107, 59, 13, 232), (109, 6, 8, 60), (96, 17, 7, 94), (254, 52, 25, 191),
)  # fmt: skip
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
    assert other.wald == pytest.approx(51.06, abs=0.01)  # QM(2); against chi-squared its p is 8.17e-12
    assert stats.chi2.sf(other.wald, 2) == pytest.approx(8.17e-12, rel=0.02)
    assert other.p == pytest.approx(stats.f.sf(51.06 * 27 / 56, 2, 27), rel=0.01)  # T2 with 30 - 2 degrees of freedom


@pytest.mark.parametrize(
    ("tables", "likelihood", "tau", "sensitivity", "specificity"),
    [
        (LITTLE_4, -0.6804079, (0.23858, 0.16961), (0.77241, 0.98059), (0.63534, 0.91861)),
        (LITTLE_10, -4.091158, (0.19908, 0.11108), (0.88166, 0.95600), (0.76872, 0.86005)),
    ],
)
def test_studies_that_differ_along_one_line_are_fitted_to_the_end(tables, likelihood, tau, sensitivity, specificity):
    fitted = pool([Confusion(tp=tp, fp=fp, fn=fn, tn=tn) for tp, fp, fn, tn in tables])
    assert fitted.log_likelihood == pytest.approx(likelihood, abs=1e-4)
    assert fitted.tau == pytest.approx(tau, abs=1e-3)
    assert fitted.rho == pytest.approx(1.0, abs=1e-3)
    predicted = fitted.predicted()
    assert (predicted[0].low, predicted[0].high) == pytest.approx(sensitivity, abs=1e-3)
    assert (predicted[1].low, predicted[1].high) == pytest.approx(specificity, abs=1e-3)


def test_studies_that_do_not_differ_have_no_spread_and_no_correlation() -> None:
    fitted = pool([Confusion(tp=50, fp=10, fn=5, tn=40)] * 4)
    assert (fitted.tau, fitted.rho) == ((0.0, 0.0), 0.0)


def test_few_studies_have_the_interval_of_student_beside_wald_s() -> None:
    fitted = pool([Confusion(tp=tp, fp=fp, fn=fn, tn=tn) for tp, fp, fn, tn in LITTLE_4])
    assert (fitted.sensitivity.low, fitted.sensitivity.high) == pytest.approx((0.89776, 0.95128), abs=1e-3)  # metafor
    width = stats.t.ppf(0.975, 2) * fitted.se[0]
    assert logit(fitted.sensitivity_t.high) == pytest.approx(fitted.mean[0] + width)
    assert logit(fitted.specificity_t.low) == pytest.approx(fitted.mean[1] - stats.t.ppf(0.975, 2) * fitted.se[1])
    many = pool(TABLES)
    assert many.sensitivity_t.low == pytest.approx(many.sensitivity.low, abs=0.006)


def rejected(runs: int, studies: int) -> float:
    """Share of comparisons with P < .05 of two groups that do not differ."""
    rng = np.random.default_rng(studies)
    groups = ["one", "other"] * (studies // 2)
    return sum(contrasts(studies_like(rng, studies), groups)[1].p < 0.05 for _ in range(runs)) / runs


def studies_like(rng: np.random.Generator, count: int) -> list[Confusion]:
    rates = 1 / (1 + np.exp(-rng.multivariate_normal((2.44, 1.59), [[0.81, -0.27], [-0.27, 1.0]], count)))
    sizes = rng.integers(30, 200, (count, 2))
    hits = rng.binomial(sizes, rates)
    return [Confusion(tp=int(h), fn=int(m - h), tn=int(p), fp=int(n - p))
            for (h, p), (m, n) in zip(hits, sizes, strict=True)]  # fmt: skip


def test_subgroups_that_do_not_differ_are_seldom_told_apart() -> None:
    assert rejected(20, 4) <= 0.08  # chi-squared: a third


@pytest.mark.slow
@pytest.mark.parametrize("studies", [4, 6, 10])
def test_subgroups_that_do_not_differ_are_told_apart_in_8_of_100_at_most(studies: int) -> None:
    assert rejected(100, studies) <= 0.08


def test_the_region_of_few_studies_is_hotelling_s() -> None:
    assert region_bound(4) == pytest.approx(2 * 3 / 2 * stats.f.ppf(0.95, 2, 2))
    assert region_bound(1000) == pytest.approx(stats.chi2.ppf(0.95, 2), rel=0.01)


def test_likelihood_ratios_by_hand() -> None:
    even = Pooled(
        studies=10, mean=(math.log(9), math.log(4)), covariance=((0.04, 0.0), (0.0, 0.09)), tau=(0.5, 0.4), rho=0.0,
        log_likelihood=0.0,
    )  # fmt: skip
    positive, negative, odds = even.likelihood_ratios(normal=True)  # SEN .9, SPC .8
    assert (positive.value, negative.value, odds.value) == pytest.approx((4.5, 0.125, 36.0))
    assert odds.low == pytest.approx(36 * math.exp(-1.959964 * math.sqrt(0.13)))
    se_log_plr = math.hypot(0.1 * 0.2, 0.8 * 0.3)
    assert positive.high == pytest.approx(4.5 * math.exp(1.959964 * se_log_plr))
    assert even.likelihood_ratios()[0].high == pytest.approx(4.5 * math.exp(stats.t.ppf(0.975, 8) * se_log_plr))


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


def test_small_study_effects_need_scatter() -> None:
    with pytest.raises(MetaAnalysisError, match="no scatter"):
        deeks_p([Confusion(tp=8 * n, fn=2 * n, tn=8 * n, fp=2 * n) for n in range(1, 6)])


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


def test_brackets_in_a_files_name_or_a_subgroups_are_printed_as_they_are(tmp_path: Path) -> None:
    table = tmp_path / "studies[bold].csv"
    write(table, TABLES, tuple(f"[/{group}]" for group in GROUPS))
    shown = CliRunner().invoke(app, ["literature", "--table", str(table), "--by", "patients"], catch_exceptions=False)
    assert "studies[bold].csv: 30 studies" in shown.output
    assert "[/symptomatic] (" in shown.output


def test_literature_command_without_a_table_shows_the_published_ruler() -> None:
    shown = CliRunner().invoke(app, ["literature", "--site", "90", "20", "10", "80"])
    assert "Zhao et al." in shown.output
    assert "derived by us" in shown.output
    assert "this site's sensitivity 0.900" in shown.output


GOOD = "tp,fp,fn,tn\n50,10,5,40\n51,10,4,40\n45,9,10,41\n52,12,3,38\n"


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"tp,fp,fn\n1,2,3\n", "column tn is missing"),
        (b"tp,fp,fn,tn\n1,2,x,4\n", "line 2, column fn"),
        (b"tp,fp,fn,tn\n1,2,3,4\n", "1 studies"),
        (b"tp,fp,fn,tn,tp\n1,2,3,4,5\n", "column tp is missing or there twice"),
        (b"tp,fp,fn,tn\n1,2,3," + b"9" * 400, "line 2, column tn"),
        (b"tp,fp,fn,tn\n1,2,-3,4\n", "line 2, column fn"),
        (b"tp,fp,fn,tn\n1,2,3\n", "line 2: has 3 values"),
        (b"tp,fp,fn,tn,note\n1,2,3,4," + b"x" * 140_000, "line 2: is no CSV"),
        ("tp,fp,fn,tn,who\n1,2,3,4,J\xe4ger\n".encode("latin-1"), "is not UTF-8"),
        (GOOD.encode("utf-16"), "is not UTF-8"),
        (b"", "column tp, fp, fn, tn is missing"),
    ],
    ids=lambda own: own if isinstance(own, str) else "",
)
def test_literature_command_names_what_is_wrong_with_a_table(data: bytes, why: str, tmp_path: Path) -> None:
    (tmp_path / "bad.csv").write_bytes(data)
    failed = CliRunner().invoke(app, ["literature", "--table", str(tmp_path / "bad.csv")])
    assert isinstance(failed.exception, SettingsError)
    assert f"bad.csv: {why}" in str(failed.exception)


def test_literature_command_names_a_study_without_a_subgroup(tmp_path: Path) -> None:
    (tmp_path / "bad.csv").write_text("tp,fp,fn,tn,design\n1,2,3,4, \n")
    failed = CliRunner().invoke(app, ["literature", "--table", str(tmp_path / "bad.csv"), "--by", "design"])
    assert "line 2, column design: is empty" in str(failed.exception)


def test_literature_command_pools_studies_of_one_size_and_calls_few_approximate(tmp_path: Path) -> None:
    (tmp_path / "few.csv").write_text(GOOD)
    arguments = ["literature", "--table", str(tmp_path / "few.csv")]
    shown = CliRunner().invoke(app, arguments).output
    assert "approximate: k=4" in shown
    assert "Deeks): not possible: all studies have the same size" in shown
    assert "approximate=1" in shown.splitlines()[-1]
    facts = json.loads(CliRunner().invoke(app, [*arguments, "--json"]).output)
    assert facts["deeks_p"] is None
    assert facts["approximate"]
    assert facts["sensitivity_t"][1] < facts["sensitivity"][1]
    assert facts["plr_t"][1] < facts["plr"][1]


def test_literature_command_marks_a_comparison_of_few_and_prints_no_p_of_0(tmp_path: Path) -> None:
    write(tmp_path / "many.csv", TABLES, GROUPS)
    many = CliRunner().invoke(app, ["literature", "--table", str(tmp_path / "many.csv"), "--by", "patients"]).output
    assert "p < .001" in many
    assert "approximate" not in many
    write(tmp_path / "few.csv", TABLES[:6], ("a", "b") * 3)
    few = CliRunner().invoke(app, ["literature", "--table", str(tmp_path / "few.csv"), "--by", "patients"]).output
    assert "approximate: fewer than 5 studies in a group" in few


def write(path: Path, tables: tuple[Confusion, ...], groups: tuple[str, ...] = ()) -> None:
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["tp", "fp", "fn", "tn", *(["patients"] if groups else [])])
        for number, t in enumerate(tables):
            rows.writerow([t.tp, t.fp, t.fn, t.tn, *([groups[number]] if groups else [])])
