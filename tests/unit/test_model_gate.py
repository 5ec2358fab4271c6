"""The gate on the real frozen trunk: every pose refused with its code; strangers refused; arrays round-trip."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import safetensors.numpy
from support.shared_data import DICOM, FILMS, needs_dicom, needs_films
from support.small_screener import feature_trunk, phantom, small_gate, upright

from dicom_io.errors import DicomIoError
from dicom_io.radiograph import read_radiograph
from model.bundle import load_bundle
from model.domain import Reason
from model.gate import GateModel, Pose, embedding, pooled
from model.gate_fit import fit_gate, poses_of
from model.phantom.cohort import sample
from model.phantom.render import render
from model.phantom.scenario import draw_acquisition
from model.screener import DEMO_BUNDLE

REASONS = {
    Pose.INVERTED: Reason.INVERTED,
    Pose.ROTATED_90: Reason.ROTATED_90,
    Pose.ROTATED_270: Reason.ROTATED_90,
    Pose.ROTATED_180: Reason.UPSIDE_DOWN,
    Pose.UPSIDE_DOWN: Reason.UPSIDE_DOWN,
    Pose.PARTIAL: Reason.PARTIAL_CHEST,
}


@pytest.fixture(scope="module")
def gate() -> GateModel:
    return small_gate()[0]


@pytest.fixture(scope="module")
def poses():
    return poses_of(upright(), np.random.default_rng(3))


def _judge(gate, pixels):
    return gate.judge(np.ascontiguousarray(pixels), feature_trunk())


def test_upright_is_accepted(gate, poses):
    verdict = _judge(gate, poses[Pose.UPRIGHT])
    assert verdict.accepted
    assert verdict.reasons == ()
    assert 0 < verdict.ratio <= 1
    assert 0.5 <= verdict.agreement <= 1
    assert dict(verdict.measurements) == {"gate_distance_ratio": verdict.ratio, "gate_upright": verdict.agreement}


@pytest.mark.parametrize("pose", REASONS)
def test_every_other_pose_is_refused_with_its_code(gate, poses, pose):
    verdict = _judge(gate, poses[pose])
    assert not verdict.accepted
    assert REASONS[pose] in verdict.reasons or verdict.reasons == (Reason.NOT_CHEST,)


def test_each_pose_code_is_reached_near_the_bank(gate, poses):
    near = replace(gate, distance_limit=10 * gate.distance_limit)
    assert {_judge(near, poses[pose]).reasons for pose in REASONS} == {(reason,) for reason in REASONS.values()}


def test_a_mirrored_film_is_accepted_with_a_warning_from_the_threshold_on(gate, poses):
    for threshold, expected in ((0.0, (Reason.MIRRORED,)), (1.0, ())):
        verdict = _judge(replace(gate, mirrored_at=threshold, distance_limit=2.0), poses[Pose.MIRRORED])
        assert verdict.accepted
        assert verdict.limitations == expected


def test_strangers_are_not_chest(gate):
    rng = np.random.default_rng(0)
    ramp = np.tile(np.linspace(0, 1, 256, dtype=np.float32), (256, 1))
    for pixels in (rng.random((256, 256), dtype=np.float32), ramp, np.zeros((16, 16), np.float32)):
        assert _judge(gate, pixels).reasons == (Reason.NOT_CHEST,)


def test_far_and_yet_upright_is_out_of_distribution(gate, poses):
    ratio = _judge(gate, poses[Pose.UPRIGHT]).ratio
    tighter = replace(gate, distance_limit=gate.distance_limit * ratio / 1.5)
    assert _judge(tighter, poses[Pose.UPRIGHT]).reasons == (Reason.OUT_OF_DIST,)


def test_evaluation_counts_and_children_stay_out():
    gate, evaluation = small_gate()
    assert (evaluation.films, evaluation.patients, evaluation.phantoms) == (10, 5, 3)
    assert len(gate.bank) == 13
    assert evaluation.transforms_refused >= 0.9
    assert evaluation.mirrored_false <= 0.1


def test_round_trip_through_safetensors(gate, poses):
    arrays, metadata = gate.to_arrays()
    again = GateModel.from_arrays(safetensors.numpy.load(safetensors.numpy.save(arrays)), metadata)
    assert _judge(again, poses[Pose.UPRIGHT]) == _judge(gate, poses[Pose.UPRIGHT])
    assert arrays["bank"].dtype == np.float16


def test_arrays_that_do_not_fit_are_refused(gate):
    with pytest.raises(ValueError, match="do not fit"):
        replace(gate, bias=gate.bias[:-1].copy())


def test_pooling_by_hand():
    maps = np.zeros((2, 3, 3), np.float32)
    maps[0, 0, :] = 6  # the top line
    maps[1, :, 2] = 3  # the right column
    assert pooled(maps).tolist() == [2, 1, 0, -3, 6, 0]
    assert embedding(pooled(maps)).tolist() == pytest.approx([2 / 5**0.5, 1 / 5**0.5])
    assert embedding(np.zeros(6, np.float32)).tolist() == [0, 0]


def test_a_film_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "manifest.csv").write_text("file,age,patient\nnone.png,60,1\n", encoding="utf-8")
    with pytest.raises(OSError, match=r"none\.png"):
        fit_gate(tmp_path, [], feature_trunk())


@needs_dicom
def test_demo_gate_on_real_dicom_objects():
    bundle = load_bundle(DEMO_BUNDLE)
    seen = {}
    for path in sorted(DICOM.iterdir()):
        try:
            film = read_radiograph(path)
        except DicomIoError:
            continue
        seen[path.name] = bundle.gate.judge(film.pixels, bundle.gate_features).accepted
    assert len(seen) >= 8
    assert {name for name, accepted in seen.items() if accepted} == {name for name in seen if name.startswith("chest")}


@pytest.mark.slow
@needs_films
def test_rates_on_the_films():
    phantoms = [
        render(p.subject, draw_acquisition(np.random.default_rng(p.index)), p.index, (320, 320)) for p in sample(75, 5)
    ]
    gate, evaluation = fit_gate(FILMS, phantoms, feature_trunk())
    assert evaluation.upright_accepted >= 0.97
    assert evaluation.transforms_refused >= 0.995
    assert evaluation.mirrored_found >= 0.4
    held_out = [_judge(gate, phantom(500 + seed)).accepted for seed in range(20)]
    assert np.mean(held_out) >= 0.95
