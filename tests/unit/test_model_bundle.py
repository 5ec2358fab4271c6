import hashlib
import json
import pickle

import numpy as np
import pytest
import safetensors.numpy
from support.tiny_bundle import SIDE, copy_tiny_bundle, tiny_files, tiny_manifest, tiny_parts

from model.bundle import BundleError, gate_numbers, golden_check, load_bundle, verify_files
from model.manifest import EngineParity
from model.preprocess import RESIZER
from model.screener import DEMO_BUNDLE
from model.train.card import model_card
from model.train.writer import amend_manifest, write_bundle


@pytest.fixture
def folder(tmp_path):
    return copy_tiny_bundle(tmp_path / "bundle")


def edit_manifest(folder, **changes):
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def refusal(folder):
    with pytest.raises(BundleError) as caught:
        load_bundle(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_written_bundle_loads_and_passes_its_golden_set(folder):
    bundle = load_bundle(folder)
    golden_check(bundle)
    verify_files(folder)
    assert bundle.side == SIDE
    assert bundle.facts.simulated_training
    assert bundle.facts.bundle_id.startswith("osteon-demo-")
    assert bundle.facts.image_sha256 == bundle.manifest.files["image.safetensors"].sha256
    assert bundle.facts.calibration_id == bundle.fusion.calibration_id
    assert [picture.pixels.dtype for picture in bundle.golden] == [np.float32, np.float32]


def test_the_files_are_within_16_megabytes_and_none_is_a_pickle():
    files = tiny_files()
    assert sum(len(data) for data in files.values()) < 16e6
    assert {name.rsplit(".", 1)[1] for name in files} == {"json", "safetensors", "md"}


@pytest.mark.parametrize("name", sorted(set(tiny_files()) - {"manifest.json"}))
def test_one_flipped_byte_is_refused_with_the_files_name(folder, name):
    data = bytearray((folder / name).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / name).write_bytes(data)
    assert name in refusal(folder)
    with pytest.raises(BundleError, match="was changed"):
        verify_files(folder)


@pytest.mark.parametrize("name", sorted(tiny_files()))
def test_a_missing_file_is_refused_with_its_name(folder, name):
    (folder / name).unlink()
    assert f"{name}: is missing" in refusal(folder)


@pytest.mark.parametrize("name", ["weights.pt", "golden/extra.safetensors", ".hidden"])
def test_an_extra_file_is_refused_with_its_name(folder, name):
    (folder / name).write_bytes(b"x")
    assert f"{name}: is not part of the bundle; remove it" in refusal(folder)


def test_a_link_to_a_folder_is_refused_like_any_extra_file(folder, tmp_path):
    (folder / "more").symlink_to(tmp_path)
    assert "more: is not part of the bundle" in refusal(folder)


def test_a_folder_that_does_not_exist_says_what_to_give(tmp_path):
    assert "give the folder of a bundle" in refusal(tmp_path / "nowhere")


@pytest.mark.parametrize("version", [0, 1, 3, "2", None])
def test_an_unknown_schema_is_refused(folder, version):
    edit_manifest(folder, schema_version=version)
    assert f"has schema version {version!r}" in refusal(folder)


def test_a_changed_record_threshold_or_fusion_is_found_by_the_golden_records(folder):
    manifest = json.loads((folder / "manifest.json").read_text())
    for record, words in (({"probability": 0.999}, "golden probability"), ({"category": "BETWEEN"}, "golden category")):
        golden = json.loads(json.dumps(manifest["golden"]))
        golden["records"][0] |= record
        edit_manifest(folder, golden=golden)
        with pytest.raises(BundleError, match=words):
            golden_check(load_bundle(folder))


def test_measured_engines_can_be_written_into_a_sealed_bundle_and_nothing_unknown(folder):
    parity = EngineParity(
        engine="openvino", version="1", precision="bf16", films=200, largest_logit_difference=0.02, category_changes=0,
        logit_tolerance=0.05,
    )  # fmt: skip
    amended = amend_manifest(folder, {"engines": (parity,)})
    assert amended.manifest.engines == (parity,)
    assert load_bundle(folder).manifest.engines == (parity,)
    golden_check(amended)


def test_an_unknown_field_is_refused(folder):
    edit_manifest(folder, note="trust me")
    assert "bad field 'note'" in refusal(folder)


def test_broken_json_and_a_list_are_refused(folder):
    (folder / "manifest.json").write_text("{")
    assert "cannot be read" in refusal(folder)
    (folder / "manifest.json").write_text("[]")
    assert "schema version None" in refusal(folder)


def test_another_resizer_is_refused(folder):
    manifest = json.loads((folder / "manifest.json").read_text())
    edit_manifest(folder, image={**manifest["image"], "resizer": "pillow"})
    message = refusal(folder)
    assert "'pillow'" in message
    assert RESIZER in message


def test_a_changed_threshold_is_refused_even_with_a_matching_hash(folder):
    fusion = json.loads((folder / "fusion.json").read_text())
    fusion["image_points"]["t_high"] = 0.9
    rehash(folder, "fusion.json", json.dumps(fusion).encode())
    assert "does not hold the calibration" in refusal(folder)


@pytest.mark.parametrize("name", ["image.safetensors", "gate.safetensors", "golden/film.safetensors"])
def test_a_pickle_in_place_of_weights_is_refused_even_with_a_matching_hash(folder, name):
    rehash(folder, name, pickle.dumps({"weights": [1.0]}))
    assert f"{name}: does not fit this version" in refusal(folder)


def test_a_changed_weight_with_a_matching_hash_fails_the_golden_set(folder):
    arrays = safetensors.numpy.load((folder / "image.safetensors").read_bytes())
    arrays["classify.bias"] = arrays["classify.bias"] + np.float32(0.01)
    rehash(folder, "image.safetensors", safetensors.numpy.save(arrays))
    with pytest.raises(BundleError, match="golden logit is"):
        golden_check(load_bundle(folder))


def rehash(folder, name, data):
    """Replace a file and make the manifest agree, as somebody who knows the format could."""
    (folder / name).write_bytes(data)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"][name] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
    edit_manifest(folder, files=manifest["files"])


@pytest.mark.parametrize(
    ("key", "change", "what"), [("logit", 0.002, "golden logit"), ("gate_ratio", 0.1, "gate ratio")]
)
def test_drift_beyond_the_tolerance_names_the_case(folder, key, change, what):
    manifest = json.loads((folder / "manifest.json").read_text())
    golden = manifest["golden"]
    golden["cases"][0][key] += change
    edit_manifest(folder, golden=golden)
    with pytest.raises(BundleError, match=what) as caught:
        golden_check(load_bundle(folder))
    assert golden["cases"][0]["file"] in str(caught.value)


def test_drift_within_the_tolerance_passes(folder):
    manifest = json.loads((folder / "manifest.json").read_text())
    golden = manifest["golden"]
    golden["cases"][0]["logit"] += 0.0005
    edit_manifest(folder, golden=golden)
    golden_check(load_bundle(folder))


def test_writing_never_replaces_a_folder_that_is_no_bundle(tmp_path):
    (tmp_path / "thesis.txt").write_text("x")
    with pytest.raises(BundleError, match="is not a bundle"):
        write_bundle(tmp_path, tiny_parts(), tiny_manifest())
    assert (tmp_path / "thesis.txt").exists()


def test_writing_replaces_an_older_bundle_and_leaves_nothing_beside_it(tmp_path):
    out = copy_tiny_bundle(tmp_path / "bundle")
    write_bundle(out, tiny_parts(), tiny_manifest())
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]
    assert {p.relative_to(out).as_posix(): p.read_bytes() for p in out.rglob("*") if p.is_file()} == tiny_files()


