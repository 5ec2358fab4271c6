"""`osteon evaluate`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from config.settings import load


def evaluate(  # noqa: PLR0913 - each is an option of the command
    *,
    bundle: Annotated[str, typer.Option(help="`demo`, or the folder of a bundle.")] = "demo",
    phantoms: Annotated[int, typer.Option(min=20, help="How many virtual patients.")] = 2000,
    seed: Annotated[int, typer.Option(help="Other seeds, other patients.")] = 20_261,
    workers: Annotated[int, typer.Option(min=1, help="Processes of one thread each.")] = 2,
    data: Annotated[Path, typer.Option(help="Real data: tables/, nih/ and dicom/ below it, where there are.")] = Path(
        "../shared/data"
    ),
    run: Annotated[Path, typer.Option(file_okay=False, help="Keeps films and scores for the next time.")] = Path(
        "evaluation-run"
    ),
    report: Annotated[Path, typer.Option(file_okay=False, help="Folder for the report.")] = Path("evaluation"),
    short: Annotated[bool, typer.Option("--short", help="60 virtual patients; checks the way, judges no bar.")] = False,
    site: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="CSV of the site's scored patients: a verdict.")
    ] = None,
    by: Annotated[str, typer.Option(help="With --site: whose verdict it is.")] = "",
    floor_sensitivity: Annotated[float, typer.Option(min=0, max=1, help="With --site: fixed before looking.")] = 0.80,
    floor_specificity: Annotated[float, typer.Option(min=0, max=1, help="With --site: fixed before looking.")] = 0.70,
    config: Annotated[Path | None, typer.Option("--config", "-c", help="With --site: the node's TOML file.")] = None,
) -> None:
    """Measure a bundle on virtual patients it never saw, or (--site) on a site's own table of scored patients."""
    from node import evaluation_views as views  # noqa: PLC0415 - torch is loaded only when asked for

    if site is not None:
        if not by.strip():
            raise typer.BadParameter("a verdict has a name: who decides?", param_hint="--by")  # noqa: EM101, TRY003
        views.show_site_verdict(load(config), site, bundle=bundle, by=by, floors=(floor_sensitivity, floor_specificity))
        return
    extent = views.extent(count=phantoms, seed=seed, workers=workers, short=short)
    sys.exit(views.run_evaluation(bundle, extent, data=data, run=run, report=report))
