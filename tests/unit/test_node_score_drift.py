"""`osteon drift`: the ledger's results as streams, a declared reference, alarms only where the scores moved."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from support.ledgers import reported, scored, source
from typer.testing import CliRunner

from config.settings import SettingsError, load
from model.domain import Category, ClinicalInput
from model.evaluation.monitoring import Signal
from node.cli import app
from node.score_drift_views import _compared, show_drift
from node.score_streams import Streams, keep_reference, latest, reference
from node.store import cases
from node.store.engine import open_ledger


@pytest.fixture
def site(tmp_path):
    config = tmp_path / "osteon.toml"
    config.write_text(f'[storage]\ndata_dir = "{tmp_path}/data"\n', encoding="utf-8")
    return config


def streams(count=400, *, seed=1, shift=0.0, flagged=0.2, sender="A"):
    rng = np.random.default_rng(seed)
    return Streams(
        bundle_id="b1",
        prevalence=None,
        p_image=list(1 / (1 + np.exp(-(rng.normal(-1, 1, count) + shift)))),
        age_years=list(rng.normal(68, 9, count)),
        sex=["female", "male"] * (count // 2),
        mode=["image only"] * count,
        category=[str(Category.ABOVE if x < flagged else Category.BELOW) for x in rng.random(count)],
        view=["other"] * count,
        sender=[sender] * count,
    )


def signals(rows):
    return {row["stream"]: row["signal"] for row in rows}


def test_the_same_population_is_quiet_in_every_stream():
    found = signals(_compared(streams(), streams(seed=2)))
    assert set(found.values()) == {Signal.QUIET}
    assert {"image probability", "age", "sex", "mode", "category", "view", "sender", "image probability from A"} <= set(
        found
    )


def test_one_re_processed_unit_does_not_hide_in_the_pool():
    good, odd = streams(1600, seed=3), streams(250, seed=4, shift=1.2, sender="B")
    both = {f.name: getattr(good, f.name) + getattr(odd, f.name) for f in dataclasses.fields(good)[2:]}
    found = signals(_compared(streams(1000), dataclasses.replace(good, **both)))
    assert found["image probability from A"] == Signal.QUIET
    assert found["image probability from B"] == Signal.ALARM


def test_more_flagged_patients_alarm_on_the_control_charts():
    found = signals(_compared(streams(1000), streams(seed=5, flagged=0.45)))
    assert found["flagged share, blocks of 50"] == Signal.ALARM


def test_small_windows_are_silent():
    assert set(signals(_compared(streams(), streams(100, seed=2))).values()) == {Signal.SILENT}


def test_results_come_from_the_ledger_oldest_first_and_of_one_bundle(site):
    ledger = open_ledger(site.parent / "data" / "ledger.db")
    other = dataclasses.replace(scored().model, bundle_id="old")
    age = ClinicalInput(variable="age", value=71.0, unit="a")
    for number, result in enumerate(
        (scored(model=other), scored(p_image=0.4, inputs=(age,)), scored(p_image=0.6, category=Category.BELOW)), 1
    ):
        with ledger.begin() as c:
            case = cases.receive(c, source(number))
            cases.save(c, dataclasses.replace(reported(case.case_id, number), result=result))
    ledger.close()
    found = latest(load(site), 10)
    assert (found.bundle_id, found.p_image, found.age_years) == ("b1", [0.4, 0.6], [71.0])
    assert (found.category, found.sender, found.sex) == (["ABOVE", "BELOW"], ["MODALITY1"] * 2, ["unknown"] * 2)
    said = CliRunner().invoke(
        app, ["drift", "--set-reference", "--by", "N. N.", "-c", str(site)], catch_exceptions=False
    )
    assert "2 results, declared by N. N." in said.output
    shown = CliRunner().invoke(app, ["drift", "--json", "-c", str(site)], catch_exceptions=False)
    assert shown.exit_code == 0
    assert json.loads(shown.output)["signal"] == Signal.SILENT


def test_without_results_or_reference_the_one_line_says_what_to_do(site):
    open_ledger(site.parent / "data" / "ledger.db").close()
    with pytest.raises(SettingsError, match="nothing to watch"):
        latest(load(site), 10)
    with pytest.raises(SettingsError, match="--set-reference"):
        reference(load(site), "b1")


def test_a_reference_is_kept_with_its_name_and_holds_no_ids(site):
    settings = load(site)
    keep_reference(settings, streams(), by="N. N.")
    found = reference(settings, "b1")
    assert (found.by, found.streams) == ("N. N.", streams())
    file = settings.storage.data_dir / "drift" / "b1.json"
    assert file.stat().st_mode & 0o077 == 0
    assert "1.2.3" not in file.read_text()


def test_an_alarm_is_the_exit_status(site, capsys):
    settings = load(site)
    ledger = open_ledger(settings.storage.data_dir / "ledger.db")
    with ledger.begin() as c:
        for number in range(1, 211):
            case = cases.receive(c, source(number))
            result = scored(p_image=0.9 + number / 4000)
            cases.save(c, dataclasses.replace(reported(case.case_id, number), result=result))
    ledger.close()
    keep_reference(settings, streams(), by="N. N.")
    assert show_drift(settings, window=1000, as_json=False) == 1
    said = capsys.readouterr().out
    assert "signal=ALARM" in said
    assert "No truth is looked at here" in said
