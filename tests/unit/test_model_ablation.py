"""The ablation: rows that differ in one part, equal folds, paired figures, sentences that claim nothing not shown."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from support.model_parts import CLINICAL

from model.phantom.cohort import sample
from model.train import ablation as rows_module
from model.train.ablation import FULL, PLAIN, Ablation, contrasts_of, rows_of
from model.train.ablation_figures import NetworkScores, compare
from model.train.loop import Recipe

TINY = Ablation(images=16, side=64, seed=5, recipe=Recipe(epochs=1, batch=4, crop=64))
PATIENTS = sample(600, 11)
ROWS = list(rows_of(TINY))


def scored(quality):
    """Logits of networks that read the bone with another noise by row."""
    rng = np.random.default_rng(1)
    bone, common = np.array([-p.t_lowest for p in PATIENTS]), rng.normal(size=600)
    return {
        row: NetworkScores(
            logits=bone - 2.5 + noise * (0.9 * common + 0.44 * rng.normal(size=600)), gamma=((0.01,),), cpu_seconds=9.0
        )
        for row, noise in quality.items()
    }


def compared(quality):
    fold_of = np.arange(600) % 2
    return compare(
        scored(quality), PATIENTS, fold_of=fold_of, clinical=CLINICAL, full=FULL, contrasts=contrasts_of(ROWS)
    )


def test_every_contrast_but_the_first_differs_in_one_switch():
    rows = rows_of(TINY)
    for _, first, second in contrasts_of(ROWS)[1:]:
        a, b = (dataclasses.asdict(rows[name]) for name in (first, second))
        assert len([key for key in a if a[key] != b[key]]) == 1


def test_another_trunk_is_compared_with_the_shipped_network_only():
    more = dataclasses.replace(TINY, trunks=(Recipe(trunk="resnet18", untrained_trunk=True),))
    rows = rows_of(more)
    (name,) = set(rows) - set(ROWS)
    assert "untrained" in name
    assert (rows[name].trunk, rows[name].epochs, rows[name].crop) == ("resnet18", 1, 64)
    assert contrasts_of(list(rows))[-1][1:] == (name, FULL)


def test_figures_are_scikit_learns_and_equal_networks_show_no_difference():
    same = compared(dict.fromkeys(ROWS, 0.7))
    truth = [int(p.osteoporosis) for p in PATIENTS]
    own = scored(dict.fromkeys(ROWS, 0.7))[FULL].logits
    assert next(r for r in same.rows if r["name"] == FULL)["all"]["value"] == pytest.approx(roc_auc_score(truth, own))
    assert "Wavelets (R1): no benefit shown, and none is claimed." in same.sentences
    assert "Attention: no benefit shown, and none is claimed." in same.sentences
    assert same.holds


def test_a_benefit_that_is_there_is_said_and_a_harm_misses_the_bar():
    better = compared({row: 0.3 if row == FULL else 1.2 for row in ROWS})
    assert "Wavelets (R1) raised the AUC on these simulated films." in better.sentences
    assert any(s.startswith("full network against plain trunk: higher AUC") for s in better.sentences)
    worse = compared({row: 1.5 if row == FULL else 0.3 for row in ROWS})
    assert not worse.holds
    assert "Wavelets (R1) lowered the AUC on these simulated films." in worse.sentences


def test_fusion_rules_are_compared_out_of_fold_and_the_stack_is_calibrated():
    found = {row["name"]: row for row in compared(dict.fromkeys(ROWS, 0.9)).fusion}
    assert set(found) == {"image", "clinical", "linear pool", "logit stack"}
    assert found["logit stack"]["ece"] < 0.06
    assert found["logit stack"]["slope"]["low"] < 1 < found["logit stack"]["slope"]["high"]


def test_networks_that_learned_nothing_leave_fusion_out_and_say_so():
    rng = np.random.default_rng(3)
    blind = {
        row: NetworkScores(logits=np.array([p.t_lowest for p in PATIENTS]), gamma=(), cpu_seconds=1.0) for row in ROWS
    }
    found = compare(
        blind, PATIENTS, fold_of=rng.integers(0, 2, 600), clinical=CLINICAL, full=FULL, contrasts=contrasts_of(ROWS)
    )
    assert not found.fusion
    assert any("Fusion was not compared" in s for s in found.sentences)


def test_the_text_is_json_and_says_simulated():
    found = compared(dict.fromkeys(ROWS, 0.7))
    assert json.loads(json.dumps(found.to_dict()))["simulated"] is True
    text = found.markdown()
    assert "simulated films" in text
    assert all(row in text for row in ROWS)
    assert "not corrected for 10 comparisons" in text


def test_a_tiny_network_is_trained_asked_and_kept(tmp_path, monkeypatch):
    recipe = rows_of(TINY)[PLAIN]
    first = rows_module._job(recipe, 0, TINY, tmp_path)
    assert len(first["logits"]) == 8
    monkeypatch.setattr(rows_module, "train_network", None)  # what was kept is not trained again
    assert rows_module._job(recipe, 0, TINY, tmp_path) == first
