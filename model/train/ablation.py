"""Does a part of the model earn its place: equal folds, one difference at a time, out-of-fold scores, in words.

Rows differ in one switch of the training recipe: wavelet stem, attention, trunk. Every network is trained by the loop
that trains the bundle, shortened to one epoch, on the first patients of the training part; the test part is not
touched. Each (row, fold) is kept, so a broken run goes on. Not allowed here: a recipe of a row's own.
"""

from __future__ import annotations

import dataclasses
import hashlib
import multiprocessing
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from rich.console import Console
from rich.progress import Progress

from model.clinical import ClinicalModel
from model.gradwave import NO_STEM, READINGS
from model.image_net import DEFAULT_STEM, DEFAULT_TRUNK, ImageNetwork
from model.phantom.cohort import sample
from model.train import relay
from model.train.ablation_figures import Compared, NetworkScores, compare
from model.train.films import Films, cache_key, render_films
from model.train.loop import Recipe, train_network
from model.train.measure import on_its_own_scale
from model.train.people import virtual_members
from model.train.score_cache import digest_of, kept_scores
from model.train.split import Split, split_by_time

FULL: Final = "R1 with attention (the shipped network)"
PLAIN: Final = "plain trunk (no wavelets, no attention)"
_ASKED_AT_ONCE: Final = 16
_MODEL: Final = Path(__file__).resolve().parents[1]
_SHAPED_BY: Final = (
    "backbones", "trunks", "gradwave", "image_net", "train/augment", "train/loop", "train/split", "train/watch",
)  # fmt: skip

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ablation:
    """How large. The defaults take about 40 minutes of CPU on cached films of the demonstration training."""

    images: int = 2400
    folds: int = 2
    side: int = 320
    seed: int = 7
    """Of the films: that of the demonstration training, whose cache is then taken over."""
    recipe: Recipe = field(default_factory=lambda: Recipe(epochs=1))
    trunks: tuple[Recipe, ...] = ()
    """Recipes of other trunks, each with weights or untrained; compared with the shipped network."""

    @classmethod
    def short(cls) -> Ablation:
        """Tiny networks on tiny films: shows that the way works, and nothing else."""
        return cls(images=64, side=64, seed=5, recipe=Recipe(epochs=1, batch=8, crop=64))


def rows_of(asked: Ablation) -> dict[str, Recipe]:
    """Recipe by row name, the plain trunk first."""

    def variant(stem: str, *, attention: bool) -> Recipe:
        return dataclasses.replace(asked.recipe, stem=stem, attention=attention, trunk=DEFAULT_TRUNK)

    rows = {
        PLAIN: variant(NO_STEM, attention=False),
        "attention only (no wavelets)": variant(NO_STEM, attention=True),
        "plain DWT with attention": variant(READINGS["dwt"], attention=True),
        FULL: variant(DEFAULT_STEM, attention=True),
        "R2 with attention": variant(READINGS["r2"], attention=True),
        "R1 without attention": variant(DEFAULT_STEM, attention=False),
    }
    for own in asked.trunks:
        start = "untrained" if own.untrained_trunk else "local weights"
        rows[f"{own.trunk} ({start}), R1 with attention"] = dataclasses.replace(
            own, stem=DEFAULT_STEM, attention=True, epochs=asked.recipe.epochs, crop=asked.recipe.crop
        )
    return rows


def contrasts_of(rows: Sequence[str]) -> list[tuple[str, str, str]]:
    """(question, first row, second row): each pair differs in one part only, but for the first."""
    with_attention = "attention only (no wavelets)"
    asked = [
        ("full network against plain trunk", FULL, PLAIN),
        ("wavelets R1 against none", FULL, with_attention),
        ("wavelets R2 against none", "R2 with attention", with_attention),
        ("plain DWT against none", "plain DWT with attention", with_attention),
        ("wavelets R1 against plain DWT", FULL, "plain DWT with attention"),
        ("attention against none, with R1", FULL, "R1 without attention"),
        ("attention against none, without wavelets", with_attention, PLAIN),
    ]
    known = {row for _, *pair in asked for row in pair}
    return asked + [(f"{row} against {DEFAULT_TRUNK}", row, FULL) for row in rows if row not in known]


