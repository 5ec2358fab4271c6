"""Fine-tunes the image network: stem and first blocks frozen, one cycle of AdamW, three losses (model.md 6 and 12).

Seeds fix crops, order and new weights. Where the recipe keeps a share of the training patients apart, the epoch with
the best Brier score on them is kept and training stops when it no longer improves. Not allowed here: the fold that is
predicted and the test part; what the network says about them is asked afterwards.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar, Final

import numpy as np
import numpy.typing as npt
import structlog
import torch
from pydantic import ConfigDict, Field
from scipy.special import expit
from torch import Tensor, nn
from torch.nn import functional

from model import backbones
from model.evaluation.metrics import brier
from model.image_net import DEFAULT_STEM, DEFAULT_TRUNK, ImageNetwork, NetworkOutput
from model.logistic import fit_logistic
from model.train.augment import augment
from model.train.films import Films
from model.train.relay import Steps
from model.train.watch import kept_to_watch
from model.trunks import load_weights

OSTEOPENIA_T: Final = -1.0
"""Below this the lowest T-score is no longer in the young-adult range (WHO)."""
_SMOOTHING: Final = 0.05
_LARGEST_WEIGHT: Final = 5.0
_ASKED_AT_ONCE: Final = 16
_WATCH_PENALTY_C: Final = 10.0
"""Weak; keeps the recalibration finite where a handful of patients is separated without error."""

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How to train. Written in a training file's `[recipe]`; an unknown key there is refused."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    epochs: Annotated[int, Field(ge=1)] = 2
    """At most; fewer where `watch` stops the training."""
    batch: Annotated[int, Field(ge=2)] = 32
    crop: Annotated[int, Field(ge=64, multiple_of=32)] = 224
    """Side of the random training view, px."""
    trunk_rate: Annotated[float, Field(gt=0)] = 6e-4
    """Largest learning rate of the pretrained blocks."""
    new_rate: Annotated[float, Field(gt=0)] = 3e-3
    """Largest learning rate of everything new, gamma included."""
    decay: Annotated[float, Field(ge=0)] = 1e-2
    warm_up: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """Share of the steps that raise the rate."""
    watch: Annotated[float, Field(ge=0, le=0.3)] = 0.0
    """Share of the training patients kept apart to choose the epoch by Brier score; 0 trains all epochs on all."""
    patience: Annotated[int, Field(ge=1)] = 1
    """Epochs without a better Brier score before training stops."""
    threads: Annotated[int, Field(ge=1)] = 1
    seed: int = 0
    stem: str = DEFAULT_STEM
    """Wavelet stem by its name in `model.gradwave.STEMS`, or "none"."""
    attention: bool = True
    """Gates in the fusion and attention pooling; off: plain mixing and the mean."""
    trunk: str = DEFAULT_TRUNK
    trunk_weights: Path | None = None
    """Plain state dict of another trunk than the default one, whose weights come with the `train` extra."""
    trunk_sha256: str = ""
    """Of that file."""
    untrained_trunk: bool = False
    """Start from random weights; the bundle says so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """One training step's tensors."""

    images: Tensor
    """(B, 1, crop, crop) float32 in [0, 1]."""
    masks: Tensor
    """Same shape, 0 or 1."""
    lowest_t: Tensor
    """(B,) lowest T-score."""
    positive: Tensor
    """(B,) 1 where the lowest T-score is <= -2.5."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """A network in eval mode on the CPU, and how it came about."""

    network: ImageNetwork = field(repr=False)
    brier: tuple[float, ...]
    """After each epoch on the patients kept apart, recalibrated there; empty where none were."""
    epochs: int
    """Epochs behind the weights that were kept."""


def train_network(films: Films, indices: Sequence[int], recipe: Recipe, progress: Steps) -> ImageNetwork:
    """Train on the films at `indices` from the trunk's weights; the network comes back in eval mode."""
    return train_watched(films, indices, recipe, progress).network


