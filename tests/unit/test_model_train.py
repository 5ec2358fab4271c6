import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rich.progress import Progress
from support.model_parts import FUSION

from model.gradwave import READINGS
from model.image_net import NetworkOutput
from model.manifest import Serving
from model.phantom.cohort import sample
from model.train import augment as augment_module
from model.train import films as film_store
from model.train import loop
from model.train.augment import augment
from model.train.films import film_of, render_films
from model.train.jobs import keep_films
from model.train.loop import Batch, Recipe, combined_loss, new_network, train_network, train_watched
from model.train.measure import Predictions, best_serving, unseen_metrics
from model.train.split import LeakageError, TooFewPatients
from model.train.watch import kept_to_watch, refuse_watched_patients
from model.train.writer import float16

SIDE = 64
TINY = Recipe(epochs=2, batch=4, crop=SIDE, seed=3)


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    with Progress(disable=True) as progress:
        return render_films(
            sample(24, 5), tmp_path_factory.mktemp("run"), seed=5, side=SIDE, workers=1, progress=progress
        )


def test_cached_films_equal_fresh_ones_and_are_not_rendered_again(films, tmp_path, monkeypatch):
    patients = sample(3, 5)
    with Progress(disable=True) as progress:
        render_films(patients, tmp_path, seed=5, side=SIDE, workers=1, progress=progress)
        monkeypatch.setattr(film_store, "_render_chunk", None)
        again = render_films(patients, tmp_path, seed=5, side=SIDE, workers=1, progress=progress)
    for index, patient in enumerate(patients):
        fresh = film_of(patient, seed=5, side=SIDE)
        assert np.abs(again.image(index) - fresh.image).max() < 1e-5
        assert np.array_equal(again.mask(index), fresh.mask)
        assert np.array_equal(films.images[index], again.images[index])
        assert again.picture(index).shape == (fresh.box[2] - fresh.box[0], fresh.box[3] - fresh.box[1])


def test_another_seed_or_side_takes_another_cache():
    keys = {film_store.cache_key(seed=seed, side=side) for seed in (1, 2) for side in (64, 96)}
    assert len(keys) == 4


@given(seed=st.integers(0, 200))
def test_augmentation_gives_a_masked_view_in_range(seed):
    rng = np.random.default_rng(seed)
    image, mask = np.zeros((96, 96), np.float32), np.zeros((96, 96), np.bool_)
    image[:, 10:86], mask[:, 10:86] = rng.random((96, 76)), True
    view, shown = augment(image, mask, 64, rng)
    assert view.shape == shown.shape == (64, 64)
    assert view.dtype == np.float32
    assert 0 <= view.min() <= view.max() <= 1
    assert not view[~shown].any()


def test_augmentation_is_repeatable_and_varies():
    image, mask = np.random.default_rng(0).random((96, 96), dtype=np.float32), np.ones((96, 96), np.bool_)
    views = [augment(image, mask, 64, np.random.default_rng(seed))[0] for seed in (1, 1, 2)]
    assert np.array_equal(views[0], views[1])
    assert not np.array_equal(views[0], views[2])


def test_training_moves_the_late_blocks_and_gamma_and_leaves_the_early_ones_alone(films):
    before = new_network(films, range(12), TINY).state_dict()
    with Progress(disable=True) as progress:
        trained = train_network(films, range(12), TINY, progress)
    after = trained.state_dict()
    moved = {name for name, value in after.items() if not torch.equal(value, before[name])}
    early = ("trunk._conv_stem", "trunk._bn0", *(f"trunk._blocks.{block}." for block in range(5)))
    assert not [name for name in moved if name.startswith(early)]
    assert {"trunk._blocks.5._expand_conv.weight", "fuse.0.gamma", "fuse.1.gamma", "classify.weight"} <= moved
    assert all(torch.isfinite(value).all() for value in after.values())
    assert not trained.training


