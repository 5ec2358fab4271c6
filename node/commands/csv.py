"""`osteon csv`: what became of dropped files, and the decision on those that are held."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from config.settings import load
from node.commands.arguments import MOST, Number

app = typer.Typer(help="Dropped CSV files: what became of them, and what is to be done with held ones.")

ConfigOption = Annotated[Path | None, typer.Option("--config", "-c", help="TOML file; without it every default holds.")]


@app.command("list")
def list_files(
    *,
    state: Annotated[str, typer.Option(help="Only in this state: importing, held, released, rejected, done.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=MOST, help="At most so many, newest first.")] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
    config: ConfigOption = None,
) -> None:
    """List the files by number. Names are in the folders only: a held file lies in `held/<number>/`."""
    from node.csv_views import show_files  # noqa: PLC0415 - see node/cli.py

    show_files(load(config), state=state, limit=limit, as_json=as_json)


@app.command()
def release(number: Number, *, config: ConfigOption = None) -> None:
    """Import a held file as it is: its good rows, and, if it is a snapshot, its deletions.

    Of one that is older than what was imported of its source since, only rows that are not known yet; no snapshot.
    One whose header or source does not fit the settings is not released: it would be held again.
    """
    from node.csv_views import decide  # noqa: PLC0415 - see node/cli.py
    from node.store.csv_files import CsvState  # noqa: PLC0415

    typer.echo(decide(load(config), number, CsvState.RELEASED))


@app.command()
def reject(number: Number, *, config: ConfigOption = None) -> None:
    """Set a held file aside for good."""
    from node.csv_views import decide  # noqa: PLC0415 - see node/cli.py
    from node.store.csv_files import CsvState  # noqa: PLC0415

    typer.echo(decide(load(config), number, CsvState.REJECTED))
