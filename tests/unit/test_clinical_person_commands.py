"""`osteon person`: merges and deletions, listed and taken back."""

import json

import pytest
from support.clinical import KNOWN, key_of, merge, own_key, person_fact
from support.hl7 import RULES, identity, message, pid, weight, when
from typer.testing import CliRunner

from config.clinical import Clinical
from node.cli import app
from node.facts import TombstoneFact
from node.feeds.er7 import REPETITIONS_NOT_READ
from node.feeds.hl7_encoding import ESCAPE_NOT_READ
from node.feeds.hl7_messages import UNUSED_TYPE
from node.feeds.observations import Remark
from node.intake import process_frames
from node.remark_views import MEANINGS
from node.store import clinical
from node.store import clinical_persons as persons
from node.store.alerts import find as alerts
from node.store.engine import open_ledger
from node.store.errors import NoSuchCase
from node.store.inbox import StoredFrame


@pytest.fixture
def site(tmp_path):
    """A configuration and its ledger with two merged patients and one deleted."""
    config = tmp_path / "osteon.toml"
    config.write_text(f'[storage]\ndata_dir = "{tmp_path / "data"}"\n')
    ledger = open_ledger(tmp_path / "data" / "ledger.db")
    with ledger.begin() as c:
        clinical.apply(c, [person_fact(), person_fact(identity("200002")), weight()], when(1))
        clinical.apply(c, [merge("200002", "100001")], when(2), seq=7)
        clinical.apply(c, [TombstoneFact(patient=identity("300003").identifiers[0])], when(3))
    yield config, ledger
    ledger.close()


def osteon(config, *arguments):
    return CliRunner().invoke(app, ["person", *arguments, "--config", str(config)], catch_exceptions=False)


def test_merges_are_listed_by_number_and_with_identifiers_only_when_asked(site):
    config, _ = site
    plain = osteon(config, "merges").stdout
    assert "merge" in plain
    assert "100001" not in plain
    (row,) = json.loads(osteon(config, "merges", "--json", "--identifiers").stdout)
    assert (row["kind"], row["seq"], row["undone_at"]) == ("merge", 7, "")
    assert row["prior_identifiers"] == [f"{KNOWN.value} (HOSP)"]


def test_unmerge_parts_the_patients_and_raises_an_alert(site):
    config, ledger = site
    done = osteon(config, "unmerge", "1")
    assert (done.exit_code, "taken back" in done.stdout) == (0, True)
    with ledger.read() as c:
        assert key_of(c) == own_key(c)
        assert [a.kind for a in alerts(c)] == ["MERGE_UNDONE"]
    assert "no merges" in osteon(config, "merges").stdout
    (row,) = json.loads(osteon(config, "merges", "--all", "--json").stdout)
    assert row["undone_at"]
    with pytest.raises(NoSuchCase, match="no standing merge 1"):
        osteon(config, "unmerge", "1")


def test_a_deleted_patient_is_listed_and_restored(site):
    config, ledger = site
    (row,) = json.loads(osteon(config, "deleted", "--json", "--identifiers").stdout)
    assert row["identifiers"] == ["300003 (HOSP)"]
    assert osteon(config, "restore", str(row["person"])).exit_code == 0
    with ledger.read() as c:
        assert not persons.blocked(c, row["person"])
    assert "nobody was deleted" in osteon(config, "deleted").stdout
    with pytest.raises(NoSuchCase, match="was deleted"):
        osteon(config, "restore", str(row["person"]))


def test_what_the_feed_does_not_use_is_counted_and_shown_with_its_meaning(site):
    config, ledger = site
    frames = [
        StoredFrame(seq=n, received_at=when(n), body=message(kind, pid(), control=str(n)))
        for n, kind in enumerate(("SIU^S12", "MDM^T02", "ADT^A24"), 1)
    ]
    with ledger.begin() as c:
        process_frames(c, frames, RULES, settings=Clinical())
        process_frames(c, frames[:1], RULES, settings=Clinical())
    shown = CliRunner().invoke(app, ["inbox", "--remarks", "--json", "--config", str(config)], catch_exceptions=False)
    assert {r["code"]: r["count"] for r in json.loads(shown.stdout)} == {"UNUSED_TYPE": 3, "LINK": 1}
    text = CliRunner().invoke(app, ["inbox", "--remarks", "--config", str(config)], catch_exceptions=False).stdout
    assert "UNUSED_TYPE" in text


def test_every_remark_has_a_meaning():
    assert {ESCAPE_NOT_READ, REPETITIONS_NOT_READ, UNUSED_TYPE, *map(str, Remark)} <= MEANINGS.keys()
