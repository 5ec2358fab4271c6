"""Work that runs in processes of one thread beside each other, each piece kept under what shaped it.

A network is named by the films, their truth, who of them it saw, the recipe and the source that trains it (without
comments and docstrings); predictions by the network and how it is asked. So a broken run goes on after its last whole
piece, and a run that changes nothing makes nothing. Not allowed here: which fold is whose.
"""

from __future__ import annotations

import ast
import ctypes
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import safetensors.torch
import torch

from model.image_net import ImageNetwork
from model.manifest import Serving
from model.runtime_torch import TorchRuntime
from model.train.films import Films
from model.train.loop import Recipe, train_watched
from model.train.people import Person
from model.train.relay import Sender, counted
from model.train.writer import float16

MODEL: Final = Path(__file__).resolve().parents[1]
"""Folder of the package `model`."""
_SHAPED_BY: Final = ("backbones", "gradwave", "image_net", "trunks", "train/augment", "train/loop", "train/watch")

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class FilmFile:
    """Films kept as plain arrays that every process maps instead of copying."""

    folder: Path
    digest: str
    """Of the pixels, the boxes, the truth, and of whose films they are where a patient has several."""
    people: tuple[Person, ...] = field(repr=False)
    owners: tuple[str, ...] = field(repr=False)

    def open(self) -> Films:
        """The films, pixels mapped read-only."""
        images = np.load(self.folder / f"images-{self.digest}.npy", mmap_mode="r", allow_pickle=False)
        boxes = np.load(self.folder / f"boxes-{self.digest}.npy", allow_pickle=False)
        return Films(patients=self.people, owners=self.owners, images=images, boxes=boxes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One network to train."""

    name: str
    indices: tuple[int, ...] = field(repr=False)
    recipe: Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A trained network on disk and what was noted about it."""

    file: Path
    epochs: int
    brier: tuple[float, ...]
    cpu_seconds: float

    def load(self, recipe: Recipe) -> ImageNetwork:
        """The network as a bundle would serve it: after the float16 round trip, in eval mode."""
        network = ImageNetwork(recipe.stem, recipe.trunk, attention=recipe.attention)
        rounded = {name: torch.from_numpy(a) for name, a in float16(safetensors.torch.load_file(self.file)).items()}
        network.load_state_dict(rounded, strict=True)
        return network.eval()


def keep_films(films: Films, folder: Path) -> FilmFile:
    """Write the films once and remove what an earlier run of another shape left."""
    digest = hashlib.blake2b(digest_size=8)
    for array in (films.images, films.boxes):
        digest.update(np.ascontiguousarray(array).data)
    digest.update(repr([(p.t_lowest, p.sex.value) for p in films.patients]).encode())
    if len(set(films.owners)) < len(films.owners):  # they decide who is watched
        digest.update(repr(films.owners).encode())
    kept = FilmFile(folder=folder, digest=digest.hexdigest(), people=films.patients, owners=films.owners)
    for name, array in (("boxes", films.boxes), ("images", films.images)):
        file = folder / f"{name}-{kept.digest}.npy"
        if not file.exists():
            for old in folder.glob(f"{name}-*.npy"):
                old.unlink()
            part = file.with_suffix(".part")
            with part.open("wb") as out:
                np.save(out, array, allow_pickle=False)
            os.replace(part, file)  # noqa: PTH105 - the atomic replace that a killed run needs
    return kept


def kept_network(films: FilmFile, job: Job) -> Kept | None:
    """What an earlier run left for this job."""
    file = _network_file(films, job)
    if not file.exists():
        return None
    noted = json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))
    return Kept(file=file, epochs=noted["epochs"], brier=tuple(noted["brier"]), cpu_seconds=noted["cpu_seconds"])


def train(films: FilmFile, job: Job, messages: Any) -> None:
    """Train and keep one network; runs in a process of its own."""
    _keep_freed_memory()
    sender = Sender(messages, job.name)
    begun = time.process_time()
    trained = train_watched(films.open(), job.indices, job.recipe, sender)
    sender.flush()
    file = _network_file(films, job)
    noted = {
        "name": job.name,
        "recipe": {name: str(value) for name, value in asdict(job.recipe).items()},
        "films": len(job.indices),
        "epochs": trained.epochs,
        "brier": trained.brier,
        "gamma": trained.network.gammas(),
        "cpu_seconds": round(time.process_time() - begun, 1),
    }
    file.with_suffix(".json").write_text(json.dumps(noted, indent=1) + "\n", encoding="utf-8")
    part = file.with_suffix(".part")
    safetensors.torch.save_file({n: v.contiguous() for n, v in trained.network.state_dict().items()}, part)
    os.replace(part, file)  # noqa: PTH105 - the atomic replace that a killed run needs


def kept_logits(network: Kept, serving: Serving, indices: Sequence[int]) -> Floats | None:
    """What an earlier run heard from this network about these films."""
    file = _logits_file(network, serving, indices)
    return np.load(file, allow_pickle=False) if file.exists() else None


def ask(films: FilmFile, job: Job, serving: Serving, indices: tuple[int, ...], messages: Any) -> None:
    """Ask a kept network about films through the reference runtime and keep its raw logits."""
    network = kept_network(films, job)
    assert network is not None  # noqa: S101 - it was trained before
    sender = Sender(messages, f"{job.name}, crop {serving.crop}{', mirrored' if serving.mirror else ''}")
    opened, runtime = films.open(), TorchRuntime(network.load(job.recipe), serving)
    found = [runtime.infer(opened.prepared(i)).logit for i in counted(indices, len(indices), "ask", sender)]
    sender.flush()
    file = _logits_file(network, serving, indices)
    part = file.with_suffix(".part")
    with part.open("wb") as out:
        np.save(out, np.array(found, np.float64), allow_pickle=False)
    os.replace(part, file)  # noqa: PTH105 - as above


def source_digest(names: Iterable[str]) -> str:
    """Of modules below `model/`, without comments and docstrings."""
    digest = hashlib.sha256()
    for name in names:
        tree = ast.parse((MODEL / f"{name}.py").read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            body: list[ast.stmt] = getattr(node, "body", [])
            if isinstance(body, list):
                body[:] = [s for s in body if not (isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant))]
        digest.update(ast.dump(tree).encode())
    return digest.hexdigest()


def finished(futures: Mapping[Future[None], str], draw: Callable[[], None]) -> None:
    """Wait for all, drawing their progress; the first error is raised once the others have ended."""
    while not all(future.done() for future in futures):
        draw()
        time.sleep(_REDRAW_SECONDS)
    draw()
    for future in futures:
        future.result()


def _keep_freed_memory() -> None:
    """Let glibc reuse large blocks instead of fetching each from the kernel again: an eighth of a training step."""
    c_library = ctypes.CDLL(None)
    if hasattr(c_library, "mallopt"):
        c_library.mallopt(_M_MMAP_MAX, 0)
        c_library.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_MAX: Final = -4
"""Names of glibc's malloc.h."""
_REDRAW_SECONDS: Final = 0.5


def _network_file(films: FilmFile, job: Job) -> Path:
    told = f"{films.digest} {sorted(job.indices)} {job.recipe} {source_digest(_SHAPED_BY)}"
    return films.folder / f"network-{hashlib.sha256(told.encode()).hexdigest()[:12]}.safetensors"


def _logits_file(network: Kept, serving: Serving, indices: Sequence[int]) -> Path:
    told = f"{network.file.stem} {serving} {list(indices)}"
    return network.file.with_name(f"logits-{hashlib.sha256(told.encode()).hexdigest()[:12]}.npy")
