"""The model card: every item of the checklists names an artefact that exists, or says "not done" and why."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from support.appraised import appraised, figures
from support.tiny_bundle import tiny_manifest

from model.bundle import read_manifest
from model.manifest import Metric
from model.screener import DEMO_BUNDLE
from model.train.card import SIMULATED
from model.train.reporting_card import CardError, reporting_card
from model.train.reporting_items import CLAIM, GUIDELINES, STARD, TRIPOD_AI

ROOT = Path(__file__).parents[2]
ASKED = {"phantoms": 400, "seed": 1, "short": False}


def evaluation(manifest, **changes):
    """As `osteon evaluate` writes it: what has no value is null."""
    own = json.loads(json.dumps(figures() | {"asked": ASKED}), parse_constant=lambda _: None)
    return own | {"bundle": own["bundle"] | {"id": manifest.bundle_id}} | changes


def headings(text):
    return {line.removeprefix("## ") for line in text.splitlines() if line.startswith("## ")}


def test_the_lists_have_as_many_items_as_their_guidelines():
    assert len({item.number.rstrip("abcdefg") for item in TRIPOD_AI.items}) == 27
    assert [item.number for item in CLAIM.items] == [str(n) for n in range(1, 43)]
    assert len({item.number.rstrip("ab") for item in STARD.items}) == 30
    assert "not available in full" in CLAIM.remark
    assert "not available in full" in STARD.remark


@pytest.mark.parametrize("guideline", GUIDELINES, ids=lambda g: g.name)
def test_each_item_names_an_artefact_or_says_not_done(guideline):
    known = headings(reporting_card(tiny_manifest(), None, None))
    for item in guideline.items:
        if not item.done:
            assert re.fullmatch(r"not done: \S.{2,}", item.answer), item
            continue
        files = re.findall(r"`([^`]+)`", item.answer)
        sections = re.findall(r"section ([A-Z][a-z ]*[a-z])", item.answer)
        assert files or sections, item
        assert all((ROOT / file).exists() for file in files), item
        assert all(section in known for section in sections), (item, known)


PHRASES = {
    TRIPOD_AI: {
        "1": "development and evaluation of a screening score", "2": "Objective:", "3a": "Background: whether",
        "3b": "Users: those who run", "4": "Objective: to show", "5a": "| use | source | n |",
        "6b": "of people of at least", "8a": "lowest of lumbar spine, femoral neck and total hip",
        "9a": "Predictors: the film", "10": "385 positives", "11": "nothing is imputed",
        "12a": "| use | source |", "12c": "Calibrated on", "12e": "AUC with DeLong", "14": "| women |",
        "15": "Output: a probability", "16": "differ in ways that nobody has listed", "18e": "| licence |",
        "18f": "commit", "20a": "not assessed:", "20b": "| n |", "21": "n (positive)",
        "23a": "Subgroups, image alone", "25": "good figures say that the software works",
        "26": "Trained and measured on", "27b": "Users: those who run", "27c": "a site must measure the bundle",
    },
    CLAIM: {
        "1": "deep network on a chest radiograph", "2": "Objective:", "3": "Background: whether",
        "4": "Objective: to show", "6": "trains, calibrates, fuses, refuses and reports", "7": "| source |",
        "8": "of people of at least", "13": "nothing is imputed", "14": "lowest of lumbar spine",
        "16": "lowest of lumbar spine", "19": "385 positives", "20": "| use |", "22": "Trunk ", "23": "numpy ",
        "24": "Starting weights:", "25": "epochs", "28": "AUC with DeLong", "29": "Wilson intervals",
        "30": "Counterfactual (`monotone`)", "31": "attention of the model", "33": "not assessed:",
        "35": "Sealed with the bundle", "36": "95 % interval", "37": "of both errors",
        "38": "Trained and measured on", "39": "a site must measure the bundle", "41": "commit",
    },
    STARD: {
        "1": "AUC of", "2": "Objective:", "3": "Background: whether", "4": "Objective: to show",
        "6": "of people of at least", "10a": "Trunk ", "10b": "lowest of lumbar spine", "12a": "fixed there",
        "14": "AUC with DeLong", "15": "zone of", "16": "nothing is imputed", "17": "Subgroups, image alone",
        "18": "385 positives", "19": "not assessed:", "21a": "T <= -2.5 against T >= -1",
        "23": "TP, FP, FN, TN", "24": "95 % interval", "26": "Trained and measured on",
        "27": "a site must measure the bundle",
    },
}  # fmt: skip
"""What an item's section holds that answers it, for each that names a section."""


@pytest.mark.parametrize("guideline", GUIDELINES, ids=lambda g: g.name)
def test_the_section_that_an_item_names_holds_what_the_item_asks_for(guideline):
    manifest = tiny_manifest()
    text = reporting_card(manifest, evaluation(manifest), None)
    own = {heading: text[text.index(f"## {heading}\n") :].split("\n## ")[0] for heading in headings(text)}
    for item in guideline.items:
        named = re.findall(r"section ([A-Z][a-z ]*[a-z])", item.answer) if item.done else []
        assert (item.number in PHRASES[guideline]) == bool(named), item
        if named:
            assert any(PHRASES[guideline][item.number] in own[section] for section in named), item


