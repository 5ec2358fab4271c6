"""`osteon train`: a bundle from a training file, or the shipped demonstration preset."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated, Any, Final

import typer

app = typer.Typer(
    help="Train model bundles (offline work; needs the `train` extra).",
    invoke_without_command=True,
)
_SealOption = Annotated[
    bool, typer.Option("--seal", help="Train nothing: calibrate, measure and write again from what the run kept.")
]
_LONGEST_MINUTES: Final = 60.0
"""What the demonstration bundle may take on two quiet cores (issue 5)."""
_CANNOT_BE_USED: Final = 2


@app.callback()
def train(
    context: typer.Context,
    *,
    config: Annotated[
        Path | None, typer.Option("--config", "-c", exists=True, dir_okay=False, help="TOML file of the training run.")
    ] = None,
    seal: _SealOption = False,
) -> None:
    """Train the bundle that a file describes: virtual patients, or a site's own studies."""
    if context.invoked_subcommand is not None:
        return
    if config is None:
        typer.echo(context.get_help())
        sys.exit(_CANNOT_BE_USED)
    from model.train.plan import PlanError, read_plan  # noqa: PLC0415 - torch is loaded only when asked for

    try:
        plan = read_plan(config)
    except PlanError as error:
        _refuse(error)
    sys.exit(_make(plan, name="train", seal=seal, against=plan.out))


@app.command()
def demo(
    *,
    out: Annotated[Path, typer.Option(file_okay=False, help="Folder of the new bundle.")] = Path("training-run/demo"),
    table: Annotated[
        Path, typer.Option(exists=True, dir_okay=False, help="bonequality.csv, the real DXA table.")
    ] = Path("../shared/data/tables/bonequality.csv"),
    films: Annotated[
        Path, typer.Option(exists=True, file_okay=False, help="Real films (NIH) with manifest.csv, for the gate.")
    ] = Path("../shared/data/nih"),
    run: Annotated[Path, typer.Option(file_okay=False, help="Where a broken run leaves its pieces.")] = Path(
        "training-run"
    ),
    patients: Annotated[
        int | None,
        typer.Option(min=24, help="Virtual patients in all parts; the shipped bundle's unless said."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Same seed, same bundle up to float noise.")] = 7,
    against: Annotated[
        Path | None, typer.Option(file_okay=False, help="Hold the figures against this bundle's; default: the shipped.")
    ] = None,
    seal: _SealOption = False,
) -> None:
    """Train the demonstration bundle on simulated radiographs: the preset `demo` with these values."""
    from model.screener import DEMO_BUNDLE  # noqa: PLC0415 - torch is loaded only when asked for
    from model.train.plan import preset  # noqa: PLC0415

    data = {"table": table} | ({} if patients is None else {"patients": patients})
    plan = preset("demo", {"out": out, "run": run, "seed": seed, "gate_films": films, "data": data})
    sys.exit(_make(plan, name="train-demo", seal=seal, against=against or DEMO_BUNDLE, minutes=_LONGEST_MINUTES))


def _make(plan: Any, *, name: str, seal: bool, against: Path, minutes: float | None = None) -> int:
    """Make the bundle, print what it says beside the earlier one, and give the exit status."""
    from model.train.campaign import make_bundle  # noqa: PLC0415 - torch is loaded only when asked for
    from model.train.reproduction import compare, earlier_metrics, result_line  # noqa: PLC0415
    from model.train.site_rows import ManifestError  # noqa: PLC0415
    from model.train.split import LeakageError, TooFewPatients  # noqa: PLC0415
    from model.train.workshop import NotTrained  # noqa: PLC0415
    from model.trunks import TrunkWeightsError  # noqa: PLC0415
    from node.commands.training_film import read_training_film  # noqa: PLC0415

    earlier, begun = earlier_metrics(against), time.monotonic()
    try:
        bundle = make_bundle(plan, read=read_training_film, train_missing=not seal)
    except (NotTrained, LeakageError, ManifestError, TooFewPatients, TrunkWeightsError, OSError) as error:
        _refuse(error)
    taken = (time.monotonic() - begun) / 60
    compared = compare(earlier, bundle.manifest)
    for line in compared.lines:
        typer.echo(line)
    late = ("minutes",) if minutes is not None and taken > minutes else ()
    missed = (*compared.missed, *late)
    typer.echo(result_line(name, bundle.manifest, compared, minutes=taken, missed=missed))
    return 1 if missed else 0


def _refuse(error: Exception) -> Any:
    typer.echo(f"osteon: {error}", err=True)
    sys.exit(_CANNOT_BE_USED)
