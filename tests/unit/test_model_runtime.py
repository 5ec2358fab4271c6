import dataclasses
from collections.abc import Mapping

import numpy as np
import pytest
import torch

from model.image_net import ImageNetwork
from model.manifest import Serving
from model.phantom.render import render
from model.phantom.scenario import Acquisition
from model.phantom.subject import Subject
from model.preprocess import prepare
from model.runtime import serve
from model.runtime_torch import TorchRuntime


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return ImageNetwork()


@pytest.fixture(scope="module")
def prepared():
    film = np.zeros((260, 220), np.float32)
    film[20:] = render(Subject(), Acquisition(), 5, (240, 220))
    return prepare(film, 128)


def flip(prepared):
    return dataclasses.replace(prepared, image=prepared.image[:, ::-1], mask=prepared.mask[:, ::-1])


def test_outputs_repeat_bit_for_bit_and_are_plain_finite_floats(network, prepared):
    runtime = TorchRuntime(network, Serving(crop=128, mirror=False))
    first, second = runtime.infer(prepared), runtime.infer(prepared)
    assert first == second
    assert all(isinstance(value, float) and np.isfinite(value) for value in (first.logit, first.t_score))
    assert first.ordinal[0] >= first.ordinal[1]


def test_the_whole_square_is_analysed_as_the_region_the_preprocessing_found(network, prepared):
    raw = TorchRuntime(network, Serving(crop=128, mirror=False)).infer(prepared)
    assert raw.region == prepared.region
    assert prepared.region[0] == 20


def test_attention_covers_the_region_without_padding_and_sums_to_one(network, prepared):
    raw = TorchRuntime(network, Serving(crop=128, mirror=False)).infer(prepared)
    rows, columns = len(raw.attention), len(raw.attention[0])
    top, left, bottom, right = raw.region
    assert max(rows, columns) == 16
    assert abs(columns / rows - (right - left) / (bottom - top)) < 1 / 16
    assert {len(row) for row in raw.attention} == {columns}
    assert sum(map(sum, raw.attention)) == pytest.approx(1, abs=1e-9)


def test_mirrored_serving_is_the_mean_over_both_and_blind_to_a_flip(network, prepared):
    mirrored = TorchRuntime(network, Serving(crop=128, mirror=True))
    plain = TorchRuntime(network, Serving(crop=128, mirror=False))
    both = (plain.infer(prepared).logit + plain.infer(flip(prepared)).logit) / 2
    assert mirrored.infer(prepared).logit == pytest.approx(both, abs=1e-6)
    assert mirrored.infer(flip(prepared)).logit == pytest.approx(both, abs=1e-6)


def test_attention_of_a_mirrored_film_is_the_mirrored_attention(network, prepared):
    mirrored = TorchRuntime(network, Serving(crop=128, mirror=True))
    there = np.array(mirrored.infer(prepared).attention)
    back = np.array(mirrored.infer(flip(prepared)).attention)
    assert np.allclose(there, back[:, ::-1], atol=1e-6)


def test_a_central_crop_names_the_source_pixels_it_shows(prepared):
    shown = serve(prepared, Serving(crop=96, mirror=False))
    assert np.array_equal(shown.image, prepared.image[16:112, 16:112])
    top, left, bottom, right = shown.region
    outer = prepared.region
    assert outer[0] < top < bottom < outer[2]
    assert outer[1] < left < right < outer[3]
    assert (bottom - top) * prepared.pixels_per_source_px == pytest.approx(96, abs=1.1)


def test_a_crop_that_reaches_the_padding_stays_inside_the_source():
    tall = prepare(np.random.default_rng(0).random((400, 200), dtype=np.float32), 128)
    shown = serve(tall, Serving(crop=96, mirror=False))
    assert shown.region == (50, 0, 350, 200)
    assert shown.mask.sum() == 96 * 64


def test_weights_in_another_precision_become_float32(prepared):
    half = ImageNetwork().half()
    TorchRuntime(half, Serving(crop=128, mirror=False)).infer(prepared)
    state: Mapping[str, torch.Tensor] = half.state_dict()
    assert {value.dtype for value in state.values() if value.is_floating_point()} == {torch.float32}


def test_facts_name_the_engine_and_one_thread(network):
    facts = TorchRuntime(network, Serving(crop=128, mirror=False)).facts()
    assert (facts.engine, facts.precision, facts.threads) == ("torch", "float32", 1)
    assert facts.version == torch.__version__
    assert torch.get_num_threads() == 1
