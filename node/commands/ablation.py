"""`osteon train ablation`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer


def ablation(  # noqa: PLR0913 - each is an option of the command
    *,
    out: Annotated[Path, typer.Option(file_okay=False, help="Folder for ablation.json and .md.")] = Path("evaluation"),
    run: Annotated[Path, typer.Option(file_okay=False, help="The training's run folder, whose films are used.")] = Path(
        "training-run"
    ),
    images: Annotated[int, typer.Option(min=200, help="Virtual patients in all folds together.")] = 2400,
    folds: Annotated[int, typer.Option(min=2, max=10, help="Equal for every row.")] = 2,
    seed: Annotated[int, typer.Option(help="Of the training's films.")] = 7,
    workers: Annotated[int, typer.Option(min=1, help="Processes of one thread each.")] = 2,
    trunk: Annotated[
        list[str] | None, typer.Option(metavar="NAME=FILE:SHA256", help="Another trunk with its weights; repeatable.")
    ] = None,
    from_scratch: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Another trunk, untrained; repeatable.")
    ] = None,
    short: Annotated[bool, typer.Option("--short", help="Tiny networks; shows the way, no figure.")] = False,
) -> None:
    """Compare wavelets, attention, trunks and fusion rules on equal folds, with intervals and in words."""
    from node.ablation_views import asked_of, run_and_show  # noqa: PLC0415 - torch is loaded only when asked for

    asked = asked_of(
        images=images, folds=folds, seed=seed, weights=trunk or (), scratch=from_scratch or (), short=short
    )
    sys.exit(run_and_show(asked, out, run, workers=workers, judged=not short))