def test_model_card_says_simulated_first_and_never_claims_a_clinical_performance():
    card = tiny_files()["MODEL_CARD.md"].decode()
    assert card.splitlines()[2] == "**TRAINED ON SIMULATED IMAGES - NOT FOR CLINICAL USE**"
    assert not {"validated", "accuracy", "accurate"} & set(card.lower().replace(".", " ").split())


def test_the_card_of_a_sites_bundle_names_its_own_hold_out_and_no_simulated_patients():
    made = tiny_manifest()
    own = tuple(data.model_copy(update={"source": "patients of My Hospital"}) for data in made.training.data)
    training = made.training.model_copy(update={"simulated": False, "data": own})
    card = model_card(made.model_copy(update={"training": training}))
    assert "internal hold-out of patients of My Hospital; no external validation was made." in card
    assert not [words for words in ("SIMULATED IMAGES", "nothing about patients", "auc.ceiling") if words in card]


def test_metadata_is_read_from_the_same_bytes():
    numbers = {"distance_limit": "0.5", "mirrored_at": "0.7"}
    assert gate_numbers(tiny_files()["gate.safetensors"]) == numbers


def test_the_shipped_demonstration_bundle_loads_passes_its_golden_set_and_meets_its_bars():
    bundle = load_bundle(DEMO_BUNDLE)
    golden_check(bundle)
    figures = {metric.name: metric for metric in bundle.manifest.metrics}
    assert bundle.facts.simulated_training
    assert figures["auc.image"].value >= 0.85
    assert figures["auc.image"].low < figures["auc.image"].value < figures["auc.image"].high
    assert figures["auc.image"].value < figures["auc.ceiling"].value
    assert figures["auc.fused"].value >= figures["auc.image"].value - 0.003
    assert all(gamma != 0 for gamma in bundle.manifest.training.gamma)
    assert sum(facts.size for facts in bundle.manifest.files.values()) <= 16 << 20
    assert (DEMO_BUNDLE / "MODEL_CARD.md").read_text() == model_card(bundle.manifest)
