"""`osteon retention`: what is kept how long, and what is due."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from config.settings import load

ConfigOption = Annotated[Path | None, typer.Option("--config", "-c", help="TOML file; without it every default holds.")]


def retention(
    *,
    now: Annotated[bool, typer.Option("--now", help="Have the running node let go what is due, at once.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what is due (as without any option).")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
    config: ConfigOption = None,
) -> None:
    """Show what retention would let go now; the running node does so once a day. Nothing undelivered is ever due."""
    from node.retention_views import ask, show_due  # noqa: PLC0415 - see node.cli

    if now and not dry_run:
        typer.echo(ask(load(config)))
    else:
        show_due(load(config), as_json=as_json)
