"""`osteon reconcile`: whether every radiograph of a day has its answer."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Annotated

import typer

from config.settings import load

ConfigOption = Annotated[Path | None, typer.Option("--config", "-c", help="TOML file; without it every default holds.")]


def reconcile(
    *,
    date: Annotated[
        dt.datetime | None, typer.Option("--date", formats=["%Y-%m-%d"], help="Study date; yesterday without it.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
    config: ConfigOption = None,
) -> None:
    """Ask the archive for a day's chest radiographs, look each up here, and have missing reports sent again."""
    from node.reconcile_views import reconcile_day  # noqa: PLC0415 - see node.cli

    raise typer.Exit(reconcile_day(load(config), date.date() if date else None, as_json=as_json))
