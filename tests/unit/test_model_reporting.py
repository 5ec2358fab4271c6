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
        manifest, evaluation(manifest), {"sentences": ["Attention: no benefit shown."], "short": False}
    )
    summary = text[text.index("## Summary") : text.index("## Use")]
    assert "Of 2 bars that were set beforehand, 2 are missed: x 0.5000 (at least 0.6); y not measured" in summary
    assert "| x | 0.5000 | 0.4000 to 0.6000 | at least 0.6 | **no** |" in text
    assert "| y | not measured |  | at least 0.6 | **no** |" in text
    assert "in 40 of 40 the score falls at every step" in text
    assert "- Attention: no benefit shown." in text
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
