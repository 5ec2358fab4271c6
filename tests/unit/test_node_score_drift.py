"""`osteon drift`: the ledger's results as streams, a declared reference, alarms only where the scores moved."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from support.ledgers import reported, scored, source
from typer.testing import CliRunner

from config.settings import SettingsError, load
from model.bundle import read_manifest
from model.domain import Category, ClinicalInput
from model.evaluation.monitoring import Signal
from model.fusion import shift
from model.screener import DEMO_BUNDLE
from node.cli import app
from node.score_drift_views import _charted, _compared, _worst, show_drift
from node.score_streams import Streams, keep_reference, latest, reference, since
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
        last_case=count,
        p_image=list(1 / (1 + np.exp(-(rng.normal(-1, 1, count) + shift)))),
        age_years=list(rng.normal(68, 9, count)),
        sex=["female", "male"] * (count // 2),
        mode=["image only"] * count,
        category=[str(Category.ABOVE if x < flagged else Category.BELOW) for x in rng.random(count)],
        view=["other"] * count,
        sender=[sender] * count,
    )


def together(*parts):
    """One stream of several, mixed as they would come in."""
    order = np.random.default_rng(9).permutation(sum(len(part.p_image) for part in parts))
    names = [f.name for f in dataclasses.fields(Streams)[2:]]
    joined = {name: [value for part in parts for value in getattr(part, name)] for name in names}
    return dataclasses.replace(parts[0], **{name: [values[i] for i in order] for name, values in joined.items()})


def kept(site, results, *, first=1):
    """Cases of these results in the site's ledger, received in this order."""
    ledger = open_ledger(site.parent / "data" / "ledger.db")
    with ledger.begin() as c:
        for number, result in enumerate(results, first):
            case = cases.receive(c, source(number))
            cases.save(c, dataclasses.replace(reported(case.case_id, number), result=result))
    ledger.close()


def signals(rows):
    return {row["stream"]: row["signal"] for row in rows}


def test_the_same_population_is_quiet_in_every_stream():
    found = signals(_compared(streams(), streams(seed=2)))
    assert set(found.values()) == {Signal.QUIET}
    assert {"image probability", "age", "sex", "mode", "category", "view", "sender", "image probability from A"} <= set(
        found
    )


def test_senders_that_differ_from_each_other_are_compared_with_themselves():
    ward, rounds = streams(500, seed=3, shift=0.9, sender="WARD"), streams(500, seed=4, shift=-0.9, sender="ROUNDS")
    known = together(ward, rounds)
    assert _worst(_compared(known, known)) == Signal.QUIET
    fresh = together(*(streams(500, seed=s, shift=d, sender=n) for s, d, n in ((5, 0.9, "WARD"), (6, -0.9, "ROUNDS"))))
    assert _worst(_compared(known, fresh)) == Signal.QUIET


def test_one_re_processed_unit_does_not_hide_in_the_pool():
    known = together(streams(1600, seed=3), streams(250, seed=4, sender="B"))
    now = together(streams(1600, seed=5), streams(250, seed=6, shift=1.2, sender="B"))
    found = signals(_compared(known, now))
    assert [name for name, signal in found.items() if signal == Signal.ALARM] == ["image probability from B"]


def test_a_sender_without_a_part_of_the_reference_is_silent_and_new_among_the_senders():
    now = together(streams(800, seed=3), streams(250, seed=4, shift=1.2, sender="B"))
    rows = _compared(streams(1000), now)
    own = next(row for row in rows if row["stream"] == "image probability from B")
    assert (own["signal"], own["psi"]) == (Signal.SILENT, None)
    assert own["why"] == "no own reference: 0 of its results are in it, 200 are needed"
    assert signals(rows)["sender"] == Signal.ALARM


@pytest.mark.parametrize(("known", "now"), [(200, 200), (200, 1000), (1000, 1000)])
def test_chance_alone_seldom_alarms_whatever_the_sizes(known, now):
    runs = [_compared(streams(known, seed=2 * i), streams(now, seed=2 * i + 1)) for i in range(50)]
    assert sum(_worst(rows) == Signal.ALARM for rows in runs) <= 3
    assert sum(_worst(rows) == Signal.WATCH for rows in runs) <= 10


