"""The whole chain on tiny networks: films, folds, calibration, seal; then the same again from what was kept."""

import dataclasses
import json

import numpy as np
import pytest
from rich.console import Console
from support.tiny_bundle import tiny_gate, tiny_rates

from model.bundle import golden_check, load_bundle
from model.fusion_fit import fit_fusion
from model.phantom.cohort import sample
from model.train import campaign, workshop
from model.train.campaign import make_bundle
from model.train.gate_part import GateInput, keep_gate
from model.train.jobs import Job, kept_network, source_digest
from model.train.people import virtual_members
from model.train.plan import SiteData, plan_from
from model.train.reproduction import compare, earlier_metrics, result_line
from model.train.site import SitePerson
from model.train.split import Split, TooFewPatients, latest_films, split_by_time
from model.train.workshop import NotTrained

PATIENTS = 80
TABLE = "female,age,weight,ls_t,th_t,fn_t\n"
QUIET = Console(quiet=True)


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    folder = tmp_path_factory.mktemp("campaign")
    rng = np.random.default_rng(0)
    rows = [f"{i % 2},{50 + i % 40},{45 + i % 37},{rng.normal(-2 - i % 2, 1):.1f},-1.0,-1.2\n" for i in range(120)]
    (folder / "table.csv").write_text(TABLE + "".join(rows))
    (folder / "nih").mkdir()
    (folder / "nih" / "manifest.csv").write_text("file,age,patient\n")
    made = plan_from(
        {
            "name": "osteon-tiny", "title": "Tiny", "out": folder / "bundle", "run": folder / "run", "side": 64,
            "folds": 2, "held_out": 0.25, "gate_films": folder / "nih", "seed": 3, "processes": 1,
            "data": {"patients": PATIENTS, "table": folder / "table.csv", "kind": "virtual"},
            "recipe": {"epochs": 4, "batch": 8, "crop": 64, "seed": 3},
        },
        "test",
    )  # fmt: skip
    patients = sample(PATIENTS, made.seed)
    train = split_by_time(virtual_members(patients), folds=2, held_out=0.25, seed=made.seed).train
    given = GateInput(films=made.gate_films, seed=made.seed, patients=tuple(patients[i] for i in train[:120]))
    made.run.mkdir()
    keep_gate(made.run, given.key, tiny_gate(), tiny_rates())
    return made


@pytest.fixture(scope="module")
def bundle(plan):
    return make_bundle(plan, console=QUIET)


def test_a_campaign_writes_a_bundle_that_passes_its_golden_set(bundle):
    golden_check(bundle)
    manifest = bundle.manifest
    assert manifest.training.simulated
    assert manifest.bundle_id.startswith("osteon-tiny-")
    assert len(manifest.golden.cases) == 8
    assert len(manifest.golden.records) == 6
    assert {record.weight_kg is None for record in manifest.golden.records} == {True, False}
    assert [source.simulated for source in manifest.training.data] == [True, True, True, False, False]


def test_calibration_rests_on_out_of_fold_predictions_of_all_training_patients_and_no_others(plan, bundle):
    calibration = bundle.manifest.calibration
    assert (calibration.patients, calibration.folds) == (60, 2)
    counts = {source.use.split(";")[0]: source.count for source in bundle.manifest.training.data}
    assert counts["image network, training"] == 60
    assert counts["held-out test"] == 20
    noted = [json.loads(file.read_text()) for file in plan.run.glob("network-*.json")]
    assert sorted((note["name"], note["films"]) for note in noted) == [("final", 60), ("fold 1", 30), ("fold 2", 30)]


def test_every_figure_says_whom_it_was_measured_on(bundle):
    found = {metric.name: metric for metric in bundle.manifest.metrics}
    assert found["auc.image"].n == 20
    assert "unseen" in found["auc.image"].population
    assert found["out-of-fold.auc.image"].n == 60
    assert "never saw" in found["out-of-fold.auc.image"].population
    assert found["auc.ceiling"].value >= 0.8


