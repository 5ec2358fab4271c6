"""`osteon train ablation`: runs the rows, prints table and sentences, writes them for the model card."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from config.settings import SettingsError
from model.bundle import CLINICAL
from model.clinical import ClinicalModel
from model.screener import DEMO_BUNDLE
from model.train.ablation import Ablation, run_ablation
from model.train.loop import Recipe
from model.trunks import TRUNKS, TrunkWeightsError


def asked_of(
    *, images: int, folds: int, seed: int, weights: Sequence[str], scratch: Sequence[str], short: bool
) -> Ablation:
    """What to compare; `weights` as NAME=FILE:SHA256 and `scratch` name other trunks.

    Raises:
        SettingsError: a trunk is not known.

    """
    if short:
        return Ablation.short()
    trunks = (*map(_with_weights, weights), *map(_untrained, scratch))
    return Ablation(images=images, folds=folds, seed=seed, trunks=trunks)


def run_and_show(asked: Ablation, out: Path, run: Path, *, workers: int, judged: bool) -> int:
    """Print and write the comparison; 1 when the full network lies below the plain trunk beyond chance.

    Raises:
        SettingsError: the weights of a trunk cannot be used.

    """
    clinical = ClinicalModel.from_dict(json.loads((DEMO_BUNDLE / CLINICAL).read_text(encoding="utf-8")))
    try:
        found = run_ablation(asked, clinical, run=run, workers=workers, console=Console(stderr=True))
    except TrunkWeightsError as error:
        raise SettingsError(str(error)) from error
    out.mkdir(parents=True, exist_ok=True)
    text = json.dumps(found.to_dict() | {"short": not judged}, indent=1)
    (out / "ablation.json").write_text(text + "\n", encoding="utf-8")
    (out / "ablation.md").write_text(found.markdown(), encoding="utf-8")
    print(found.markdown())  # noqa: T201 - this is the output
    gap = found.full_minus_plain
    held = ("yes" if found.holds else "no") if judged else "not-judged"
    print(  # noqa: T201
        f"RESULT ablation patients={found.patients} rows={len(found.rows)} full_minus_plain={gap['value']:+.4f} "
        f"low={gap['low']:+.4f} high={gap['high']:+.4f} p={gap['p']:.4f} full_not_below_plain={held}"
    )
    return 1 if held == "no" else 0


def _with_weights(text: str) -> Recipe:
    name, _, rest = text.partition("=")
    file, _, digest = rest.rpartition(":")
    if not file or not digest:
        msg = f"--trunk {text}: write NAME=FILE:SHA256"
        raise SettingsError(msg)
    return Recipe(trunk=_known(name), trunk_weights=Path(file), trunk_sha256=digest)


def _untrained(name: str) -> Recipe:
    return Recipe(trunk=_known(name), untrained_trunk=True)


def _known(name: str) -> str:
    if name not in TRUNKS:
        msg = f"{name!r} is no trunk; there are {', '.join(TRUNKS)}"
        raise SettingsError(msg)
    return name
