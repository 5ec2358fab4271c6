"""`osteon person`: which patients the feeds merged or deleted, and taking that back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from config.settings import load
from node.commands.arguments import MOST, Number

app = typer.Typer(help="Patients as the feeds merged or deleted them.", no_args_is_help=True)

ConfigOption = Annotated[Path | None, typer.Option("--config", "-c", help="TOML file; without it every default holds.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
IdentifiersOption = Annotated[
    bool, typer.Option("--identifiers", help="The patients' identifiers too; without it persons are numbers.")
]


@app.command()
def merges(
    *,
    include_undone: Annotated[bool, typer.Option("--all", help="Those that were taken back as well.")] = False,
    identifiers: IdentifiersOption = False,
    limit: Annotated[int, typer.Option(min=1, max=MOST, help="At most so many, newest first.")] = 50,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """List merges and identifier changes (A40, A34-A36, A18, A47), newest first."""
    from node.person_views import show_merges  # noqa: PLC0415 - see node.cli

    show_merges(load(config), include_undone=include_undone, identifiers=identifiers, limit=limit, as_json=as_json)


@app.command()
def unmerge(number: Number, *, config: ConfigOption = None) -> None:
    """Take a merge back: both patients are read as themselves again, and their cases look again."""
    from node.person_views import undo  # noqa: PLC0415

    undo(load(config), number)


@app.command()
def deleted(
    *,
    identifiers: IdentifiersOption = False,
    limit: Annotated[int, typer.Option(min=1, max=MOST, help="At most so many, newest first.")] = 50,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """List patients who were deleted (A29), newest first: no image joins their data."""
    from node.person_views import show_deleted  # noqa: PLC0415

    show_deleted(load(config), identifiers=identifiers, limit=limit, as_json=as_json)


@app.command()
def restore(number: Number, *, config: ConfigOption = None) -> None:
    """Let images join a deleted patient again, where the deletion was a mistake."""
    from node.person_views import restore_person  # noqa: PLC0415

    restore_person(load(config), number)