def test_sealing_again_trains_nothing_and_gives_the_same_bundle(plan, bundle, monkeypatch):
    monkeypatch.setattr(workshop, "ProcessPoolExecutor", None)
    again = make_bundle(plan, train_missing=False, console=QUIET)
    assert again.manifest.files == bundle.manifest.files
    assert again.manifest.golden == bundle.manifest.golden
    compared = compare(earlier_metrics(plan.out), again.manifest)
    assert compared.verdict == "yes"
    line = result_line("train-demo", again.manifest, compared, minutes=1.0, missed=())
    assert line.startswith(f"RESULT train-demo bundle={again.manifest.bundle_id} minutes=1.0 ")
    assert line.endswith("reproduced=yes missed=none")


def test_sealing_says_what_is_missing(plan, bundle, tmp_path):
    with pytest.raises(NotTrained, match="final, fold 1, fold 2, gate"):
        make_bundle(plan.model_copy(update={"run": tmp_path}), train_missing=False, console=QUIET)


def test_a_figure_outside_the_earlier_interval_is_named(plan, bundle):
    earlier = earlier_metrics(plan.out)
    earlier["auc.image"] |= {"low": 0.999, "high": 1.0, "value": 0.9995}
    compared = compare(earlier, bundle.manifest)
    assert compared.missed == ("auc.image",)
    assert compared.verdict == "no"
    assert earlier_metrics(plan.out / "nowhere") == {}
    assert compare({}, bundle.manifest).verdict == "nothing-to-compare"


def test_another_recipe_or_another_division_is_another_network(plan, bundle):
    kept = campaign.keep_films(campaign._material(plan, None, campaign.bars(QUIET)).films, plan.run)
    split = split_by_time(virtual_members(sample(PATIENTS, plan.seed)), folds=2, held_out=0.25, seed=plan.seed)
    final = Job(name="final", indices=split.train, recipe=plan.recipe)
    assert kept_network(kept, final).epochs == 4
    assert kept_network(kept, dataclasses.replace(final, indices=split.train[1:])) is None
    other = dataclasses.replace(plan.recipe, attention=False)
    assert kept_network(kept, dataclasses.replace(final, recipe=other)) is None


def test_a_changed_comment_is_no_other_training():
    assert source_digest(["train/loop"]) == source_digest(["train/loop"])
    assert source_digest(["train/loop"]) != source_digest(["train/augment"])


def test_the_bundle_loads_from_its_folder_alone(plan, bundle):
    assert load_bundle(plan.out).manifest == bundle.manifest


def test_a_network_kept_from_some_patients_is_calibrated_on_them_alone(plan, tmp_path, monkeypatch):
    short = dataclasses.replace(plan.recipe, epochs=2)
    data = plan.data.model_copy(update={"calibration": 10})
    changes = {"apart": 0.4, "fold_epochs": 1, "recipe": short, "out": tmp_path / "bundle", "data": data}
    own = plan.model_copy(update=changes)
    material = campaign._material(own, None, campaign.bars(QUIET))
    split, people, noise = campaign._split(own, material), material.films.patients, np.random.default_rng(0)
    heard = {}

    def said(_workshop, questions):  # as networks would that had learned something
        found = [np.array([noise.normal() + 2.0 * people[i].osteoporosis for i in part]) for *_, part in questions]
        heard.update({(job.name, part): logits for (job, _, part), logits in zip(questions, found, strict=True)})
        return found

    monkeypatch.setattr(workshop.Workshop, "logits", said)
    made = make_bundle(own, console=QUIET)
    golden_check(made)
    assert split.apart[24:] == tuple(range(PATIENTS, PATIENTS + 10))
    assert not set(split.apart[24:]) & {*split.train, *split.test, *split.left_out}
    clinical = campaign._clinical(own, material, split).probabilities[list(split.apart)]
    logits = np.concatenate([heard["final", part] for part in (split.apart[:17], split.apart[17:])])
    truth = [int(people[i].osteoporosis) for i in split.apart]
    assert made.fusion == fit_fusion(logits, clinical, truth)
    calibration = made.manifest.calibration
    assert (calibration.patients, calibration.folds, calibration.kept_apart) == (34, 2, True)
    found = {metric.name: metric for metric in made.manifest.metrics}
    assert (found["kept-apart.auc.image"].n, found["out-of-fold.auc.image"].n, found["auc.image"].n) == (34, 60, 20)
    counts = {source.use.split(";")[0]: source.count for source in made.manifest.training.data}
    assert (counts["image network, training"], counts["calibration, fusion and thresholds"]) == (36, 34)
    noted = [json.loads(file.read_text()) for file in own.run.glob("network-*.json")]
    assert ("final", 36, 2) in [(note["name"], note["films"], note["epochs"]) for note in noted]
    assert ("fold 1", 30, 1) in [(note["name"], note["films"], note["epochs"]) for note in noted]
    assert "34 patients who were kept from its training" in (own.out / "MODEL_CARD.md").read_text()


