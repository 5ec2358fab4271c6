"""What an evaluation has rendered and scored, on disk, so that a broken run goes on and another bundle is cheap.

Films are kept by everything that shapes them; scores by the bundle's bytes, the engine and the code between a film and
its score. A changed phantom, bundle or preprocessing therefore starts anew instead of mixing. Two gigabytes hold 4,000
films; the folder may be deleted at any time. Not allowed here: a figure.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import safetensors.numpy

from model.phantom.cohort import VirtualPatient

Floats = npt.NDArray[np.float32]

_MODEL: Final = Path(__file__).resolve().parents[1]
_FULL_SCALE: Final = 65535
_NOT_SERVING: Final = frozenset({"train", "evaluation", "phantom", "bundles"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreCache:
    """Folders of films and of scores."""

    films: Path
    scores: Path


def score_cache(folder: Path, *, films_key: str, served_by: str) -> ScoreCache:
    """The cache below `folder` for one seed of films and one bundle on one engine, both named by `served_by`."""
    served = hashlib.sha256(f"{served_by} {_serving_code()}".encode()).hexdigest()[:12]
    return ScoreCache(films=folder / f"served-{films_key}", scores=folder / f"scores-{films_key}-{served}")


def digest_of(patients: Sequence[VirtualPatient]) -> str:
    """Sixteen hex digits over everything the patients are."""
    return hashlib.sha256(repr(tuple(patients)).encode()).hexdigest()[:16]


def kept_films(file: Path, render: Callable[[], Sequence[Floats]]) -> list[Floats]:
    """Films of a chunk, (rows, columns) float32 in [0, 1] on a 16-bit scale: from the file, else rendered into it."""
    if not file.exists():
        stored = {f"{i:04}": np.round(film * _FULL_SCALE).astype(np.uint16) for i, film in enumerate(render())}
        _whole(file, lambda part: safetensors.numpy.save_file(stored, part))
    arrays = safetensors.numpy.load_file(file)
    return [np.asarray(arrays[name] / np.float32(_FULL_SCALE), np.float32) for name in sorted(arrays)]


def kept_scores(file: Path, score: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
    """JSON of a chunk's scores: from the file, else computed into it."""
    if not file.exists():
        text = json.dumps(score())
        _whole(file, lambda part: part.write_text(text, encoding="utf-8"))
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found


def gathered(
    pool: Executor, jobs: Iterable[tuple[Path, Callable[..., dict[str, Any]], tuple[Any, ...]]]
) -> Iterator[dict[str, Any]]:
    """What each job has to say: read where its file lies, else `work(*arguments)` in the pool, which writes it.

    Where all files lie, the pool starts no process.
    """
    waiting = []
    for file, work, arguments in jobs:
        if file.exists():
            yield kept_scores(file, dict)
        else:
            waiting.append(pool.submit(work, *arguments))
    for done in as_completed(waiting):
        yield done.result()


def _whole(file: Path, write: Callable[[Path], object]) -> None:
    """Written completely or not at all: a killed run must not leave half a file under the final name."""
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(f".part{os.getpid()}")
    write(part)
    part.replace(file)


def _serving_code() -> str:
    digest = hashlib.sha256()
    for source in sorted(_MODEL.rglob("*.py")):
        if source.relative_to(_MODEL).parts[0] not in _NOT_SERVING:
            digest.update(source.read_bytes())
    return digest.hexdigest()
