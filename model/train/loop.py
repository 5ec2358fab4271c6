"""Fine-tunes the image network: stem and blocks 0-4 frozen, one cycle of AdamW, three losses (model.md 6 and 12).

One or two epochs are enough (measured). Seeds fix crops, order and new weights. Not allowed here: the calibration and
test parts; what the network says about them is asked afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import structlog
import torch
from rich.progress import Progress
from torch import Tensor, nn
from torch.nn import functional

from model import backbones
from model.image_net import DEFAULT_STEM, ImageNetwork, NetworkOutput
from model.train.augment import augment
from model.train.films import Films

OSTEOPENIA_T: Final = -1.0
"""Below this the lowest T-score is no longer in the young-adult range (WHO)."""
_SMOOTHING: Final = 0.05
_LARGEST_WEIGHT: Final = 5.0

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How to train. The defaults are those of the measured run."""

    epochs: int = 2
    batch: int = 32
    crop: int = 224
    """Side of the random training view, px; a multiple of 32."""
    trunk_rate: float = 6e-4
    """Largest learning rate of the pretrained blocks."""
    new_rate: float = 3e-3
    """Largest learning rate of everything new, gamma included."""
    decay: float = 1e-2
    warm_up: float = 0.2
    """Share of the steps that raise the rate."""
    threads: int = 1
    seed: int = 0
    stem: str = DEFAULT_STEM


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


def train_network(films: Films, indices: Sequence[int], recipe: Recipe, progress: Progress) -> ImageNetwork:
    """Train on the films at `indices` from ImageNet weights; the network comes back in eval mode."""
    torch.set_num_threads(recipe.threads)
    torch.manual_seed(recipe.seed)
    network = new_network(films, indices, recipe)
    optimiser = _optimiser(network, recipe)
    steps = recipe.epochs * (len(indices) // recipe.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, [recipe.trunk_rate, recipe.new_rate], total_steps=steps, pct_start=recipe.warm_up
    )
    weight = _positive_weight(films, indices)
    task = progress.add_task("train image network", total=steps)
    for step, batch in enumerate(_batches(films, indices, recipe)):
        loss = combined_loss(network(batch.images, batch.masks), batch, weight, network.lowest_t)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
        progress.advance(task)
        if step % 10 == 0 or step == steps - 1:
            _log.info("train.step", step=step, steps=steps, loss=round(loss.item(), 4), gamma=network.gammas())
    return network.eval()


def new_network(films: Films, indices: Sequence[int], recipe: Recipe) -> ImageNetwork:
    """A network with ImageNet weights in its trunk, early blocks frozen, and the T-scale of the training patients."""
    network = ImageNetwork(recipe.stem)
    network.trunk.load_state_dict(backbones.imagenet_weights(), strict=True)
    lowest = np.array([films.patients[i].t_lowest for i in indices])
    network.lowest_t.copy_(torch.tensor([lowest.mean(), max(lowest.std(), 1e-3)]))
    network.to(memory_format=torch.channels_last).train()
    for module in network.trunk.early():
        module.eval().requires_grad_(requires_grad=False)
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


def _batches(films: Films, indices: Sequence[int], recipe: Recipe) -> Iterator[Batch]:
    """Full batches of every epoch in a seeded order."""
    rng = np.random.default_rng(recipe.seed)
    for _ in range(recipe.epochs):
        order = rng.permutation(np.asarray(indices))
        for first in range(0, len(order) - recipe.batch + 1, recipe.batch):
            yield _batch(films, [int(i) for i in order[first : first + recipe.batch]], recipe.crop, rng)


def _batch(films: Films, chosen: Sequence[int], crop: int, rng: np.random.Generator) -> Batch:
    views = [augment(films.image(index), films.mask(index), crop, rng) for index in chosen]
    patients = [films.patients[index] for index in chosen]
    return Batch(
        images=torch.from_numpy(np.stack([image for image, _ in views]))[:, None],
        masks=torch.from_numpy(np.stack([mask for _, mask in views]).astype(np.float32))[:, None],
        lowest_t=torch.tensor([patient.t_lowest for patient in patients], dtype=torch.float32),
        positive=torch.tensor([float(patient.osteoporosis) for patient in patients]),
    )


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
