"""`osteon review`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from config.settings import load
from node.commands.arguments import Number


def review(
    case_id: Number,
    *,
    keep: Annotated[bool, typer.Option("--keep", help="The report stands as it is.")] = False,
    amend: Annotated[bool, typer.Option("--amend", help="Make a new version with what is known now.")] = False,
    reason: Annotated[str, typer.Option(help="Why; written to the case's history. No patient data.")],
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="TOML file; without it every default holds.")
    ] = None,
) -> None:
    """Decide about a report whose clinical data were corrected, taken back or merged (`osteon cases --review`)."""
    from node.case_decisions import amend_case, keep_case  # noqa: PLC0415 - see node.cli

    if keep == amend:
        raise typer.BadParameter("write one of --keep and --amend", param_hint="--keep / --amend")  # noqa: EM101, TRY003
    decide = keep_case if keep else amend_case
    typer.echo(decide(load(config), case_id, reason=reason))
