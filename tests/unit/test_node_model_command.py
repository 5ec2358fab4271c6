"""`osteon model`: bundles listed, verified, activated; what does not verify never serves."""

from __future__ import annotations

import json
import threading

import pytest
from support.tiny_bundle import copy_tiny_bundle
from typer.testing import CliRunner

from config.settings import SettingsError, load
from model.bundle import BundleError
from model.screener import DEMO_BUNDLE
from node import active_model
from node.active_model import activation, active_bundle, known_bundles, wait_for_change
from node.cli import app


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


def test_an_idle_worker_hears_of_another_activation(site, monkeypatch):
    settings = load(site)
    monkeypatch.setattr(active_model, "LOOK_SECONDS", 0.01)
    osteon("model", "activate", "first", "--by", "x", "-c", str(site))
    assert wait_for_change(threading.Event(), settings, None) is True


def test_other_files_beside_the_bundles_are_no_bundles(site):
    (site.parent / "data" / "bundles" / "notes.txt").write_text("x")
    (site.parent / "data" / "bundles" / ".part").mkdir()
    assert set(known_bundles(load(site))) == {"demo", "first"}
