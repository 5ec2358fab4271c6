"""`osteon drift`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from config.settings import load


def drift(
    *,
    set_reference: Annotated[
        bool, typer.Option("--set-reference", help="Declare the newest results the reference: all is well now.")
    ] = False,
    by: Annotated[str, typer.Option(help="With --set-reference: who declares it.")] = "",
    window: Annotated[int, typer.Option(min=1, max=20_000, help="At most so many of the newest results.")] = 1000,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="TOML file; without it every default holds.")
    ] = None,
) -> None:
    """Compare the latest results with a reference; exit status 1 on an alarm. Nothing is stopped or sent again."""
    from node import score_drift_views as views  # noqa: PLC0415 - scipy is loaded only when asked for

    if not set_reference:
        sys.exit(views.show_drift(load(config), window=window, as_json=as_json))
    if not by.strip():
        raise typer.BadParameter("a reference has a name: who declares it?", param_hint="--by")  # noqa: EM101, TRY003
    typer.echo(views.set_reference(load(config), by=by, window=window))
