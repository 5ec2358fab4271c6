"""Pictures that a gate must refuse: laterals and what is no chest. They shape no frontal film."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import model.phantom
from model.domain import Sex
from model.gate import Pose
from model.gate_phantoms import SERVED_SIZES, frontal_phantoms, unfit_phantoms
from model.phantom.cohort import sample
from model.phantom.render import render
from model.phantom.scenario import Acquisition, draw_acquisition
from model.phantom.subject import Subject
from model.phantom.unfit.lateral import render_lateral
from model.phantom.unfit.strangers import Stranger, render_stranger

SMALL = (160, 132)


def test_no_frontal_film_depends_on_the_unfit_ones():
    """The training films' cache is named by model/phantom/*.py alone; this is what makes that right."""
    sources = sorted(Path(next(iter(model.phantom.__path__))).glob("*.py"))

    assert len(sources) > 15
    assert not [source.name for source in sources if "unfit" in source.read_text(encoding="utf-8")]


def test_a_lateral_is_another_picture_of_the_same_person_and_reproducible():
    one, again, other = (render_lateral(Subject(), Acquisition(), seed, SMALL) for seed in (3, 3, 4))
    frontal = render(Subject(), Acquisition(), 3, SMALL)

    assert one.shape == SMALL
    assert one.dtype == np.float32
    assert np.array_equal(one, again)
    assert not np.allclose(one, other, atol=0.1)
    assert np.corrcoef(one.ravel(), frontal.ravel())[0, 1] < 0.9


def test_a_lateral_faces_either_way():
    plain = Acquisition(edge_gain=0.0)
    left, right = (render_lateral(Subject(), plain, 3, SMALL, facing=facing) for facing in (-1, 1))
    middle = slice(30, 130)

    mirrored = np.corrcoef(left[middle].ravel(), right[middle, ::-1].ravel())[0, 1]
    assert mirrored > np.corrcoef(left[middle].ravel(), right[middle].ravel())[0, 1] + 0.03
    assert mirrored > 0.9


@settings(max_examples=8, deadline=None)
@given(
    sex=st.sampled_from(Sex),
    height=st.floats(140, 195),
    weight=st.floats(35, 150),
    t=st.floats(-7, 5),
    seed=st.integers(0, 2**32),
    kind=st.sampled_from(Stranger),
)
def test_every_subject_gives_finite_unfit_pictures(sex, height, weight, t, seed, kind):
    subject = Subject(sex=sex, height_cm=height, weight_kg=weight, t_image=t)
    acquisition = draw_acquisition(np.random.default_rng(seed))

    for image in (
        render_lateral(subject, acquisition, seed, (96, 80)),
        render_stranger(kind, subject, acquisition, seed, (96, 80)),
    ):
        assert image.shape == (96, 80)
        assert image.dtype == np.float32
        assert np.isfinite(image).all()
        assert image.min() >= 0
        assert image.max() <= 1


@pytest.mark.parametrize("kind", Stranger)
def test_a_stranger_is_reproducible_and_unlike_a_chest(kind):
    one, again = (render_stranger(kind, Subject(), Acquisition(), 5, SMALL) for _ in range(2))
    chest = render(Subject(), Acquisition(), 5, SMALL)

    assert np.array_equal(one, again)
    assert abs(np.corrcoef(one.ravel(), chest.ravel())[0, 1]) < 0.85


def test_the_gate_learns_from_films_of_served_sizes_and_from_both_kinds_of_unfit_pictures():
    upright = frontal_phantoms(sample(2, 9), 1)
    unfit = unfit_phantoms(1, count=2)

    assert [film.shape for film in upright] == list(SERVED_SIZES[:2])
    assert min(min(size) for size in SERVED_SIZES) >= 400
    assert {pose: len(pictures) for pose, pictures in unfit.items()} == {Pose.LATERAL: 2, Pose.OTHER: 2}
    assert np.array_equal(unfit[Pose.LATERAL][1], unfit_phantoms(1, count=2)[Pose.LATERAL][1])
