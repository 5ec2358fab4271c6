"""A site's films: each DICOM file read once, prepared as a served film is, and kept with what its header says.

Not allowed here: DICOM itself (the caller gives a reader), the truth, correcting a film that the node would refuse.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import safetensors.numpy
from rich.progress import Progress

from model.domain import Radiograph, Sex, View
from model.preprocess import RESIZER, prepare
from model.quality import check_pixels
from model.train.plan import Plan

_FULL_SCALE: Final = 65535
_REVISION: Final = 2
"""Of what is kept beside the pixels."""


class FilmUnreadable(Exception):
    """The file holds no film, or none that can be decoded; the message is a code. The others can still be used."""


class ReadFilm(Protocol):
    """Decodes one file. Runs in other processes: a function of a module, not a closure."""

    def __call__(self, path: Path, *, zone: ZoneInfo) -> Radiograph:
        """The film at `path`; header times without offset are in `zone`. Raises FilmUnreadable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteFilm:
    """One prepared film and what its header says."""

    image: npt.NDArray[np.uint16] = field(repr=False)
    box: npt.NDArray[np.int16]
    sop_instance_uid: str
    digest: str
    """Of the prepared pixels: equal for the copies of a film that was given another UID."""
    acquired_at: dt.datetime | None
    age_years: float | None
    sex: Sex
    refused: str
    """Code of why it cannot train anything, or empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnreadFilm:
    """A file that `FilmUnreadable` was said of. Never kept: a decoder may be installed for the next run."""

    code: str


def read_films(
    files: Sequence[Path], plan: Plan, zone: ZoneInfo, read: ReadFilm, progress: Progress
) -> list[SiteFilm | UnreadFilm]:
    """Every file of `files`, in their order, read in `plan.processes` and kept in the run folder.

    Raises:
        OSError: a file cannot be read; whatever else `read` raises.

    """
    cache = plan.run / "site-films"
    cache.mkdir(parents=True, exist_ok=True)
    task = progress.add_task("read films", total=len(files))
    found: list[SiteFilm | UnreadFilm] = []
    with ProcessPoolExecutor(plan.processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        wanted = [pool.submit(_kept_film, cache, file, plan.side, zone, read) for file in files]
        for future in wanted:
            kept = future.result()
            found.append(_opened(kept) if isinstance(kept, Path) else kept)
            progress.advance(task)
    return found


def _kept_film(cache: Path, path: Path, side: int, zone: ZoneInfo, read: ReadFilm) -> Path | UnreadFilm:
    facts = path.stat()
    told = f"{path.resolve()} {facts.st_size} {facts.st_mtime_ns} {side} {RESIZER} {zone} {_REVISION}"
    file = cache / f"{hashlib.sha256(told.encode()).hexdigest()[:16]}.safetensors"
    if not file.exists():
        try:
            radiograph = read(path, zone=zone)
        except FilmUnreadable as error:
            return UnreadFilm(code=str(error))
        film = prepare(radiograph.pixels, side)
        arrays = {
            "image": np.round(film.image * _FULL_SCALE).astype(np.uint16),
            "box": np.array(film.box, np.int16),
        }
        part = file.with_suffix(".part")
        safetensors.numpy.save_file(arrays, part)
        noted = _header(radiograph, side) | {"digest": _digest(arrays)}
        file.with_suffix(".json").write_text(json.dumps(noted), encoding="utf-8")
        os.replace(part, file)  # noqa: PTH105 - the atomic replace that a killed run needs
    return file


def _header(radiograph: Radiograph, side: int) -> dict[str, Any]:
    refused = [str(reason) for reason in check_pixels(radiograph, minimum_short_side=side * 5 // 4).reasons]
    if radiograph.view is View.LATERAL:
        refused.append("VIEW_LATERAL")
    return {
        "sop_instance_uid": radiograph.reference.sop_instance_uid,
        "acquired_at": radiograph.acquired_at.isoformat() if radiograph.acquired_at else None,
        "age": radiograph.age_years,
        "sex": radiograph.sex.value,
        "refused": refused[0] if refused else "",
    }


def _digest(arrays: dict[str, npt.NDArray[Any]]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for name in ("image", "box"):
        digest.update(np.ascontiguousarray(arrays[name]).data)
    return digest.hexdigest()


def _opened(file: Path) -> SiteFilm:
    arrays = safetensors.numpy.load_file(file)
    noted = json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))
    at = noted["acquired_at"]
    return SiteFilm(
        image=arrays["image"],
        box=arrays["box"],
        sop_instance_uid=noted["sop_instance_uid"],
        digest=noted["digest"],
        acquired_at=dt.datetime.fromisoformat(at) if at else None,
        age_years=noted["age"],
        sex=Sex(noted["sex"]),
        refused=noted["refused"],
    )
