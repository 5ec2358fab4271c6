"""The model card: every item of the checklists names an artefact that exists, or says "not done" and why."""

from __future__ import annotations

import copy
import re
from pathlib import Path

import pytest
from support.tiny_bundle import tiny_manifest

from model.train.card import SIMULATED
from model.train.reporting_card import CardError, reporting_card
from model.train.reporting_items import CLAIM, GUIDELINES, STARD, TRIPOD_AI

ROOT = Path(__file__).parents[2]
INTERVAL = {"value": 0.94, "low": 0.93, "high": 0.95, "n": 2000, "positives": 480}
EVALUATION = {
    "asked": {"phantoms": 2000, "seed": 1, "short": False},
    "bundle": {"id": "", "name": "x"},
    "simulated": True,
    "population": "2000 virtual patients",
    "flow": {"assessed": 1990, "not_assessed": {"OUT_OF_DIST": 10}},
    "auc": {"image": {"all": INTERVAL, "women": INTERVAL, "men": None}, "fused": {"all": INTERVAL}},
    "bars": [
        {"name": "auc_image_all", "value": 0.94, "low": 0.93, "high": 0.95, "demand": "at least 0.93", "met": True},
        {"name": "ece_fused", "value": None, "low": None, "high": None, "demand": "at most 0.03", "met": False},
    ],
    "operating_points": {
        "image": {
            "t_high": {
                "sensitivity": INTERVAL, "specificity": INTERVAL, "table": {"tp": 1, "fp": 2, "fn": 3, "tn": 4},
            }
        }
    },
    "spectra": {"image": {"T <= -2.5 against all others": INTERVAL}},
}  # fmt: skip


def evaluation(manifest, **changes):
    own = copy.deepcopy(EVALUATION) | changes
    own["bundle"]["id"] = manifest.bundle_id
    return own


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


def test_a_simulated_bundle_says_so_first_and_missing_figures_are_said_to_be_missing():
    text = reporting_card(tiny_manifest(), None, None)
    assert text.index(SIMULATED) < text.index("## Identity")
    assert "Not measured for this bundle" in text
    assert "No benefit of wavelets or attention is claimed" in text


def test_figures_and_missed_bars_are_copied():
    manifest = tiny_manifest()
    text = reporting_card(
        manifest, evaluation(manifest), {"sentences": ["Attention: no benefit shown."], "short": False}
    )
    assert "| auc_image_all | 0.9400 | 0.9300 to 0.9500 | at least 0.93 | yes |" in text
    assert "| ece_fused | not measured |  | at most 0.03 | **no** |" in text
    assert "- Attention: no benefit shown." in text
    assert "0.940 (0.930 to 0.950)" in text


def test_an_evaluation_of_another_bundle_or_a_short_run_is_refused():
    manifest = tiny_manifest()
    with pytest.raises(CardError, match="evaluate it again"):
        reporting_card(manifest, EVALUATION, None)
    with pytest.raises(CardError, match="short run"):
        reporting_card(manifest, evaluation(manifest, asked={"short": True}), None)


def test_no_word_of_the_card_reads_as_a_diagnosis_or_a_validation():
    manifest = tiny_manifest()
    text = reporting_card(manifest, evaluation(manifest), None)
    assert not re.search(r"\b(healthy|ruled out|no osteoporosis|clinically validated)\b", text, re.IGNORECASE)
