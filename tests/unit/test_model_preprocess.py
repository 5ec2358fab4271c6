import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.phantom.render import render
from model.phantom.scenario import Acquisition
from model.phantom.subject import Subject
from model.preprocess import _flat, field_of_view, prepare


def gradient(rows, columns):
    """A picture whose grey value tells where it is."""
    y, x = np.mgrid[0:rows, 0:columns].astype(np.float32)
    return ((y / rows + x / columns) / 2).astype(np.float32)


def test_letter_box_keeps_the_aspect_and_pads_with_zeros_outside_the_mask():
    prepared = prepare(gradient(500, 250), 320)
    assert prepared.image.shape == prepared.mask.shape == (320, 320)
    assert prepared.image.dtype == np.float32
    assert prepared.box == (0, 80, 320, 240)
    assert prepared.mask.sum() == 320 * 160
    assert not prepared.image[~prepared.mask].any()
    assert prepared.region == (0, 0, 500, 250)
    assert prepared.pixels_per_source_px == pytest.approx(0.64)


def test_result_cannot_be_changed():
    with pytest.raises(ValueError, match="read-only"):
        prepare(gradient(64, 64), 32).image[0, 0] = 1


def test_grey_values_fill_the_range_between_the_percentiles():
    shown = prepare(0.3 + 0.1 * gradient(400, 400), 320).image
    assert shown.min() == 0
    assert shown.max() == 1
    assert 0.003 < (shown == 0).mean() < 0.008
    assert 0.003 < (shown == 1).mean() < 0.008


def test_collimated_border_is_cut_off_and_the_region_says_so():
    film = np.zeros((420, 360), np.float32)
    film[20:410, 30:350] = gradient(390, 320)
    assert field_of_view(film) == (20, 30, 410, 350)
    framed, alone = prepare(film, 320), prepare(film[20:410, 30:350], 320)
    assert framed.region == (20, 30, 410, 350)
    assert np.array_equal(framed.image, alone.image)


def test_noisy_border_counts_as_flat_while_it_stays_under_one_percent():
    film = np.random.default_rng(0).normal(0, 1e-4, (300, 300)).astype(np.float32)
    film[10:290] += gradient(280, 300)
    assert field_of_view(film)[0::2] == (10, 290)


def field_line_by_line(pixels):
    """The field of view by its definition: one line after the other, from outside inwards."""
    limit = 0.01 * float(pixels[::4, ::4].std())

    def trim(lines):
        first, last = 0, len(lines)
        while first < last - 1 and lines[first].std() < limit:
            first += 1
        while last > first + 1 and lines[last - 1].std() < limit:
            last -= 1
        return first, last

    top, bottom = trim(pixels)
    left, right = trim(pixels[top:bottom].T)
    rows, columns = pixels.shape
    small = 3 * (bottom - top) < rows or 3 * (right - left) < columns
    return (0, 0, rows, columns) if small else (top, left, bottom, right)


@given(
    borders=st.tuples(*[st.integers(0, 40)] * 4),
    inside=st.tuples(*[st.integers(1, 60)] * 2),
    noise=st.sampled_from((0.0, 1e-4, 2.5e-3, 3e-3)),
    seed=st.integers(0, 9),
)
def test_the_field_is_that_of_looking_line_by_line(borders, inside, noise, seed):
    rng = np.random.default_rng(seed)
    top, left, bottom, right = borders
    film = rng.normal(0, noise, (top + inside[0] + bottom, left + inside[1] + right)).astype(np.float32)
    film[top : top + inside[0], left : left + inside[1]] += rng.random(inside, dtype=np.float32)
    assert field_of_view(film) == field_line_by_line(film)


@pytest.mark.parametrize("order", ["C", "F"])
def test_flatness_of_a_line_is_decided_as_for_it_alone(order):
    """Each line's own SD as the limit: a sum in another order would round to the other side of it."""
    lines = np.random.default_rng(4).random((50, 900), dtype=np.float32)
    lines = np.asarray(lines[np.argsort(lines.std(axis=1))], order=order)
    alone = [float(line.std()) for line in lines]
    assert [_flat(lines, limit) for limit in alone] == [sum(sd < limit for sd in alone) for limit in alone]


def test_blank_image_gives_zeros_and_its_whole_field():
    prepared = prepare(np.full((50, 40), 0.7, np.float32), 64)
    assert not prepared.image.any()
    assert prepared.region == (0, 0, 50, 40)


def test_inverted_monochrome_is_the_mirror_image_of_the_grey_scale():
    film = gradient(400, 328) ** 2
    plain, inverted = prepare(film, 320), prepare((1 - film).astype(np.float32), 320)
    assert np.allclose(plain.image[plain.mask], 1 - inverted.image[plain.mask], atol=2e-6)


def test_linear_windowing_before_does_not_matter():
    film = gradient(512, 420)
    assert np.allclose(prepare(film, 320).image, prepare(0.25 + 0.5 * film, 320).image, atol=1e-5)


def test_area_averaging_does_not_alias_a_fine_pattern():
    stripes = np.tile(np.array([0.2, 0.8], np.float32), (640, 320))
    stripes[:, :320] += np.float32(0.1)
    shown = prepare(stripes, 320).image
    assert shown[:, 10:150].std() < 1e-4


@pytest.mark.parametrize("side", [320, 512])
def test_a_440_px_film_is_prepared_at_both_sides(side):
    prepared = prepare(gradient(440, 440), side)
    assert prepared.mask.all()
    assert prepared.pixels_per_source_px == pytest.approx(side / 440)


@given(
    rows=st.integers(1, 90), columns=st.integers(1, 90), seed=st.integers(0, 5), kind=st.sampled_from(("noise", "bits"))
)
def test_any_picture_gives_a_finite_square(rows, columns, seed, kind):
    rng = np.random.default_rng(seed)
    pixels = rng.random((rows, columns), dtype=np.float32)
    prepared = prepare(pixels if kind == "noise" else (pixels > 0.5).astype(np.float32), 32)
    assert np.isfinite(prepared.image).all()
    assert 0 <= prepared.image.min() <= prepared.image.max() <= 1
    top, left, bottom, right = prepared.region
    assert 0 <= top < bottom <= rows
    assert 0 <= left < right <= columns
    first, second, third, fourth = prepared.box
    assert prepared.mask[first:third, second:fourth].all()


def test_preparing_is_repeatable_on_a_phantom():
    film = render(Subject(), Acquisition(), 3, (256, 210))
    digests = {hashlib.sha256(prepare(film, 224).image.tobytes()).hexdigest() for _ in range(2)}
    assert len(digests) == 1