def test_the_same_seed_trains_the_same_network(films):
    recipe = dataclasses.replace(TINY, epochs=1)
    with Progress(disable=True) as progress:
        first, second = (train_network(films, range(8), recipe, progress).state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_the_epoch_with_the_best_brier_score_is_kept_and_training_stops_when_it_no_longer_improves(films):
    recipe = dataclasses.replace(TINY, epochs=8, watch=0.3, patience=2, new_rate=0.5, trunk_rate=0.2)
    with Progress(disable=True) as progress:
        trained = train_watched(films, range(24), recipe, progress)
        patient = dataclasses.replace(recipe, epochs=trained.epochs, patience=8)
        again = train_watched(films, range(24), patient, progress)
    assert trained.epochs == int(np.argmin(trained.brier)) + 1
    assert len(trained.brier) == min(8, trained.epochs + 2)
    assert len(again.brier) == trained.epochs
    assert all(0 < score < 1 for score in trained.brier)


def test_patients_kept_apart_to_watch_train_nothing(films, monkeypatch):
    seen = []
    plain = augment_module.augment
    monkeypatch.setattr(loop, "augment", lambda image, *rest: (seen.append(image.sum()), plain(image, *rest))[1])
    with Progress(disable=True) as progress:
        train_watched(films, range(24), dataclasses.replace(TINY, epochs=1, watch=0.3), progress)
    watched = 24 - len(set(seen))
    assert 5 <= watched <= 10


def in_pairs(films):
    """The same films, of half as many patients with two films each."""
    return dataclasses.replace(films, owners=tuple(f"p{i // 2}" for i in range(len(films.owners))))


@pytest.mark.parametrize("seed", range(5))
def test_a_patient_with_several_films_is_watched_with_all_of_them_or_with_none(films, seed):
    pairs = in_pairs(films)
    seen, watched = kept_to_watch(pairs, range(24), share=0.3, seed=seed)
    assert sorted((*seen, *watched)) == list(range(24))
    assert {pairs.owners[i] for i in watched}.isdisjoint(pairs.owners[i] for i in seen)
    assert len(watched) % 2 == 0
    assert {any(pairs.patients[i].osteoporosis for i in (i, i ^ 1)) for i in watched} == {True, False}


def test_a_patient_on_both_sides_of_the_choice_of_an_epoch_is_refused(films):
    with pytest.raises(LeakageError, match="1 patients both train the network and choose its epoch"):
        refuse_watched_patients(in_pairs(films), [0, 2, 3], [1, 4, 5])
    refuse_watched_patients(films, [0, 2, 3], [1, 4, 5])


def test_patients_of_one_film_each_are_watched_as_their_films_were_drawn(films):
    indices = [i for i in range(24) if i % 5]
    rng, drawn = np.random.default_rng([7, 1]), []
    for positive in (False, True):
        own = rng.permutation([i for i in indices if films.patients[i].osteoporosis is positive])
        drawn += [int(i) for i in own[: round(len(own) * 0.3)]]
    assert kept_to_watch(films, indices, share=0.3, seed=7)[1] == sorted(drawn)
    assert kept_to_watch(films, indices, share=0.0, seed=7) == (indices, [])


def test_a_share_that_watches_nobody_of_a_class_is_refused(films):
    with pytest.raises(TooFewPatients, match="nobody"):
        kept_to_watch(films, range(24), share=0.01, seed=7)


def test_whose_films_they_are_reaches_the_process_that_trains_and_names_the_network(films, tmp_path):
    alone, pairs = keep_films(films, tmp_path), keep_films(in_pairs(films), tmp_path)
    assert pairs.open().owners == in_pairs(films).owners
    assert pairs.digest != alone.digest


@pytest.mark.parametrize("attention", [True, False])
@pytest.mark.parametrize("stem", sorted(READINGS.values()))
def test_every_row_of_the_ablation_trains(films, stem, attention):
    recipe = dataclasses.replace(TINY, epochs=1, stem=stem, attention=attention)
    with Progress(disable=True) as progress:
        network = train_network(films, range(8), recipe, progress)
    assert len(network.gammas()) == (0 if stem == "none" and not attention else 2)
    assert all(torch.isfinite(value).all() for value in network.state_dict().values())


def test_a_trunk_without_weights_is_refused_unless_an_untrained_one_is_asked_for(films):
    with pytest.raises(ValueError, match="untrained_trunk = true"):
        new_network(films, range(8), dataclasses.replace(TINY, trunk="resnet18"))
    network = new_network(films, range(8), dataclasses.replace(TINY, trunk="resnet18", untrained_trunk=True))
    assert all(parameter.requires_grad for parameter in network.trunk.parameters())


def test_serving_is_the_form_with_the_greater_auc_and_both_figures_are_kept():
    people = sample(200, 3)
    truth = np.array([float(p.osteoporosis) for p in people])
    rng = np.random.default_rng(0)
    forms = {
        Serving(crop=64, mirror=False): truth + rng.normal(0, 2, 200),
        Serving(crop=32, mirror=True): truth + rng.normal(0, 0.5, 200),
    }
    serving, metrics = best_serving(forms, people, "simulated patients")
    assert serving == Serving(crop=32, mirror=True)
    assert [metric.name for metric in metrics] == ["auc.raw.crop-64", "auc.raw.crop-32-mirrored"]
    assert metrics[1].value > metrics[0].value


def batch_of(positive, lowest):
    return Batch(
        images=torch.zeros(1), masks=torch.zeros(1), lowest_t=torch.tensor(lowest), positive=torch.tensor(positive)
    )


def test_loss_of_hand_computed_outputs():
    output = NetworkOutput(
        logit=torch.tensor([0.0]),
        ordinal=torch.tensor([[0.0, 0.0]]),
        t_score=torch.tensor([-3.0]),
        attention=torch.ones(1, 1, 1),
    )
    loss = combined_loss(output, batch_of([1.0], [-2.6]), torch.tensor(2.0), torch.tensor([-1.5, 0.8]))
    classified = np.log(2) * (2 * 0.975 + 0.025)
    assert loss.item() == pytest.approx(classified + 0.5 * np.log(2) + 0.5 * 0.5 * 0.5**2, abs=1e-6)


def test_disk_form_keeps_statistics_and_counters_exact():
    state = {"weight": torch.ones(2, 2) / 3, "running_var": torch.tensor([1e-7]), "steps": torch.tensor(5)}
    arrays = float16(state)
    assert {name: array.dtype.name for name, array in arrays.items()} == {
        "weight": "float16",
        "running_var": "float32",
        "steps": "int64",
    }


def test_figures_of_the_unseen_part_carry_intervals_and_say_that_they_are_simulated():
    patients = sample(400, 2)
    noise = np.random.default_rng(0).normal(0, 0.5, 400)
    logits = np.array([-2 * (patient.t_lowest + 2.5) for patient in patients]) + noise
    part = Predictions(
        people=patients, image_logits=logits, p_clinical=np.full(400, 0.3), population="simulated patients"
    )
    found = {metric.name: metric for metric in unseen_metrics(part, FUSION)}
    image = found["auc.image"]
    assert image.low < image.value < image.high
    assert image.value > 0.95
    assert (image.n, image.positives) == (400, part.truth.sum())
    assert found["auc.clinical"].value == pytest.approx(0.5)
    assert found["auc.image.without-osteopenia"].value >= image.value
    assert found["auc.image.sex-f"].n + found["auc.image.sex-m"].n == 400
    assert all("simulated" in metric.population for metric in found.values())
    assert found["sensitivity.image.t-low"].value >= found["sensitivity.image.t-high"].value
