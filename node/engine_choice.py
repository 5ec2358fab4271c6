"""What the site's settings mean for the engine that runs the networks and for decoding."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path
from typing import Final

import structlog

from config.settings import Settings
from model.bundle import Bundle
from model.engines import Engines
from model.proofs import Proofs

HALF: Final = "decode-half"
"""Subject of the verdict on half-resolution decoding."""
_HALVED_FROM: Final = 5

log = structlog.get_logger()


def engines_directory(settings: Settings) -> Path:
    """Where converted networks and the verdicts on them lie; may be deleted, then it is made anew."""
    return settings.storage.data_dir / "engines"


def wanted_engines(settings: Settings, *, wait: bool = True) -> Engines:
    """The engines to try, as the settings have it; without `wait` only such as have proved themselves by now."""
    return Engines(runtime=settings.model.runtime, cache=engines_directory(settings), wait=wait)


def least_halved(bundle: Bundle) -> int:
    """Short side in px from which a film may be decoded at half resolution.

    Five times the network's square. The difference after resizing is 0.6 to 2.9 of 4095 (phantoms of 2,500 x 2,048 px,
    a square of 320) but for films with a shutter burnt in: along an edge of one pixel the low level overshoots, the
    decoder clips that, and 1 % of the square has 96 % of a difference of 5 to 8. So `osteon model parity --decode`,
    which allows 3 of every film, admits it only for a site's bundle without such films. Other phases or filters do not
    help: what is made of the low level is within 2 % of the best that can be (white noise and steps, least squares).
    """
    return max(2 * bundle.manifest.image.minimum_short_side, _HALVED_FROM * bundle.side)


def half_from(settings: Settings, bundle: Bundle) -> int | None:
    """Short side in px from which images may be decoded at half resolution; None where it is off or not admitted."""
    if settings.model.decode_reduce == "off":
        return None
    verdict = decoding_proofs(settings, bundle.folder).read(HALF)
    stated = bundle.manifest.reduced_decode
    by_bundle = stated is not None and stated.admitted and stated.discarded_levels == 1
    if by_bundle or (verdict is not None and verdict.accepted):
        return least_halved(bundle)
    log.warning("worker.half_resolution_not_admitted", remedy="run `osteon model parity --decode`")
    return None


def decoding_proofs(settings: Settings, bundle: Path) -> Proofs:
    """Where the verdict on half-resolution decoding lies: tied to the bundle and to both decoding libraries."""
    versions = "-".join(f"{name} {importlib.metadata.version(name)}" for name in ("imagecodecs", "pillow"))
    return Proofs(cache=engines_directory(settings), bundle=bundle, engine=versions)
