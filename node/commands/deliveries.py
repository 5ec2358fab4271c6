"""`osteon deliveries`: what waits for which archive, and what a person may decide about it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from config.settings import load
from node.commands.arguments import MOST

app = typer.Typer(
    help="Reports on their way to the archives; without a subcommand, list them.", invoke_without_command=True
)

ConfigOption = Annotated[Path | None, typer.Option("--config", "-c", help="TOML file; without it every default holds.")]
ByOption = Annotated[str, typer.Option(help="Who decides; written to the audit trail.")]
ReasonOption = Annotated[str, typer.Option(help="Why; written to the audit trail. No patient data.")]


@app.callback()
def listing(
    context: typer.Context,
    *,
    destination: Annotated[str, typer.Option(help="Only this one.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=MOST, help="At most so many deliveries.")] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
    config: ConfigOption = None,
) -> None:
    """List the destinations and every delivery that is not there yet: refused first, then waiting, then unproved."""
    from node.delivery_views import show_deliveries  # noqa: PLC0415 - see node.cli

    if context.invoked_subcommand is None:
        show_deliveries(load(config), name=destination, limit=limit, as_json=as_json)


@app.command()
def pause(name: str, *, reason: ReasonOption, by: ByOption, config: ConfigOption = None) -> None:
    """Send nothing to a destination until `resume`; its reports wait. It holds over restarts."""
    from node import delivery_decisions  # noqa: PLC0415

    typer.echo(delivery_decisions.pause(load(config), name, reason=reason, by=by))


@app.command()
def resume(name: str, *, by: ByOption, config: ConfigOption = None) -> None:
    """Let a paused destination have what waited, in order and at a bounded rate."""
    from node import delivery_decisions  # noqa: PLC0415

    typer.echo(delivery_decisions.resume(load(config), name, by=by))


@app.command()
def retry(name: str, *, by: ByOption, config: ConfigOption = None) -> None:
    """Try again everything that a destination refused, or could not take for days."""
    from node import delivery_decisions  # noqa: PLC0415

    typer.echo(delivery_decisions.retry(load(config), name, by=by))


@app.command()
def drop(name: str, *, reason: ReasonOption, by: ByOption, config: ConfigOption = None) -> None:
    """Give up what waits for a destination that is no longer in the settings."""
    from node import delivery_decisions  # noqa: PLC0415

    typer.echo(delivery_decisions.drop(load(config), name, reason=reason, by=by))
