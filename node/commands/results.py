"""`osteon results`: reports on their way to HL7 receivers, and what a person may decide about them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from config.settings import load
from node.commands.arguments import MOST

app = typer.Typer(
    help="HL7 messages about reports; without a subcommand, list those that are not acknowledged. "
    "`osteon retry CASE` sends refused ones again.",
    invoke_without_command=True,
)

ConfigOption = Annotated[Path | None, typer.Option("--config", "-c", help="TOML file; without it every default holds.")]


@app.callback()
def listing(
    context: typer.Context,
    *,
    case: Annotated[int | None, typer.Option(help="Only this case.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Acknowledged and cancelled messages too.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=MOST, help="At most so many messages.")] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
    config: ConfigOption = None,
) -> None:
    """List the HL7 messages about reports that are not acknowledged; `osteon retry CASE` sends refused ones again."""
    from node.result_views import show_results  # noqa: PLC0415 - see node.cli

    if context.invoked_subcommand is None:
        show_results(load(config), case_id=case, everything=everything, limit=limit, as_json=as_json)


@app.command()
def drop(
    name: str,
    *,
    reason: Annotated[str, typer.Option(help="Why; written to the audit trail. No patient data.")],
    by: Annotated[str, typer.Option(help="Who decides; written to the audit trail.")],
    config: ConfigOption = None,
) -> None:
    """Give up what waits for a receiver that is no longer in the settings."""
    from node import result_decisions  # noqa: PLC0415

    typer.echo(result_decisions.drop(load(config), name, reason=reason, by=by))
