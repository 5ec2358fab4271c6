"""`osteon inbox`: what came, what waits, who sends; and taking a message again."""

import json

import pytest
from support.hl7 import message, pid
from support.inbox import ward
from typer.testing import CliRunner

from node import cli
from node.feeds.outcome import Outcome
from node.store.engine import open_ledger
from node.store.errors import NoSuchCase

NOBODY = message("ADT^A08", "PID|1||7654321||MÜLLER^ANNA", control="n")


@pytest.fixture
def run(tmp_path):
    """The command on a node that took one good, one refused and one quarantined message."""
    folder = tmp_path / "node"
    ledger = open_ledger(folder / "ledger.db")
    with ward(ledger) as here:
        here.take(message("ADT^A04", pid(), control="1"), b"hello", NOBODY)
        here.book.count("10.9.9.9", Outcome.ADDRESS)
        here.book.count("10.9.9.8", f"{Outcome.REFUSED}-103")
        here.book.flush()
    ledger.close()
    configuration = tmp_path / "osteon.toml"

    def command(*arguments, settings=""):
        configuration.write_text(f'[storage]\ndata_dir = "{folder}"\n{settings}')
        return CliRunner().invoke(cli.app, ["inbox", *arguments, "--config", str(configuration)])

    return command


def test_the_list_shows_what_became_of_each_message_and_names_no_patient(run):
    shown = json.loads(run("--json").stdout)
    assert [(one["number"], one["state"], one["answer"], one["reason"]) for one in shown] == [
        (3, "quarantined", "AA", "NO_ID"),
        (2, "refused", "AR", "HL7-207 MSH-1"),
        (1, "done", "AA", ""),
    ]
    text = run().stdout
    assert "1 quarantined, 0 not worked off yet" in text
    for secret in ("100001", "7654321", "MÜLLER"):
        assert secret not in text + json.dumps(shown, ensure_ascii=False)


def test_quarantined_lists_only_what_waits(run):
    assert [one["number"] for one in json.loads(run("--quarantined", "--json").stdout)] == [3]


def test_feeds_shows_who_sent_who_was_refused_and_what_mends_it(run):
    shown = {(one["peer"], one["outcome"]): one for one in json.loads(run("--feeds", "--json").stdout)}
    assert shown["127.0.0.1", "stored"]["count"] == 2
    assert not shown["127.0.0.1", "stored"]["trouble"]
    assert shown["127.0.0.1", "refused-207"]["trouble"]
    assert "BHS" in shown["127.0.0.1", "refused-207"]["remedy"], "batches are the likeliest"
    for mends in ("HL7 table 0211", "clinical.mllp.pinned_charset"):
        assert mends in shown["10.9.9.8", "refused-103"]["remedy"]
    assert "clinical.mllp.networks" in shown["10.9.9.9", "address-not-allowed"]["remedy"]
    assert "clinical.mllp.networks" in run("--feeds").stdout


def test_show_gives_the_message_itself_only_where_it_is_asked_for(run):
    facts = json.loads(run("show", "3", "--json").stdout)
    assert (facts["control_id"], facts["reason"], facts["bytes"]) == ("n", "NO_ID", len(NOBODY))
    assert "MÜLLER" not in run("show", "3").stdout
    assert "PID|1||7654321||MÜLLER^ANNA" in run("show", "3", "--body").stdout.splitlines()
    assert run("show", "2", "--body").stdout.endswith("hello\n")
    assert isinstance(run("show", "99").exception, NoSuchCase)


def test_replay_takes_it_by_the_settings_of_now(run):
    first = run("replay", "3")
    assert (first.exit_code, first.stdout) == (1, "3: still waits: NO_ID\n")
    mended = '[clinical.mllp]\ndefault_issuer = "HOSP"\n'
    assert run("replay", "--all-quarantined", settings=mended).stdout == "3: taken\n"
    assert run("replay", "--all-quarantined", settings=mended).stdout == "no message waits\n"
    assert json.loads(run("--quarantined", "--json").stdout) == []
    assert run("replay").exit_code == 2


def test_dismiss_takes_it_off_the_list(run):
    assert run("dismiss", "3").stdout == "3: dismissed\n"
    assert isinstance(run("dismiss", "3").exception, NoSuchCase)
