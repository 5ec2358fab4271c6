import pytest
import torch
from torch.nn import functional

from model.backbones import imagenet_weights
from model.gradwave import READINGS, GradDWT
from model.image_net import STEMS, AttentionFusion, ImageNetwork, OrderedCuts, standardise


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    made = ImageNetwork()
    made.trunk.load_state_dict(imagenet_weights(), strict=True)
    return made.eval()


@pytest.fixture(scope="module")
def images():
    return torch.rand(2, 1, 96, 96, generator=torch.Generator().manual_seed(1))


def test_fusion_leaves_the_pretrained_trunk_unchanged_at_step_0(network, images):
    maps = network.wavelets(standardise(images, torch.ones_like(images)))
    with torch.inference_mode():
        assert torch.equal(network.fused_features(images, maps), network.trunk.features(images))
    assert network.gammas() == (0.0, 0.0)


def test_a_gamma_that_has_moved_changes_the_features():
    fusion = AttentionFusion(40, 32).eval()
    trunk, wavelets = torch.rand(1, 40, 6, 6), torch.rand(1, 32, 6, 6)
    assert torch.equal(fusion(trunk, wavelets), trunk)
    fusion.gamma.data.fill_(0.5)
    assert (fusion(trunk, wavelets) - trunk).abs().max() > 1e-3


def test_gamma_gets_a_gradient_at_step_0(network, images):
    output = network(images, torch.ones_like(images))
    output.logit.sum().backward()
    assert all(module.gamma.grad.abs() > 0 for module in network.fuse)
    network.zero_grad()


def test_outputs_have_the_documented_shapes(network, images):
    with torch.inference_mode():
        output = network(images, torch.ones_like(images))
    assert output.logit.shape == output.t_score.shape == (2,)
    assert output.ordinal.shape == (2, 2)
    assert output.attention.shape == (2, 3, 3)
    assert torch.allclose(output.attention.sum((1, 2)), torch.ones(2))
    assert (output.attention >= 0).all()


@pytest.mark.parametrize("gap", [-20.0, 0.0, 8.0])
def test_cuts_stay_ordered_whatever_the_weights(gap):
    cuts = OrderedCuts(5)
    cuts.gap.data.fill_(gap)
    lower, higher = cuts(torch.randn(50, 5)).unbind(1)
    assert (lower >= higher).all()
    assert torch.allclose(lower - higher, functional.softplus(torch.tensor(gap)).expand(50), atol=1e-5)


def test_standardising_looks_inside_the_mask_only():
    image, mask = torch.rand(1, 1, 32, 32), torch.zeros(1, 1, 32, 32)
    mask[..., 4:20, 8:30] = 1
    shown = standardise(image * mask, mask)
    inside = shown[mask.bool()]
    assert inside.mean().abs() < 1e-5
    assert inside.square().mean() == pytest.approx(1, abs=1e-3)
    assert not shown[~mask.bool()].any()


def test_blank_and_fully_masked_images_stay_finite(network):
    blank = torch.zeros(1, 1, 96, 96)
    with torch.inference_mode():
        for mask in (torch.ones_like(blank), blank):
            output = network(blank, mask)
            assert all(torch.isfinite(value).all() for value in output)


def test_t_score_is_on_the_scale_of_the_training_patients(network, images):
    with torch.inference_mode():
        before = network(images, torch.ones_like(images)).t_score
        network.lowest_t.copy_(torch.tensor([-1.5, 2.0]))
        after = network(images, torch.ones_like(images)).t_score
        network.lowest_t.copy_(torch.tensor([0.0, 1.0]))
    assert torch.allclose(after, before * 2 - 1.5, atol=1e-5)


def test_an_unknown_stem_is_refused():
    with pytest.raises(KeyError):
        ImageNetwork("dwt:db9")
    assert isinstance(STEMS["grad-dwt:db2"](), GradDWT)


@pytest.mark.parametrize("attention", [True, False])
@pytest.mark.parametrize("stem", READINGS.values())
def test_every_reading_leaves_the_trunk_unchanged_at_step_0_and_answers_in_the_same_form(images, stem, attention):
    torch.manual_seed(1)
    made = ImageNetwork(stem, attention=attention).eval()
    with torch.inference_mode():
        output = made(images, torch.ones_like(images))
        maps = made.wavelets(standardise(images, torch.ones_like(images))) if made.wavelets else []
        assert torch.allclose(made.fused_features(images, maps), made.trunk.features(images), atol=1e-5)
    assert output.attention.shape == (2, 3, 3)
    assert torch.allclose(output.attention.sum((1, 2)), torch.ones(2))
    assert len(set(output.attention.flatten().tolist())) == 1 or attention


def test_the_plain_trunk_has_nothing_but_the_trunk_and_three_heads():
    made = ImageNetwork("none", attention=False)
    own = {name.split(".")[0] for name, _ in made.named_parameters()}
    assert own == {"trunk", "classify", "order", "regress"}
    assert made.gammas() == ()