def test_background_and_users_have_their_sources_in_the_card():
    use = reporting_card(tiny_manifest(), None, None).split("## Use\n")[1].split("\n## ")[0]
    for words in ("2025;13:e70738", "Zhao et al. (J Med Internet Res 2026;28:e75965; 22 X-ray studies)",
                  "0.920 (0.880 to 0.940)", "PACS and imaging IT", "it decides nothing"):  # fmt: skip
        assert words in use


def test_flagged_gaps_stand_in_the_summary_with_the_groups_that_are_too_small():
    manifest = tiny_manifest()
    own = evaluation(manifest)
    summary = reporting_card(manifest, own, None).split("## Summary\n")[1].split("\n## ")[0]
    assert "No group differs from all others" in summary
    small = sum(group.get("suppressed", False) for group in own["subgroups"])
    assert f"Of {len(own['subgroups'])} groups {small} are too small to tell." in summary
    men = next(group for group in own["subgroups"] if group["name"] == "men")
    men["gaps"]["sensitivity"] = {"value": -0.243, "low": -0.349, "high": -0.143}
    men["flagged"] = ["sensitivity"]
    text = reporting_card(manifest, own, None)
    assert "t_high; at least .10 and beyond chance): men SEN -0.243 (-0.349 to -0.143)." in text.split("## Use\n")[0]
    assert "-0.243 (-0.349 to -0.143) FLAGGED" in text


def test_an_evaluation_of_another_version_is_refused():
    manifest = tiny_manifest()
    with pytest.raises(CardError, match="another version"):
        reporting_card(manifest, evaluation(manifest, format=1), None)


def test_an_item_that_only_an_evaluation_answers_is_not_done_without_one():
    manifest = tiny_manifest()
    without, given = (reporting_card(manifest, own, None) for own in (None, evaluation(manifest)))
    assert "| 14 | fairness | not done: the evaluation was not run for this card |" in without
    assert "| 14 | fairness | section Figures (by sex and age), `model/evaluation/subgroups.py` |" in given


def test_a_simulated_bundle_says_so_first_and_missing_figures_are_said_to_be_missing():
    text = reporting_card(tiny_manifest(), None, None)
    assert text.index(SIMULATED) < text.index("## Identity")
    assert "was not run for this card" in text
    assert "No benefit of wavelets or attention is claimed" in text


def test_missed_bars_stand_in_the_summary_and_every_table_of_the_evaluation_in_the_card():
    manifest = tiny_manifest()
    text = reporting_card(
        manifest, evaluation(manifest), {"sentences": ["Attention: no benefit shown."], "patients": 50, "short": False}
    )
    summary = text[text.index("## Summary") : text.index("## Use")]
    assert "Of 2 bars that were set beforehand, 2 are missed: x 0.5000 (at least 0.6); y not measured" in summary
    assert "| x | 0.5000 | 0.4000 to 0.6000 | at least 0.6 | **no** |  |" in text
    assert "| y | not measured |  | at least 0.6 | **no** |  |" in text
    assert "in 40 of 40 the score falls at every step" in text
    assert "one epoch on 50 simulated patients" in text
    assert "- Attention: no benefit shown." in text
    assert "had been scored for earlier demonstration bundles" in summary
    for heading in (
        "Bars",
        "Operating points",
        "PPV / NPV at other prevalences",
        "Calibration",
        "Sealed with the bundle",
    ):
        assert f"### {heading}\n" in text
    own = appraised()["auc"]["image"]["women"]
    assert f"{own['value']:.3f} ({own['low']:.3f} to {own['high']:.3f})" in text
    assert "| women | " in text[text.index("### Subgroups") :]


def test_the_figures_sealed_with_the_bundle_are_in_the_card():
    metric = Metric(name="auc.image", population="held-out", value=0.92, low=0.9, high=0.94, n=801, positives=198)
    text = reporting_card(tiny_manifest().model_copy(update={"metrics": (metric,)}), None, None)
    assert "| auc.image | 0.920 | 0.900 to 0.940 | 801 | 198 | held-out |" in text
    assert "801 held-out simulated films, all: image AUC 0.920 (0.900 to 0.940); demanded 0.93, **missed**." in text


def test_the_card_in_the_documents_is_of_the_shipped_bundle():
    shipped, text = read_manifest(DEMO_BUNDLE), (ROOT / "deploy" / "docs" / "model-card.md").read_text(encoding="utf-8")
    assert f"Bundle `{shipped.bundle_id}`" in text
    assert text.index(SIMULATED) < text.index("## Identity")


def test_an_evaluation_of_another_bundle_or_a_short_run_is_refused():
    manifest = tiny_manifest()
    with pytest.raises(CardError, match="evaluate it again"):
        reporting_card(manifest, evaluation(manifest, bundle={"id": "other"}), None)
    with pytest.raises(CardError, match="short run"):
        reporting_card(manifest, evaluation(manifest, asked={"short": True}), None)


def test_no_word_of_the_card_reads_as_a_diagnosis_or_a_validation():
    manifest = tiny_manifest()
    text = reporting_card(manifest, evaluation(manifest), None)
    assert not re.search(r"\b(healthy|ruled out|no osteoporosis|clinically validated)\b", text, re.IGNORECASE)


def test_the_card_of_a_sites_bundle_speaks_of_no_table_that_it_was_not_fitted_on():
    made = tiny_manifest()
    site = made.model_copy(update={"training": made.training.model_copy(update={"simulated": False})})
    assert "The clinical table is of one country" in reporting_card(made, None, None)
    assert "The clinical table is of one country" not in reporting_card(site, None, None)