def test_the_share_is_charted_over_the_newest_blocks_only():
    oldest, newest = streams(1000, seed=6, flagged=0.6), streams(1000, seed=5)
    row = _charted(streams(1000), dataclasses.replace(newest, category=oldest.category + newest.category))
    assert (row["n"], row["signal"]) == (1000, Signal.QUIET)


def test_more_flagged_patients_alarm_on_the_control_charts():
    found = signals(_compared(streams(1000), streams(seed=5, flagged=0.45)))
    assert found["flagged share, blocks of 50"] == Signal.ALARM


def test_small_windows_are_silent():
    assert set(signals(_compared(streams(), streams(100, seed=2))).values()) == {Signal.SILENT}


def test_results_come_from_the_ledger_oldest_first_and_of_one_bundle(site):
    other = dataclasses.replace(scored().model, bundle_id="old")
    age = ClinicalInput(variable="age", value=71.0, unit="a")
    kept(site, (scored(model=other), scored(p_image=0.4, inputs=(age,)), scored(p_image=0.6, category=Category.BELOW)))
    found = latest(load(site), 10)
    assert (found.bundle_id, found.p_image, found.age_years) == ("b1", [0.4, 0.6], [71.0])
    assert found.last_case == 3
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
    kept(site, [scored(p_image=0.9 + number / 4000) for number in range(210)])
    keep_reference(settings, dataclasses.replace(streams(), last_case=0), by="N. N.")
    assert show_drift(settings, window=1000, as_json=False) == 1
    said = capsys.readouterr().out
    assert "signal=ALARM" in said
    assert "No truth is looked at here" in said
    assert "of an older version" in said


def test_results_of_the_reference_are_not_among_those_compared_with_it(site):
    settings = load(site)
    kept(site, [scored(p_image=0.1 + number / 4000) for number in range(300)])
    keep_reference(settings, latest(settings, 1000), by="N. N.")
    assert since(settings, reference(settings, "b1"), 1000).p_image == []
    assert show_drift(settings, window=1000, as_json=True) == 0
    kept(site, [scored(p_image=0.9)] * 210, first=301)
    assert since(settings, reference(settings, "b1"), 1000).p_image == [0.9] * 210
    assert show_drift(settings, window=1000, as_json=True) == 1


def demo_results(p_image, *, prevalence):
    """Results of the demonstration bundle as they are reported at this prevalence."""
    manifest = read_manifest(DEMO_BUNDLE)
    facts = dataclasses.replace(scored().model, bundle_id=manifest.bundle_id)
    if prevalence is not None:
        p_image = [round(shift(p, fitted=manifest.calibration.prevalence, site=prevalence), 12) for p in p_image]
    return [scored(p_image=float(p), prevalence=prevalence, model=facts) for p in p_image]


def test_another_site_prevalence_is_no_drift(site):
    settings = load(site)
    before, after, last = (streams(300, seed=seed).p_image for seed in (1, 2, 3))
    kept(site, demo_results(before, prevalence=None))
    keep_reference(settings, latest(settings, 1000), by="N. N.")
    kept(site, demo_results(after, prevalence=0.05) + demo_results(last, prevalence=0.4), first=301)
    known = reference(settings, latest(settings, 1).bundle_id)
    assert since(settings, known, 1000).p_image == pytest.approx(after + last, abs=1e-9)
    assert show_drift(settings, window=1000, as_json=True) == 0


def test_a_reference_of_before_is_read_on_the_bundles_own_scale(site):
    settings = load(site)
    p_image = streams(300).p_image
    bundle_id = demo_results(p_image, prevalence=None)[0].model.bundle_id
    file = keep_reference(settings, dataclasses.replace(streams(300), bundle_id=bundle_id), by="N. N.")
    older = dataclasses.asdict(file)
    older["streams"]["p_image"] = [r.p_image for r in demo_results(p_image, prevalence=0.05)]
    older["streams"]["prevalence"] = 0.05
    del older["streams"]["last_case"]
    (settings.storage.data_dir / "drift" / f"{bundle_id}.json").write_text(json.dumps(older))
    found = reference(settings, bundle_id).streams
    assert found.last_case == 0
    assert found.p_image == pytest.approx(p_image, abs=1e-9)


def test_without_the_bundle_a_shifted_probability_cannot_be_read(site):
    kept(site, [scored(prevalence=0.05)])
    with pytest.raises(SettingsError, match="no folder of bundle b1 is left"):
        latest(load(site), 10)
