"""Every trunk gives the maps the network expects, loads strictly, and leaves its own function alone at step 0."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
from torch import Tensor

from model.image_net import ImageNetwork, standardise
from model.manifest import ImageSpec
from model.trunks import TRUNKS, TorchvisionTrunk, TrunkWeightsError, load_weights

ALL = sorted(TRUNKS)
TORCHVISION = [name for name in ALL if name != "efficientnet_lite0"]


def images() -> Tensor:
    return torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("name", ALL)
def test_parts_have_the_stated_strides_and_channels(name: str) -> None:
    trunk = TRUNKS[name]().eval()
    with torch.inference_mode():
        first = trunk.part(0, images())
        second = trunk.part(1, first)
        last = trunk.part(2, second)
    for maps, channels, stride in zip((first, second), trunk.tap_channels, trunk.tap_strides, strict=True):
        assert maps.shape == (1, channels, 64 // stride, 64 // stride)
    assert last.shape == (1, trunk.channels, 2, 2)


@pytest.mark.parametrize("name", ALL)
def test_a_frozen_front_answers_as_the_first_part_and_stays_as_it_was(name: str) -> None:
    torch.manual_seed(0)
    trunk = TRUNKS[name]().train()
    with torch.no_grad():
        trunk.part(0, torch.rand(4, 1, 64, 64))  # statistics of its own
    front, wanted = trunk.frozen_front(), trunk.eval().part(0, images()).detach()
    assert torch.allclose(front(images()), wanted, atol=1e-5 * float(wanted.abs().max()))
    assert not front(images()).requires_grad
    with torch.no_grad():
        for parameter in trunk.parameters():
            parameter.zero_()
    assert torch.allclose(front(images()), wanted, atol=1e-5 * float(wanted.abs().max()))


@pytest.mark.parametrize("name", TORCHVISION)
def test_the_parts_together_are_torchvision_s_own_features(name: str) -> None:
    torch.manual_seed(0)
    trunk = TRUNKS[name]().eval()
    assert isinstance(trunk, TorchvisionTrunk)
    shown = (images().expand(-1, 3, -1, -1) - trunk.mean) / trunk.deviation
    net = trunk.net
    with torch.inference_mode():
        pooled = trunk.features(images()).mean((2, 3))
        if name == "convnext_tiny":
            logits = net.classifier(pooled[:, :, None, None])
        else:
            logits = (net.classifier if name == "densenet121" else net.fc)(pooled)
        assert torch.allclose(logits, net(shown), atol=1e-5)


@pytest.mark.parametrize("name", TORCHVISION)
def test_fusion_leaves_every_trunk_unchanged_at_step_0(name: str) -> None:
    network = ImageNetwork(trunk=name).eval()
    maps = network.wavelets(standardise(images(), torch.ones_like(images())))
    with torch.inference_mode():
        assert torch.equal(network.fused_features(images(), maps), network.trunk.features(images()))
        assert network(images(), torch.ones_like(images())).attention.shape == (1, 2, 2)


def test_a_manifest_names_every_trunk() -> None:
    names = ImageSpec.model_json_schema()["properties"]["trunk"]["enum"]
    assert sorted(names) == ALL


def test_local_weights_load_strictly(tmp_path: Path) -> None:
    torch.manual_seed(1)
    file = tmp_path / "resnet18.pth"
    trained = TRUNKS["resnet18"]()
    assert isinstance(trained, TorchvisionTrunk)
    torch.save(trained.net.state_dict(), file)
    trunk = TRUNKS["resnet18"]()
    assert isinstance(trunk, TorchvisionTrunk)
    load_weights(trunk, file, sha256=digest(file))
    assert torch.equal(trunk.net.conv1.weight, trained.net.conv1.weight)


def test_weights_of_another_trunk_are_refused_with_the_keys_that_differ(tmp_path: Path) -> None:
    file = tmp_path / "resnet18.pth"
    trained = TRUNKS["resnet18"]()
    assert isinstance(trained, TorchvisionTrunk)
    torch.save(trained.net.state_dict(), file)
    with pytest.raises(TrunkWeightsError, match=r"tensors are missing .* foreign"):
        load_weights(TRUNKS["densenet121"](), file, sha256=digest(file))


def test_a_file_that_was_not_reviewed_or_is_absent_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "other.pth"
    file.write_bytes(b"something else")
    with pytest.raises(TrunkWeightsError, match="SHA-256"):
        load_weights(TRUNKS["resnet18"](), file, sha256="0" * 64)
    with pytest.raises(TrunkWeightsError, match="nothing is fetched"):
        load_weights(TRUNKS["resnet18"](), tmp_path / "absent.pth", sha256="0" * 64)


def digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
