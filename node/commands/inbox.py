"""`osteon inbox`: the HL7 messages that came, those that wait for a person, and who sends."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from config.settings import load
from node.commands.arguments import MOST, Number

app = typer.Typer(help="HL7 messages as received; without a subcommand, list them.", invoke_without_command=True)

ConfigOption = Annotated[Path | None, typer.Option("--config", "-c", help="TOML file; without it every default holds.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


@app.callback()
def listing(
    context: typer.Context,
    *,
    quarantined: Annotated[bool, typer.Option("--quarantined", help="Only those that wait for a person.")] = False,
    feeds: Annotated[bool, typer.Option("--feeds", help="Who sends, how it went, who was refused and why.")] = False,
    remarks: Annotated[bool, typer.Option("--remarks", help="What the feed met and did not use, counted.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=MOST, help="At most so many, newest first.")] = 50,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """List messages, newest first: when, from whom, what type, how it was answered, what became of it."""
    from node import inbox_views  # noqa: PLC0415 - see node.cli

    if context.invoked_subcommand is not None:
        return
    if remarks:
        from node.remark_views import show_remarks  # noqa: PLC0415

        show_remarks(load(config), as_json=as_json)
    elif feeds:
        inbox_views.show_feeds(load(config), as_json=as_json)
    else:
        inbox_views.show_inbox(load(config), quarantined=quarantined, limit=limit, as_json=as_json)


@app.command()
def show(
    number: Number,
    *,
    body: Annotated[bool, typer.Option("--body", help="The message itself too: it names a patient.")] = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Show one message: its header, its answer, why it waits."""
    from node import inbox_views  # noqa: PLC0415

    inbox_views.show_message(load(config), number, body=body, as_json=as_json)


@app.command()
def replay(
    number: Annotated[int | None, typer.Argument(help="Number of the message.")] = None,
    *,
    all_quarantined: Annotated[bool, typer.Option("--all-quarantined", help="All that wait for a person.")] = False,
    config: ConfigOption = None,
) -> None:
    """Take a message again by the settings of now; exit status 1 if it still waits."""
    from node import inbox_views  # noqa: PLC0415

    if (number is None) != all_quarantined:
        raise typer.BadParameter("give a number, or --all-quarantined")  # noqa: EM101, TRY003
    raise typer.Exit(inbox_views.replay_messages(load(config), number))


@app.command()
def dismiss(number: Number, *, config: ConfigOption = None) -> None:
    """A person has seen to a message that waits; it stays in the inbox and is not taken."""
    from node import inbox_views  # noqa: PLC0415

    inbox_views.dismiss_message(load(config), number)