def site_of_pairs(plan, folder):
    """A site's plan and material: the simulated films as those of half as many patients, two each, on two days."""
    site = {"manifest": folder / "none.csv", "site": "patients of a test", "licence": "none", "intended_use": "Tests."}
    changes = {"run": folder / "run", "out": folder / "bundle", "data": SiteData(kind="site", zone="UTC", **site)}
    made = campaign._material(plan, None, campaign.bars(QUIET))
    people = tuple(
        SitePerson(t_lowest=p.t_lowest, age_years=p.age_years, sex=p.sex, weight_kg=p.weight_kg)
        for p in made.films.patients
    )
    owners = tuple(f"p{i // 2}" for i in range(len(people)))
    members = tuple(dataclasses.replace(m, patient=own) for m, own in zip(made.members, owners, strict=True))
    material = dataclasses.replace(
        made, films=dataclasses.replace(made.films, patients=people, owners=owners), members=members,
        simulated=False, population="patients of a test (the latest film of each)", source="patients of a test",
        ceiling=None,
    )  # fmt: skip
    return plan.model_copy(update=changes), material


def test_a_sites_bundle_counts_patients_and_not_films_and_says_whose_they_are(plan, tmp_path, monkeypatch):
    own, material = site_of_pairs(plan, tmp_path)
    monkeypatch.setattr(campaign, "_material", lambda *_: material)
    split = campaign._split(own, material)
    given = campaign._gate_input(own, material, split)
    assert (len(given.pictures), given.patients) == (30, ())
    own.run.mkdir()
    rates = dataclasses.replace(tiny_rates(), phantoms=0, own=30, own_accepted=0.9)
    keep_gate(own.run, given.key, tiny_gate(), rates)
    asked, noise = set(), np.random.default_rng(0)

    def said(_workshop, questions):  # as networks would that had learned something
        asked.update(part for *_, part in questions)
        people = material.films.patients
        return [np.array([noise.normal() + 2.0 * people[i].osteoporosis for i in part]) for *_, part in questions]

    monkeypatch.setattr(workshop.Workshop, "logits", said)
    manifest = make_bundle(own, console=QUIET).manifest
    assert asked == {latest_films(part, material.members) for part in (*split.folds, split.test)}
    found = {metric.name: metric for metric in manifest.metrics}
    assert (found["auc.image"].n, found["out-of-fold.auc.image"].n, manifest.calibration.patients) == (10, 30, 30)
    assert found["gate.own-films-accepted"].value == 0.9
    assert "gate.phantoms-accepted" not in found
    told = [(source.use, source.count, source.simulated) for source in manifest.training.data]
    assert told[:4] == [
        ("image network, training (films of 30 patients)", 60, False),
        ("calibration by 2-fold out-of-fold predictions", 30, False),
        ("held-out test", 10, False),
        ("gate, the site's own films, one of each patient", 30, False),
    ]
    assert [use for use, _, simulated in told if simulated] == ["gate, laterals and other body parts"]
    noted = [json.loads(file.read_text()) for file in own.run.glob("network-*.json")]
    assert sorted((note["name"], note["films"]) for note in noted) == [("final", 60), ("fold 1", 30), ("fold 2", 30)]


def test_a_part_without_both_classes_is_refused_before_anything_is_trained(plan, tmp_path):
    own, material = site_of_pairs(plan, tmp_path)
    split = campaign._split(own, material)
    well = set(split.test)
    people = tuple(
        dataclasses.replace(p, t_lowest=0.0) if i in well else p for i, p in enumerate(material.films.patients)
    )
    of_one_class = dataclasses.replace(material, films=dataclasses.replace(material.films, patients=people))
    with pytest.raises(TooFewPatients, match="the held-out part has 10 patients, 0 of them with osteoporosis"):
        campaign._split(own, of_one_class)
    with pytest.raises(TooFewPatients, match="the first fold has 1 patients"):
        campaign._refuse_one_class(Split(folds=((0,),), test=(), left_out=(), cut=split.cut), material)
