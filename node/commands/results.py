"""`osteon results`: reports on their way to HL7 receivers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from config.settings import load


def results(
    *,
    case: Annotated[int | None, typer.Option(help="Only this case.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Acknowledged and cancelled messages too.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="At most so many messages.")] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="TOML file; without it every default holds.")
    ] = None,
) -> None:
    """List the HL7 messages about reports that are not acknowledged; `osteon retry CASE` sends refused ones again."""
    from node.result_views import show_results  # noqa: PLC0415 - see node.cli

    show_results(load(config), case_id=case, everything=everything, limit=limit, as_json=as_json)
