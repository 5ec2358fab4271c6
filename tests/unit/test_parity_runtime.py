"""Each engine within its limit of torch, first in a child process; one that crashes, hangs or differs never serves."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support.model_parts import FUSION
from support.tiny_bundle import copy_tiny_bundle

from model import openvino_silent
from model.bundle import BundleError, golden_check, load_bundle
from model.engine_probe import differences
from model.engines import LOAD, PARITY_BFLOAT16, Engines, ProbeFailed, best_precision, in_child, prove
from model.parity import Comparison, verdict_on_decoding, verdict_on_engine
from model.preprocess import prepare
from model.proofs import Proofs, Verdict, digest_of
from model.runtime import Engine
from model.runtime_openvino import engine_name

pytestmark = pytest.mark.skipif(not openvino_silent.installed(), reason="the `fast` extra is not installed")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("engines")
    return copy_tiny_bundle(folder / "bundle"), folder / "cache"


@pytest.fixture(scope="module")
def opened(place):
    """Proven as a worker has it done: torch serves until then."""
    bundle, cache = place
    engines = Engines(runtime="openvino", cache=cache, wait=False)
    before = engines.open(bundle)
    assert (before.bundle.runtime.facts().engine, before.refused, before.unproven) == ("torch", "", True)
    assert engines.admit(bundle) == ""
    return engines.open(bundle)


def test_runtime_parity_openvino_equals_torch_to_1e_4(place, opened):
    assert (opened.refused, opened.unproven) == ("", False)
    assert opened.bundle.runtime.facts().engine == "openvino"
    reference = load_bundle(place[0])
    for picture in reference.golden:
        shown = _shown(picture, reference.side)
        theirs, ours = reference.runtime.infer(shown), opened.bundle.runtime.infer(shown)
        assert ours.logit == pytest.approx(theirs.logit, abs=1e-4)
        assert ours.ordinal == pytest.approx(theirs.ordinal, abs=1e-4)
        assert np.allclose(ours.attention, theirs.attention, atol=1e-4)
        assert ours.region == theirs.region


def _shown(picture, side):
    return prepare(picture.pixels, side)


def test_runtime_parity_of_the_gate_too(place, opened):
    engine = Engine(runtime=opened.bundle.runtime, features=opened.bundle.gate_features)
    probability, ratio = differences(load_bundle(place[0]), engine)
    assert probability < 1e-4
    assert ratio < 1e-4


def test_the_same_bits_twice_by_one_thread(opened):
    shown = _shown(opened.bundle.golden[0], opened.bundle.side)
    assert opened.bundle.runtime.infer(shown) == opened.bundle.runtime.infer(shown)
    assert opened.bundle.runtime.facts().threads == 1


def test_a_worker_with_openvino_loads_no_torch_no_telemetry_and_opens_no_socket(place, opened):
    code = """
