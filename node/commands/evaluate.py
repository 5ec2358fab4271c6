"""`osteon evaluate`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer


def evaluate(
    *,
    bundle: Annotated[str, typer.Option(help="`demo`, or the folder of a bundle.")] = "demo",
    phantoms: Annotated[int, typer.Option(min=100, help="How many virtual patients.")] = 2000,
    seed: Annotated[int, typer.Option(help="Other seeds, other patients.")] = 20_261,
    workers: Annotated[int, typer.Option(min=1, help="Processes of one thread each.")] = 2,
    table: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="The real DXA table, for the clinical model.")
    ] = None,
    report: Annotated[Path, typer.Option(file_okay=False, help="Folder for the report.")] = Path("evaluation"),
) -> None:
    """Measure a bundle on virtual patients it never saw and write the report (needs the `train` extra)."""
    from model.screener import DEMO_BUNDLE  # noqa: PLC0415 - torch is loaded only when asked for
    from model.train.evaluate import evaluate_on_phantoms  # noqa: PLC0415

    folder = DEMO_BUNDLE if bundle == "demo" else Path(bundle)
    bars = evaluate_on_phantoms(folder, report, count=phantoms, seed=seed, workers=workers, table=table)
    for bar in bars:
        typer.echo(f"{'met   ' if bar.met else 'MISSED'} {bar.name:26} {bar.value:8.4f}  ({bar.demand})")
    typer.echo(f"report: {report / 'evaluation.html'}")
    missed = [bar.name for bar in bars if not bar.met]
    figures = " ".join(f"{bar.name}={bar.value:.4f}" for bar in bars)
    typer.echo(f"RESULT evaluate-demo phantoms={phantoms} seed={seed} {figures} missed={','.join(missed) or 'none'}")
    sys.exit(1 if missed else 0)
