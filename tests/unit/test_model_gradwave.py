import numpy as np
import pytest
import pywt
import torch

from model.gradwave import NO_STEM, READINGS, STEMS, GradDWT, global_vector, gradient_magnitude

WAVELETS = ("haar", "db2", "sym4", "bior2.2")


def pictures(side, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(2, 1, side, side)).astype(np.float32))


@pytest.mark.parametrize("side", [32, 96, 224, 320])
@pytest.mark.parametrize("wavelet", WAVELETS)
def test_one_level_equals_pywavelets_with_reflect_padding(wavelet, side):
    images = pictures(side)
    bands = GradDWT(wavelet).transform(images)
    for row in range(2):
        approximation, (horizontal, vertical, diagonal) = pywt.dwt2(images[row, 0].numpy(), wavelet, mode="reflect")
        for ours, theirs in zip(bands[row, 0], (approximation, vertical, horizontal, diagonal), strict=True):
            assert np.abs(ours.numpy() - theirs[: side // 2, : side // 2]).max() < 5e-6


@pytest.mark.parametrize("wavelet", WAVELETS)
def test_every_level_equals_pywavelets_on_the_low_pass_of_the_level_before(wavelet):
    images = pictures(320)
    stem = GradDWT(wavelet)
    current = torch.cat([images, gradient_magnitude(images)], dim=1).double().numpy()
    for level in stem(images):
        expected = np.stack([[_bands(channel, wavelet) for channel in image] for image in current])
        assert level.shape == (2, 8, expected.shape[-2], expected.shape[-1])
        assert np.abs(level.numpy() - expected.reshape(level.shape)).max() < 5e-6
        current = expected[:, :, 0] / 2


def _bands(channel, wavelet):
    half = len(channel) // 2
    approximation, (horizontal, vertical, diagonal) = pywt.dwt2(channel, wavelet, mode="reflect")
    return [band[:half, :half] for band in (approximation, vertical, horizontal, diagonal)]


def test_band_order_puts_vertical_edges_in_the_second_band():
    edge = torch.zeros(1, 1, 32, 32)
    edge[..., 17:] = 1
    bands = GradDWT("haar").transform(edge)[0, 0]
    assert bands[1].abs().max() > 0.9
    assert bands[2].abs().max() == 0


def test_an_odd_side_is_refused():
    with pytest.raises(ValueError, match="multiple of 32"):
        GradDWT().transform(torch.zeros(1, 1, 31, 32))


def test_a_side_that_turns_odd_on_the_way_down_is_refused():
    with pytest.raises(ValueError, match=r"\(9, 9\)"):
        GradDWT(levels=4)(torch.zeros(1, 1, 36, 36))


def test_low_pass_keeps_a_constant_image():
    stem = GradDWT("sym4", levels=2)
    first, second = stem(torch.full((1, 1, 64, 64), 0.7))
    for level in (first, second):
        assert torch.allclose(level[:, 0], torch.tensor(1.4), atol=1e-5)
        assert level[:, 1:4].abs().max() < 1e-5


def test_scharr_magnitude_of_a_ramp_is_its_slope():
    ramp = (0.03 * torch.arange(40.0)).expand(1, 1, 40, 40)
    assert torch.allclose(gradient_magnitude(ramp)[..., 1:-1], torch.tensor(0.03), atol=3e-6)
    assert torch.allclose(gradient_magnitude(ramp.mT)[..., 1:-1, :], torch.tensor(0.03), atol=3e-6)


def test_gradient_flows_to_the_image_even_where_it_is_flat():
    image = torch.zeros(1, 1, 32, 32, requires_grad=True)
    sum(level.square().sum() for level in GradDWT()(image)).backward()
    assert torch.isfinite(image.grad).all()


def test_global_vector_has_four_numbers_per_level_and_channel_and_is_finite_on_a_blank_image():
    maps = STEMS["grad-dwt:db2"]()(torch.zeros(3, 1, 64, 64))
    vector = global_vector(maps)
    assert vector.shape == (3, 4 * 8 * 4)
    assert torch.isfinite(vector).all()


def test_stems_hold_no_parameters_and_give_four_levels():
    for name, make in STEMS.items():
        stem = make()
        sides = [64] * 4 if name == "mallat-zhong" else [32, 16, 8, 4]
        assert [level.shape for level in stem(pictures(64))] == [(2, stem.bands, side, side) for side in sides]


def test_the_plain_transform_is_the_image_half_of_r1():
    images = pictures(64)
    for plain, both in zip(STEMS["dwt:db2"]()(images), STEMS["grad-dwt:db2"]()(images), strict=True):
        assert torch.equal(plain, both[:, :4])


def texture(side):
    """A film-like random texture, amplitude ~ frequency ** -1.5; periodic, so that a roll is a shift."""
    rng = np.random.default_rng(4)
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None])
    spectrum = np.fft.rfft2(rng.normal(size=(side, side))) / np.maximum(frequency, 1 / side) ** 1.5
    grey = np.fft.irfft2(spectrum, (side, side))
    return ((grey - grey.mean()) / grey.std()).astype(np.float32)


def energies(stem, film):
    border = 24
    inner = [level[..., border:-border, border:-border] for level in stem(torch.from_numpy(film)[None, None])]
    return torch.stack([level[:, 1:].square().mean((2, 3)) for level in inner])


@pytest.mark.parametrize("shift", [1, 2, 3])
def test_r2_shift_changes_band_energies_by_no_more_than_point_2_percent(shift):
    film = texture(640)
    rolled = np.roll(film, (shift, shift), (0, 1))
    before, after = energies(STEMS["mallat-zhong"](), film), energies(STEMS["mallat-zhong"](), rolled)
    assert (after / before - 1).abs().max() <= 0.002


def test_r2_answers_a_step_equally_at_all_scales_and_where_it_is():
    step = torch.zeros(1, 1, 64, 64)
    step[..., 32:] = 1
    for number, level in enumerate(STEMS["mallat-zhong"]()(step)):
        modulus, across, down = level[0, :, 32]
        assert down.abs().max() < 1e-6
        assert across.max() == pytest.approx(1.33 if number == 0 else 1.25, abs=0.12)
        assert modulus.argmax().item() == pytest.approx(31.5, abs=2.6)
        assert torch.allclose(modulus, across.abs(), atol=1e-3)


def test_short_names_of_the_design_name_stems_or_none():
    assert list(READINGS) == ["none", "dwt", "r1", "r2"]
    assert all(name == NO_STEM or name in STEMS for name in READINGS.values())
