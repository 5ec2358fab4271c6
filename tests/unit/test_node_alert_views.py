"""What an operator is told to type can be typed: every command in an alert and in the guides has what it requires."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer
from typer.main import get_command

import node
from config.settings import parse
from node.alert_views import MEANINGS, show_alerts
from node.cli import app
from node.places import open_settings_ledger
from node.store import alerts
from node.store.alerts import AlertKind

GUIDES = Path(node.__file__).parents[1] / "deploy" / "docs"
PLACEHOLDERS = {"N": "1", "ID": "1", "DAY": "2026-11-20", "FILE": "/dev/null", "FOLDER": "/tmp"}
(USAGE_ERROR,) = typer.BadParameter.__bases__
"""Typer brings its own click or takes the installed one, by its version."""


def commands(text: str) -> list[str]:
    """What stands between backticks and is a whole command: `resume NAME` alone is none."""
    return [" ".join(found.split()) for found in re.findall(r"`osteon ([^`.]+)`", text)]


def complaint(command: str) -> str:
    """Why it cannot be run as written; empty where it can. Nothing is run."""
    words, found, context = [PLACEHOLDERS.get(word, word) for word in shlex.split(command)], get_command(app), None
    while words and words[0] in getattr(found, "commands", {}):
        context = typer.Context(found, parent=context, info_name=found.name)
        found = found.commands[words.pop(0)]
    try:
        found.make_context(found.name, words, parent=context)
    except USAGE_ERROR as error:
        return f"{command}: {error.format_message()}"
    return ""


def test_every_kind_of_alert_is_explained():
    assert set(MEANINGS) == set(AlertKind)


@pytest.mark.parametrize("kind", AlertKind)
def test_the_commands_of_an_alert_run_as_they_are_written(kind):
    meaning, step = MEANINGS[kind]
    assert [said for one in commands(f"{meaning} {step}") if (said := complaint(one))] == []


@pytest.mark.parametrize("columns", ["80", "40"])
def test_the_name_of_an_alert_is_whole_at_a_narrow_terminal(columns, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", columns)
    configured = parse({"storage": {"data_dir": str(tmp_path)}}, origin="test")
    ledger = open_settings_ledger(configured)
    with ledger.begin() as c:
        alerts.raise_alert(c, AlertKind.WITHDRAWAL_BY_HAND, "case 1 at [pacs]", "A772: " + "not all that is named " * 4)
    ledger.close()
    show_alerts(configured, include_cleared=False, as_json=False)
    table, _, explained = capsys.readouterr().out.partition("\n\n")
    assert "WITHDRAWAL_BY_HAND " in table
    assert "[pacs]" in table
    assert explained.startswith("WITHDRAWAL_BY_HAND: ")


def test_a_rejected_file_has_a_next_step_that_is_not_refused():
    _, step = MEANINGS[AlertKind.QUARANTINED]
    assert step.endswith("For a rejected one (see the codes) drop a proper file, then `osteon alerts clear ID`.")


@pytest.mark.parametrize("guide", ["operate.md", "install.md", "csv-feed.md"])
def test_the_commands_of_a_guide_run_as_they_are_written(guide):
    found = commands((GUIDES / guide).read_text(encoding="utf-8"))
    assert found
    assert [said for one in found if (said := complaint(one))] == []
