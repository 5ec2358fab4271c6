"""An engine that proves itself beside the work: taken over when admitted, an alert when refused, and nobody waits."""

import threading

import pytest
from support.hospital import await_true

from config.settings import parse
from model import openvino_silent
from model.engines import Engines, ProbeFailed
from model.screener import DEMO_BUNDLE
from node import active_model
from node.active_model import wait_for_change
from node.engine_proof import EngineProof
from node.store import alerts

pytestmark = pytest.mark.skipif(not openvino_silent.installed(), reason="the `fast` extra is not installed")


def open_alerts(ledger):
    with ledger.read() as c:
        return [(alert.kind, alert.detail) for alert in alerts.find(c)]


def test_an_engine_that_proves_itself_ends_the_worker_that_has_another(ledger, tmp_path, monkeypatch):
    monkeypatch.setattr(active_model, "LOOK_SECONDS", 0.01)
    held = threading.Event()

    def probe(stage, bundle, folder):
        assert held.wait(30)
        return "1e-07"

    engines = Engines(runtime="openvino", cache=tmp_path / "engines", probe=probe, wait=False)
    proof = EngineProof(engines, DEMO_BUNDLE, ledger)
    assert not proof.admitted()
    held.set()
    settings = parse({"storage": {"data_dir": str(tmp_path / "data")}}, origin="test")
    assert wait_for_change(threading.Event(), settings, None, also=proof.admitted)
    assert open_alerts(ledger) == []


def test_an_engine_that_is_refused_raises_the_alert_and_torch_goes_on(ledger, tmp_path):
    def probe(stage, bundle, folder):
        msg = "it ended with status -11"
        raise ProbeFailed(msg)

    engines = Engines(runtime="openvino", cache=tmp_path / "engines", probe=probe, wait=False)
    proof = EngineProof(engines, DEMO_BUNDLE, ledger)
    await_true(lambda: proof.admitted() or open_alerts(ledger), "the proof ended", limit=30)
    assert not proof.admitted()
    ((kind, detail),) = open_alerts(ledger)
    assert kind == "ENGINE_REFUSED"
    assert "status -11" in detail