import sys
calls = []
sys.modules["requests"] = None  # comes with a server of the tests; pydicom takes it where it is, and it binds a socket
sys.addaudithook(lambda name, _: calls.append(name) if name.startswith("socket.") else None)
from pathlib import Path
import node.worker
from model.engines import Engines
from model.screener import load_screener
screener = load_screener(Path(sys.argv[1]), engines=Engines(runtime="openvino", cache=Path(sys.argv[2])))
assert screener.refused == "", screener.refused
heavy = [name for name in ("torch", "torchvision", "openvino_telemetry") if sys.modules.get(name)]
print(screener.bundle.runtime.facts(), heavy, [c for c in calls if c != "socket.__new__"])
"""
    command = [sys.executable, "-c", code, str(place[0]), str(place[1])]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=250)
    assert "float32 cpu [] []" in done.stdout


@pytest.mark.parametrize(
    ("said", "expected"),
    [("ended with status -11", "status -11"), ("took longer than 300 s", "longer"), ("probabilities differ", "differ")],
)
def test_an_engine_that_fails_in_the_child_means_torch_and_a_line_that_says_why(tmp_path, place, said, expected):
    def probe(stage, bundle, folder):
        raise ProbeFailed(said)

    found = Engines(runtime="auto", cache=tmp_path / "cache", probe=probe).open(place[0])
    assert found.bundle.runtime.facts().engine == "torch"
    assert expected in found.refused


def test_a_refusal_holds_for_a_while_so_that_restarts_do_not_wait_again(tmp_path, place):
    calls = []

    def probe(stage, bundle, folder):
        calls.append(stage)
        raise ProbeFailed(stage)

    wanted = Engines(runtime="openvino", cache=tmp_path / "cache", probe=probe)
    wanted.open(place[0])
    wanted.open(place[0])
    assert calls == ["convert"]


def test_nobody_waits_for_a_proof_and_a_refusal_of_it_is_told(tmp_path, place):
    def probe(stage, bundle, folder):
        raise ProbeFailed(stage)

    wanted = Engines(runtime="openvino", cache=tmp_path / "cache", probe=probe, wait=False)
    found = wanted.open(place[0])
    assert (found.bundle.runtime.facts().engine, found.refused, found.unproven) == ("torch", "", True)
    assert not (tmp_path / "cache").exists()
    assert "convert" in wanted.admit(place[0])
    found = wanted.open(place[0])
    assert (found.bundle.runtime.facts().engine, found.unproven) == ("torch", False)
    assert "convert" in found.refused


def test_a_cache_that_cannot_be_written_is_why_torch_serves(tmp_path, place):
    (tmp_path / "cache").write_text("a file")
    wanted = Engines(runtime="openvino", cache=tmp_path / "cache", wait=False)
    assert wanted.open(place[0]).unproven
    assert "cannot be kept" in wanted.admit(place[0])


def test_a_child_that_crashes_is_told_by_its_status(tmp_path):
    with pytest.raises(ProbeFailed, match=r"ended with status 1 .*manifest\.json"):
        in_child("load", tmp_path, tmp_path)


def test_a_changed_converted_network_is_converted_anew(tmp_path, place, opened):
    bundle, cache = place
    proofs = _proofs(bundle, cache)
    blob = proofs.folder / "image-float32.blob"
    verdict = proofs.read(LOAD)
    assert verdict is not None
    assert proofs.unchanged(verdict)
    original = blob.read_bytes()
    blob.write_bytes(original[:-1] + b"\x01")
    assert not proofs.unchanged(verdict)
    blob.write_bytes(original)


def test_another_bundle_engine_or_cpu_has_no_verdict(place, opened, tmp_path, monkeypatch):
    bundle, cache = place
    assert _proofs(bundle, cache).read(LOAD) is not None
    assert Proofs(cache=cache, bundle=bundle, engine="openvino 1.0").read(LOAD) is None
    assert Proofs(cache=cache, bundle=tmp_path, engine=_proofs(bundle, cache).engine).read(LOAD) is None
    monkeypatch.setattr("model.proofs.CPU_INFO", tmp_path / "cpuinfo")
    (tmp_path / "cpuinfo").write_text("model name : Another\nflags : sse\n")
    assert _proofs(bundle, cache).read(LOAD) is None


def test_a_verdict_that_cannot_be_read_is_none(tmp_path):
    proofs = Proofs(cache=tmp_path, bundle=tmp_path, engine="x 1")
    proofs.write("s", Verdict(accepted=True))
    assert proofs.read("s").accepted
    file = proofs.folder / "s.json"
    for damage in ("", "[]", "{", json.dumps({"accepted": True})):
        file.write_text(damage)
        assert proofs.read("s") is None


def test_bfloat16_serves_only_where_admitted_and_faster(tmp_path):
    proofs = Proofs(cache=tmp_path, bundle=tmp_path, engine="openvino 1")
    assert best_precision(proofs) == "float32"
    for accepted, gain, expected in ((True, 0.5, "float32"), (False, 2.0, "float32"), (True, 2.0, "bfloat16")):
        proofs.write(PARITY_BFLOAT16, Verdict(accepted=accepted, figures={"gain_over_float32": gain}))
        assert best_precision(proofs) == expected


def test_torch_is_the_choice_where_the_settings_say_so(place):
    found = Engines(runtime="torch").open(place[0])
    assert found.bundle.runtime.facts().engine == "torch"
    assert found.refused == ""


def test_a_damaged_bundle_is_the_bundles_fault_whatever_the_engine(tmp_path):
    bundle = copy_tiny_bundle(tmp_path / "bundle")
    (bundle / "fusion.json").write_text("{}")
    with pytest.raises(BundleError, match=r"fusion\.json"):
        Engines(runtime="openvino", cache=tmp_path / "cache").open(bundle)


def test_a_golden_result_that_differs_is_refused_within_its_tolerance_only(place):
    bundle = load_bundle(place[0])
    golden_check(bundle, logit_tolerance=1e-3)


def test_the_bars_of_an_engine():
    good = {
        "films": 500.0,
        "largest_probability_difference": 1e-6,
        "auc_difference": 0.0,
        "gate_changes": 0.0,
        "decisions_unchanged": 1.0,
    }
    assert verdict_on_engine(good, exact=True).accepted
    for name, bad in (
        ("films", 499.0), ("largest_probability_difference", 2e-4), ("auc_difference", 0.006), ("gate_changes", 1.0),
        ("decisions_unchanged", 0.994),
    ):  # fmt: skip
        verdict = verdict_on_engine(good | {name: bad}, exact=True)
        assert not verdict.accepted
        assert name in verdict.reason
    assert verdict_on_engine(good | {"largest_probability_difference": 0.04}, exact=False).accepted


def test_the_bars_of_half_resolution():
    good = {"films": 200.0, "largest_probability_difference": 0.004, "gate_changes": 0.0, "rmse_of_4095": 2.4}
    assert verdict_on_decoding(good).accepted
    for name, bad in (("films", 199.0), ("largest_probability_difference", 0.0051), ("rmse_of_4095", 3.1)):
        assert name in verdict_on_decoding(good | {name: bad}).reason


def test_a_comparison_counts_changed_decisions():
    comparison = Comparison(FUSION)
    for reference, other in ((3.0, 3.0), (-3.0, -3.0), (-3.0, 3.0), (3.0, 3.0)):
        comparison.add(reference, other, osteoporosis=reference > 0)
    figures = comparison.figures()
    assert figures["decisions_unchanged"] == 0.75
    assert figures["films"] == 4
    assert figures["largest_probability_difference"] > 0.5
    assert figures["auc_difference"] > 0


def test_proving_runs_both_stages_and_keeps_the_digests(tmp_path):
    proofs = Proofs(cache=tmp_path, bundle=tmp_path, engine="x 1")
    stages = []

    def probe(stage: str, bundle: Path, folder: Path) -> str:
        stages.append(stage)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "image-float32.blob").write_bytes(b"1")
        return "1e-06\n"

    verdict = prove(proofs, probe)
    assert stages == ["convert", "load"]
    assert verdict.accepted
    assert verdict.files == {"image-float32.blob": digest_of(proofs.folder / "image-float32.blob")}


def _proofs(bundle: Path, cache: Path) -> Proofs:
    return Proofs(cache=cache, bundle=bundle, engine=engine_name())
