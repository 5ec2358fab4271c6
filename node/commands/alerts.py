"""`osteon alerts`: what a person must know of, and what to do about it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from config.settings import load
from node.commands.arguments import Number

app = typer.Typer(help="What a person must know of; without a subcommand, list it.", invoke_without_command=True)

ConfigOption = Annotated[Path | None, typer.Option("--config", "-c", help="TOML file; without it every default holds.")]


@app.callback()
def listing(
    context: typer.Context,
    *,
    include_cleared: Annotated[bool, typer.Option("--all", help="Also those that somebody has seen to.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
    config: ConfigOption = None,
) -> None:
    """List open alerts, latest first: what happened, what it means, and the next step."""
    from node.alert_views import show_alerts  # noqa: PLC0415 - see node.cli

    if context.invoked_subcommand is None:
        show_alerts(load(config), include_cleared=include_cleared, as_json=as_json)


@app.command()
def clear(number: Number, *, config: ConfigOption = None) -> None:
    """Say that you have seen to an alert; it is raised anew if the same happens again."""
    from node.alert_views import clear_alert  # noqa: PLC0415

    typer.echo(clear_alert(load(config), number))
