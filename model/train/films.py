"""Renders the training films of virtual patients and keeps them prepared on disk, so that a broken run goes on.

The cache is named by everything that shapes a film: the phantom's source, the resizer, the seed, the side and the
patients. A changed phantom therefore renders anew instead of mixing, and a larger run takes over what a smaller
one rendered. Torch-free: render processes import this module. Not allowed here: the label; a film must not know it
except through the bones.
"""

from __future__ import annotations

import hashlib
import math
import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import safetensors.numpy
from rich.progress import Progress

from model.phantom.cohort import VirtualPatient
from model.phantom.render import render
from model.phantom.scenario import draw_acquisition
from model.preprocess import RESIZER, Prepared, prepare
from model.train.people import Person

_CHUNK: Final = 40
_FULL_SCALE: Final = 65535
# (rows per side, columns per row, share). The sizes a node is served, at side 320: portraits of 500, 560 and 640 rows,
# squares, and a few finer films. A network trained on films of 336 rows lost .06 of AUC on served ones, for it had
# learned the detail of one rendering size; below 1.25 sides a node refuses a film.
_SHAPES: Final = (
    (1.5625, 0.82, 0.32),
    (1.75, 0.82, 0.28),
    (2.0, 0.82, 0.18),
    (1.75, 1.0, 0.17),
    (3.125, 0.82, 0.05),
)

_DRAW_PATIENTS: Final = frozenset({"cohort", "copula", "fit_cohort"})
"""Modules of the phantom that shape patients, not films; a chunk's name holds its patients themselves."""
_PHANTOM: Final = Path(__file__).resolve().parents[1] / "phantom"


@dataclass(frozen=True, slots=True, kw_only=True)
class Films:
    """Prepared films of N people, virtual or real, in the people's order."""

    patients: tuple[Person, ...] = field(repr=False)
    owners: tuple[str, ...] = field(repr=False)
    """(N) whose film each is: the same for all films of one patient, and of no other."""
    images: npt.NDArray[np.uint16] = field(repr=False)
    """(N, S, S) uint16, 0 to 65535 for [0, 1], bone bright, zero outside the box."""
    boxes: npt.NDArray[np.int16] = field(repr=False)
    """(N, 4): (top, left, bottom, right) of the mask's rectangle, half-open."""

    def image(self, index: int) -> npt.NDArray[np.float32]:
        """(S, S) float32 in [0, 1]."""
        return np.asarray(self.images[index] / np.float32(_FULL_SCALE), np.float32)

    def mask(self, index: int) -> npt.NDArray[np.bool_]:
        """(S, S) bool."""
        top, left, bottom, right = self.boxes[index]
        mask = np.zeros(self.images.shape[1:], np.bool_)
        mask[top:bottom, left:right] = True
        return mask

    def prepared(self, index: int) -> Prepared:
        """The film as the runtime takes it; its region refers to the square itself."""
        top, left, bottom, right = (int(v) for v in self.boxes[index])
        region = (0, 0, bottom - top, right - left)
        return Prepared(image=self.image(index), mask=self.mask(index), region=region, pixels_per_source_px=1.0)

    def picture(self, index: int) -> npt.NDArray[np.float32]:
        """The film without letter-box, (rows, columns) float32 in [0, 1]."""
        top, left, bottom, right = self.boxes[index]
        return self.image(index)[top:bottom, left:right]


def render_films(
    patients: Sequence[VirtualPatient], folder: Path, *, seed: int, side: int, workers: int, progress: Progress
) -> Films:
    """Render what is not cached yet in `workers` processes of one thread and return all films."""
    cache = folder / f"films-{cache_key(seed=seed, side=side)}"
    cache.mkdir(parents=True, exist_ok=True)
    chunks = [tuple(patients[first : first + _CHUNK]) for first in range(0, len(patients), _CHUNK)]
    files = [cache / f"{_digest(chunk)}.safetensors" for chunk in chunks]
    task = progress.add_task("render films", total=len(patients))
    todo = []
    for file, chunk in zip(files, chunks, strict=True):
        if file.exists():
            progress.advance(task, len(chunk))
        else:
            todo.append((file, chunk))
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        for done in as_completed([pool.submit(_render_chunk, file, chunk, seed, side) for file, chunk in todo]):
            progress.advance(task, done.result())
    parts = [safetensors.numpy.load_file(file) for file in files]
    return Films(
        patients=tuple(patients),
        owners=tuple(str(patient.index) for patient in patients),
        images=np.concatenate([part["images"] for part in parts]),
        boxes=np.concatenate([part["boxes"] for part in parts]),
    )


def cache_key(*, seed: int, side: int) -> str:
    """Twelve hex digits over everything that shapes a film but its patient."""
    digest = hashlib.sha256(f"{seed} {side} {RESIZER} {_SHAPES}".encode())
    for source in sorted(_PHANTOM.glob("*.py")):
        if source.stem not in _DRAW_PATIENTS:
            digest.update(source.read_bytes())
    return digest.hexdigest()[:12]


def film_of(patient: VirtualPatient, *, seed: int, side: int) -> Prepared:
    """The one film of a patient; the same for the same seed."""
    rng = np.random.default_rng([seed, patient.index])
    rows_per_side, columns_per_row, _ = _SHAPES[int(rng.choice(len(_SHAPES), p=[share for *_, share in _SHAPES]))]
    rows = math.ceil(side * rows_per_side)
    acquisition = draw_acquisition(rng)
    pixels = render(patient.subject, acquisition, int(rng.integers(2**31)), (rows, round(rows * columns_per_row)))
    return prepare(pixels, side)


def _digest(patients: tuple[VirtualPatient, ...]) -> str:
    return hashlib.sha256(repr(patients).encode()).hexdigest()[:16]


def _render_chunk(file: Path, patients: tuple[VirtualPatient, ...], seed: int, side: int) -> int:
    films = [film_of(patient, seed=seed, side=side) for patient in patients]
    arrays = {
        "images": np.stack([np.round(film.image * _FULL_SCALE).astype(np.uint16) for film in films]),
        "boxes": np.array([film.box for film in films], np.int16),
    }
    part = file.with_suffix(".part")
    safetensors.numpy.save_file(arrays, part)
    os.replace(part, file)  # noqa: PTH105 - the atomic replace that a killed run needs
    return len(films)
