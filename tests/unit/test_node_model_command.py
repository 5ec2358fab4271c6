"""`osteon model`: bundles listed, verified, activated; what does not verify never serves."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from support.tiny_bundle import copy_tiny_bundle
from typer.testing import CliRunner

from config.settings import SettingsError, load
from model.bundle import BundleError
from model.screener import DEMO_BUNDLE
from node import active_model
from node.active_model import activation, active_bundle, known_bundles, wait_for_change
from node.cli import app
from node.doctor import Mark, examine
from node.places import look_into_ledger, open_settings_inbox, open_settings_ledger
from node.store.installation import installation_identity, noted_activation
from node.store.migrate import LEDGER, upgrade


@pytest.fixture
def site(tmp_path):
    """A configuration whose data directory holds one bundle, `first`."""
    config = tmp_path / "osteon.toml"
    config.write_text(f'[storage]\ndata_dir = "{tmp_path}/data"\n', encoding="utf-8")
    copy_tiny_bundle(tmp_path / "data" / "bundles" / "first")
    return config


def osteon(*arguments):
    done = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def bundle_file(site, name):
    return site.parent / "data" / "bundles" / "first" / name


def test_the_shipped_bundle_has_one_place():
    assert active_model._DEMO_FOLDER == DEMO_BUNDLE


def test_before_anybody_activates_the_demonstration_bundle_serves(site):
    assert active_bundle(load(site)) is None
    rows = {row["name"]: row for row in json.loads(osteon("model", "list", "--json", "-c", str(site)))["bundles"]}
    assert set(rows) == {"demo", "first"}
    assert (rows["demo"]["serves"], rows["first"]["serves"]) == (True, False)
    assert rows["first"]["verdict"] == "none"


def test_activate_verifies_writes_durably_and_stands_in_the_audit_trail(site):
    said = osteon("model", "activate", "first", "--by", "Dr. Example", "-c", str(site))
    assert "SIMULATED" in said
    settings = load(site)
    assert active_bundle(settings) == settings.storage.data_dir / "bundles" / "first"
    assert activation(settings).by == "Dr. Example"
    trail = "".join(p.read_text() for p in (settings.storage.data_dir / "audit").glob("*.jsonl"))
    entry = json.loads(trail.splitlines()[-1])
    assert (entry["event"], entry["name"], entry["by"]) == ("model.activated", "first", "Dr. Example")
    assert entry["manifest_sha256"] == activation(settings).manifest_sha256
    second = copy_tiny_bundle(settings.storage.data_dir / "bundles" / "second")
    osteon("model", "activate", "second", "--by", "Dr. Example", "-c", str(site))
    assert active_bundle(settings) == second


def test_a_bundle_of_simulated_training_is_no_product(site):
    with site.open("a") as file:
        file.write('[report]\ncontent_qualification = "PRODUCT"\nproduct_reason = "CE 0123"\n')
    with pytest.raises(SettingsError, match="was trained on simulated images; write"):
        CliRunner().invoke(app, ["model", "activate", "first", "--by", "x", "-c", str(site)], catch_exceptions=False)
    assert activation(load(site)) is None
    finding = next(one for one in examine(load(site)) if one.what.startswith("model bundle:"))
    assert finding.mark is Mark.FAIL
    assert 'report.content_qualification is "PRODUCT"' in finding.what


def test_the_list_keeps_names_whole_at_a_narrow_terminal(site, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    rows = json.loads(osteon("model", "list", "--json", "-c", str(site)))["bundles"]
    shown = osteon("model", "list", "-c", str(site))
    assert all(row["bundle"] in shown for row in rows)


def test_the_demonstration_bundle_can_be_activated_again(site):
    settings = load(site)
    digest = active_model.manifest_digest(DEMO_BUNDLE)
    active_model.activate(settings, "demo", by="x", bundle_id="osteon-demo", digest=digest)
    assert active_bundle(settings) == DEMO_BUNDLE


def test_verify_says_what_was_looked_at(site):
    assert "golden cases are as the manifest says" in osteon("model", "verify", "first", "-c", str(site))


@pytest.mark.parametrize("name", ["image.safetensors", "fusion.json", "MODEL_CARD.md"])
def test_a_bundle_that_does_not_verify_is_refused_and_what_served_goes_on(site, name):
    file = bundle_file(site, name)
    file.write_bytes(file.read_bytes()[:-1] + b"!")
    for command in (("verify", "first"), ("activate", "first", "--by", "x")):
        with pytest.raises(BundleError, match=name):
            CliRunner().invoke(app, ["model", *command, "-c", str(site)], catch_exceptions=False)
    assert active_bundle(load(site)) is None


def test_a_bundle_exchanged_after_its_activation_does_not_serve_unseen(site):
    osteon("model", "activate", "first", "--by", "x", "-c", str(site))
    manifest = bundle_file(site, "manifest.json")
    manifest.write_text(manifest.read_text().replace('"name": "', '"name": "Other ', 1))
    with pytest.raises(SettingsError, match="is not the bundle that was activated"):
        active_bundle(load(site))
    manifest.unlink()
    with pytest.raises(SettingsError, match="is not the bundle"):
        active_bundle(load(site))


def test_a_bundle_named_by_the_configuration_cannot_be_overruled(site, tmp_path):
    with site.open("a") as file:
        file.write(f'[model]\nbundle = "{tmp_path}/data/bundles/first"\n')
    assert active_bundle(load(site)) == tmp_path / "data" / "bundles" / "first"
    with pytest.raises(SettingsError, match=r"model\.bundle"):
        CliRunner().invoke(app, ["model", "activate", "demo", "--by", "x", "-c", str(site)], catch_exceptions=False)


@pytest.mark.parametrize("name", ["../evil", "", "A b", "x/y"])
def test_a_name_that_is_no_folder_name_is_refused(site, name):
    with pytest.raises(SettingsError, match="no name of a bundle"):
        active_model.bundle_folder(load(site), name)


def test_a_damaged_record_stops_the_next_start_not_the_running_worker(site, monkeypatch):
    settings = load(site)
    osteon("model", "activate", "first", "--by", "x", "-c", str(site))
    serving = activation(settings)
    (settings.storage.data_dir / "bundles" / "active.json").write_text("{")
    with pytest.raises(SettingsError, match="activate a bundle again"):
        active_bundle(settings)
    monkeypatch.setattr(active_model, "LOOK_SECONDS", 0.01)
    stop = threading.Event()
    threading.Timer(0.1, stop.set).start()
    assert wait_for_change(stop, settings, serving) is False


def restored(site, tmp_path, *, without=()):
    """The site's settings with its data directory copied elsewhere, as after a restore."""
    there = tmp_path / "restored"
    shutil.copytree(tmp_path / "data", there, ignore=shutil.ignore_patterns(*without))
    config = tmp_path / "restored.toml"
    config.write_text(site.read_text().replace(f"{tmp_path}/data", str(there)))
    return load(config)