def train_watched(films: Films, indices: Sequence[int], recipe: Recipe, progress: Steps) -> Trained:
    """As `train_network`, with the Brier scores that decided when to stop.

    Raises:
        TooFewPatients, LeakageError: as `kept_to_watch`.

    """
    torch.set_num_threads(recipe.threads)
    torch.manual_seed(recipe.seed)
    seen, watched = kept_to_watch(films, indices, share=recipe.watch, seed=recipe.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = new_network(films, seen, recipe).to(device)
    epochs = _epochs(network, films, seen, recipe, progress)
    scores: list[float] = []
    best = None
    for _ in epochs:
        if not watched:
            continue
        scores.append(_brier(network, films, watched))
        since_best = len(scores) - 1 - int(np.argmin(scores))
        if since_best == 0:
            best = copy.deepcopy(network.state_dict())
        elif since_best >= recipe.patience:
            break
    if best is not None:
        network.load_state_dict(best)
    kept = int(np.argmin(scores)) + 1 if scores else recipe.epochs
    return Trained(network=network.cpu().eval(), brier=tuple(scores), epochs=kept)


def new_network(films: Films, indices: Sequence[int], recipe: Recipe) -> ImageNetwork:
    """A network with its trunk's weights, early blocks frozen, and the T-scale of the training patients.

    Raises:
        ValueError: the recipe names another trunk without weights and does not ask for an untrained one.
        TrunkWeightsError: the weights do not fit the trunk.

    """
    network = ImageNetwork(recipe.stem, recipe.trunk, attention=recipe.attention)
    _start(network, recipe)
    lowest = np.array([films.patients[i].t_lowest for i in indices])
    network.lowest_t.copy_(torch.tensor([lowest.mean(), max(lowest.std(), 1e-3)]))
    network.to(memory_format=torch.channels_last).train()
    if not recipe.untrained_trunk:
        _freeze_early(network)
    return network


def combined_loss(output: NetworkOutput, batch: Batch, positive_weight: Tensor, t_scale: Tensor) -> Tensor:
    """BCE with smoothed labels + 0.5 ordinal BCE + 0.5 Huber on the standardised lowest T-score."""
    smooth = batch.positive * (1 - _SMOOTHING) + _SMOOTHING / 2
    classified = functional.binary_cross_entropy_with_logits(output.logit, smooth, pos_weight=positive_weight)
    osteopenia = (batch.lowest_t < OSTEOPENIA_T).float()
    cuts = torch.stack([osteopenia, batch.positive], dim=1)
    ordered = functional.binary_cross_entropy_with_logits(output.ordinal, cuts)
    distance = (output.t_score - batch.lowest_t) / t_scale[1]
    return classified + 0.5 * ordered + 0.5 * functional.huber_loss(distance, torch.zeros_like(distance))


def _epochs(
    network: ImageNetwork, films: Films, indices: Sequence[int], recipe: Recipe, progress: Steps
) -> Iterator[int]:
    """Train one epoch after the other; between two the network may be asked, and need not be put back."""
    optimiser = _optimiser(network, recipe)
    per_epoch = max(1, len(indices) // recipe.batch)
    steps = max(2, recipe.epochs * per_epoch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser,
        [recipe.trunk_rate, recipe.new_rate],
        total_steps=steps,
        pct_start=min(0.9, max(recipe.warm_up, 2 / steps)),  # a warm-up of one step divides by zero
    )
    device = network.lowest_t.device
    weight = _positive_weight(films, indices).to(device)
    front = None if recipe.untrained_trunk else network.trunk.frozen_front()
    task = progress.add_task("train image network", total=recipe.epochs * per_epoch)
    rng = np.random.default_rng(recipe.seed)
    for epoch in range(recipe.epochs):
        _resume(network, recipe)
        for batch in _batches(films, indices, recipe, rng, device):
            first = None if front is None else front(batch.images)
            loss = combined_loss(network(batch.images, batch.masks, first), batch, weight, network.lowest_t)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
            progress.advance(task)
        _log.info("train.epoch", epoch=epoch + 1, loss=round(loss.item(), 4), gamma=network.gammas())
        yield epoch


def _start(network: ImageNetwork, recipe: Recipe) -> None:
    if recipe.trunk_weights is not None:
        load_weights(network.trunk, recipe.trunk_weights, sha256=recipe.trunk_sha256)
    elif recipe.untrained_trunk:
        return
    elif recipe.trunk == DEFAULT_TRUNK:
        network.trunk.load_state_dict(backbones.imagenet_weights(), strict=True)
    else:
        msg = (
            f"recipe.trunk {recipe.trunk!r} comes without weights; give trunk_weights and trunk_sha256 of a local "
            "file, or untrained_trunk = true"
        )
        raise ValueError(msg)


def _resume(network: ImageNetwork, recipe: Recipe) -> None:
    """Into training mode; frozen normalisations keep ImageNet's statistics."""
    network.train()
    if not recipe.untrained_trunk:
        _freeze_early(network)


def _freeze_early(network: ImageNetwork) -> None:
    for module in network.trunk.early():
        module.eval().requires_grad_(requires_grad=False)


def _brier(network: ImageNetwork, films: Films, indices: Sequence[int]) -> float:
    """Brier score of whole films after a recalibration on them: it ranks epochs and is no figure to report."""
    network.eval()
    device, logits = network.lowest_t.device, []
    with torch.inference_mode():
        for first in range(0, len(indices), _ASKED_AT_ONCE):
            chosen = indices[first : first + _ASKED_AT_ONCE]
            views = [(films.image(i), films.mask(i)) for i in chosen]
            images, masks = _stacked(views)
            logits.append(network(images.to(device), masks.to(device)).logit.cpu().numpy())
    column = np.concatenate(logits).astype(np.float64)[:, None]
    truth = np.array([float(films.patients[i].osteoporosis) for i in indices])
    line = fit_logistic(column, truth, penalty_c=_WATCH_PENALTY_C)
    return float(brier(expit(column @ line.coefficients + line.intercept), truth.astype(np.int64)))


def _batches(
    films: Films, indices: Sequence[int], recipe: Recipe, rng: np.random.Generator, device: torch.device
) -> Iterator[Batch]:
    """Full batches of one epoch in a seeded order."""
    order, size = rng.permutation(np.asarray(indices)), min(recipe.batch, len(indices))
    for first in range(0, len(order) - size + 1, size):
        yield _batch(films, [int(i) for i in order[first : first + size]], recipe.crop, rng, device)


def _batch(films: Films, chosen: Sequence[int], crop: int, rng: np.random.Generator, device: torch.device) -> Batch:
    views = [augment(films.image(index), films.mask(index), crop, rng) for index in chosen]
    people = [films.patients[index] for index in chosen]
    images, masks = _stacked(views)
    return Batch(
        images=images.to(device),
        masks=masks.to(device),
        lowest_t=torch.tensor([person.t_lowest for person in people], dtype=torch.float32, device=device),
        positive=torch.tensor([float(person.osteoporosis) for person in people], device=device),
    )


def _stacked(views: Sequence[tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]]) -> tuple[Tensor, Tensor]:
    """(B, 1, S, S) images and masks."""
    images = torch.from_numpy(np.stack([image for image, _ in views]))[:, None]
    return images, torch.from_numpy(np.stack([mask for _, mask in views]).astype(np.float32))[:, None]


def _optimiser(network: ImageNetwork, recipe: Recipe) -> torch.optim.AdamW:
    trunk = {id(parameter) for parameter in network.trunk.parameters()}
    free = [parameter for parameter in network.parameters() if parameter.requires_grad]
    old: list[nn.Parameter] = [parameter for parameter in free if id(parameter) in trunk]
    new: list[nn.Parameter] = [parameter for parameter in free if id(parameter) not in trunk]
    groups = [{"params": old, "lr": recipe.trunk_rate}, {"params": new, "lr": recipe.new_rate}]
    return torch.optim.AdamW(groups, weight_decay=recipe.decay)


def _positive_weight(films: Films, indices: Sequence[int]) -> Tensor:
    positives = sum(films.patients[i].osteoporosis for i in indices)
    return torch.tensor(min((len(indices) - positives) / max(positives, 1), _LARGEST_WEIGHT))