def run_ablation(
    asked: Ablation, clinical: ClinicalModel, *, run: Path, workers: int, console: Console | None = None
) -> Compared:
    """Train every row on every fold, or take what an earlier run kept below `run`, and compare.

    Raises:
        ValueError, TrunkWeightsError: a trunk's weights are missing or do not fit.

    """
    patients = sample(asked.images, asked.seed)
    split = split_by_time(virtual_members(patients), folds=asked.folds, held_out=0.0, seed=asked.seed)
    rows = rows_of(asked)
    with relay.bars(console) as progress:
        render_films(patients, run, seed=asked.seed, side=asked.side, workers=workers, progress=progress)
        found = _trained(rows, asked, run, workers, progress)
    scores = {name: _joined(found, name, split, len(patients)) for name in rows}
    return compare(
        scores,
        patients,
        fold_of=_fold_of(split, len(patients)),
        clinical=clinical,
        full=FULL,
        contrasts=contrasts_of(list(rows)),
    )


def _trained(
    rows: dict[str, Recipe], asked: Ablation, run: Path, workers: int, progress: Progress
) -> dict[tuple[str, int], dict[str, Any]]:
    jobs = [(name, fold) for name in rows for fold in range(asked.folds)]
    task = progress.add_task("train and ask networks", total=len(jobs))
    found = {}
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        waiting = {pool.submit(_job, rows[name], fold, asked, run): (name, fold) for name, fold in jobs}
        for done in as_completed(waiting):
            found[waiting[done]] = done.result()
            progress.advance(task)
    return found


def _job(recipe: Recipe, fold: int, asked: Ablation, run: Path) -> dict[str, Any]:
    patients = sample(asked.images, asked.seed)
    key = hashlib.sha256(
        f"{recipe} {asked.folds} {cache_key(seed=asked.seed, side=asked.side)} {digest_of(patients)} {_code()}".encode()
    ).hexdigest()[:16]

    def work() -> dict[str, Any]:
        split = split_by_time(virtual_members(patients), folds=asked.folds, held_out=0.0, seed=asked.seed)
        with Progress(disable=True) as silent:
            films = render_films(patients, run, seed=asked.seed, side=asked.side, workers=1, progress=silent)
            began = time.process_time()
            network = train_network(films, split.without(fold), recipe, silent)
        logits = _ask(network, films, split.folds[fold], recipe.crop)
        spent = time.process_time() - began
        return {"logits": logits.tolist(), "gamma": list(network.gammas()), "cpu_seconds": spent}

    return kept_scores(run / "ablation" / f"{key}-{fold}.json", work)


def _ask(network: ImageNetwork, films: Films, indices: Sequence[int], crop: int) -> Floats:
    """Raw logits of the central crop, in batches: what all rows are compared on."""
    first = (films.images.shape[1] - crop) // 2
    window = np.s_[first : first + crop, first : first + crop]
    logits = []
    with torch.inference_mode():
        for start in range(0, len(indices), _ASKED_AT_ONCE):
            chosen = indices[start : start + _ASKED_AT_ONCE]
            images, masks = (
                torch.from_numpy(np.stack([part(i)[window] for i in chosen]).astype(np.float32))[:, None]
                for part in (films.image, films.mask)
            )
            logits.append(network(images, masks).logit.numpy())
    return np.concatenate(logits).astype(np.float64)


def _joined(found: dict[tuple[str, int], dict[str, Any]], name: str, split: Split, count: int) -> NetworkScores:
    """Out-of-fold logits in the patients' order, each fold on its own network's scale."""
    logits = np.empty(count)
    for fold, own in enumerate(split.folds):
        logits[list(own)] = on_its_own_scale(np.array(found[name, fold]["logits"]))
    parts = [found[name, fold] for fold in range(len(split.folds))]
    return NetworkScores(
        logits=logits,
        gamma=tuple(tuple(part["gamma"]) for part in parts),
        cpu_seconds=sum(part["cpu_seconds"] for part in parts),
    )


def _fold_of(split: Split, count: int) -> npt.NDArray[np.int64]:
    folds = np.empty(count, np.int64)
    for fold, own in enumerate(split.folds):
        folds[list(own)] = fold
    return folds


def _code() -> str:
    digest = hashlib.sha256()
    for name in _SHAPED_BY:
        digest.update((_MODEL / f"{name}.py").read_bytes())
    return digest.hexdigest()