def test_a_restore_with_the_bundles_serves_what_served(site, tmp_path):
    osteon("model", "activate", "first", "--by", "x", "-c", str(site))
    there = restored(site, tmp_path)
    assert active_bundle(there) == there.storage.data_dir / "bundles" / "first"


def noted(settings):
    """What the ledger knows of the activation."""
    ledger = look_into_ledger(settings)
    with ledger.read() as c:
        found = json.loads(noted_activation(c))
    ledger.close()
    return found


def documented(heading, tmp_path):
    """The commands of a chapter of operate.md, by block, for folders of this test and the account that runs it."""
    text = (Path(__file__).parents[2] / "deploy" / "docs" / "operate.md").read_text(encoding="utf-8")
    chapter = text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    for theirs, ours in (
        ("/opt/osteon/.venv/bin/python", f"{sys.executable} -P"),
        ("/var/lib/osteon", f"{tmp_path}/data"),
        ("/backup", f"{tmp_path}/backup"),
        ("osteon:", f"{os.getuid()}:{os.getgid()}"),
    ):
        chapter = chapter.replace(theirs, ours)
    return re.findall(r"```sh\n(.*?)```", chapter, re.DOTALL)


def test_the_documented_backup_and_restore_keep_the_model_that_serves(site, tmp_path):
    osteon("model", "activate", "first", "--by", "x", "-c", str(site))
    settings = load(site)
    open_settings_inbox(settings).close()
    (tmp_path / "backup").mkdir()
    backup, restore = documented("Backup and restore", tmp_path)
    subprocess.run(["sh", "-euc", backup], check=True)
    before = activation(settings)
    subprocess.run(["sh", "-euc", restore], check=True)
    assert (activation(settings), active_bundle(settings)) == (before, tmp_path / "data" / "bundles" / "first")
    assert noted(settings)["name"] == "first"
    shutil.rmtree(tmp_path / "data" / "bundles")  # as a backup by the older instructions had it
    with pytest.raises(SettingsError, match="is not there, and first was activated"):
        active_bundle(settings)


@pytest.mark.parametrize("without", ["bundles", "active.json", "first"])
def test_a_restore_without_the_bundles_serves_nothing(site, tmp_path, without):
    osteon("model", "activate", "first", "--by", "x", "-c", str(site))
    there = restored(site, tmp_path, without=[without])
    with pytest.raises(SettingsError, match=r"is not there.*bring bundles/ back from the backup"):
        active_bundle(there)
    assert next(one for one in examine(there) if "is not there" in one.what).mark is Mark.FAIL
    copy_tiny_bundle(there.storage.data_dir / "bundles" / "first")
    osteon("model", "activate", "first", "--by", "x", "-c", str(tmp_path / "restored.toml"))
    assert active_bundle(there) == there.storage.data_dir / "bundles" / "first"


def test_a_record_that_is_deleted_does_not_bring_the_demonstration_bundle_back(site, monkeypatch):
    """The worker that serves hears of another activation and begins anew; the new one serves nothing."""
    settings = load(site)
    osteon("model", "activate", "first", "--by", "x", "-c", str(site))
    serving = activation(settings)
    (settings.storage.data_dir / "bundles" / "active.json").unlink()
    monkeypatch.setattr(active_model, "LOOK_SECONDS", 0.01)
    assert wait_for_change(threading.Event(), settings, serving) is True
    with pytest.raises(SettingsError, match="first was activated"):
        active_bundle(settings)


def test_the_demonstration_bundle_needs_no_record_although_it_was_activated(site):
    settings = load(site)
    digest = active_model.manifest_digest(DEMO_BUNDLE)
    active_model.activate(settings, "demo", by="x", bundle_id="osteon-demo", digest=digest)
    (settings.storage.data_dir / "bundles" / "active.json").unlink()
    assert active_bundle(settings) is None


def test_an_activation_older_than_the_ledgers_note_of_it_is_noted_by_the_next_worker(site):
    settings = load(site)
    older = look_into_ledger(settings)
    with older.begin() as c:
        upgrade(c, LEDGER, "0012")
        assert noted_activation(c) == ""
    older.close()
    assert active_bundle(settings) is None
    ledger = open_settings_ledger(settings)
    serving = active_model.Activation(name="first", manifest_sha256="0", by="x", at="2026-01-01T00:00:00+00:00")
    with ledger.begin() as c:
        installation_identity(c)
        active_model.note(c, None)
        assert noted_activation(c) == ""
        active_model.note(c, serving)
        active_model.note(c, None)
        assert json.loads(noted_activation(c))["name"] == "first"
    ledger.close()
    with pytest.raises(SettingsError, match="first was activated"):
        active_bundle(settings)


def test_an_idle_worker_hears_of_another_activation(site, monkeypatch):
    settings = load(site)
    monkeypatch.setattr(active_model, "LOOK_SECONDS", 0.01)
    osteon("model", "activate", "first", "--by", "x", "-c", str(site))
    assert wait_for_change(threading.Event(), settings, None) is True


def test_other_files_beside_the_bundles_are_no_bundles(site):
    (site.parent / "data" / "bundles" / "notes.txt").write_text("x")
    (site.parent / "data" / "bundles" / ".part").mkdir()
    assert set(known_bundles(load(site))) == {"demo", "first"}
