import pytest

from model.bundle import read_manifest
from model.screener import DEMO_BUNDLE
from model.train.plan import PlanError, SiteData, VirtualData, plan_from, preset, read_plan


def test_the_demo_preset_makes_the_shipped_bundle():
    plan = preset("demo", {})
    assert isinstance(plan.data, VirtualData)
    assert (plan.data.patients, plan.folds, plan.side, plan.recipe.seed) == (14000, 2, 320, 7)
    assert round(plan.data.patients * plan.held_out) == 1680
    assert round(plan.data.patients * (1 - plan.held_out) * plan.apart) == 1971
    shipped = read_manifest(DEMO_BUNDLE)
    films = {data.use: data.count for data in shipped.training.data}
    parts = films["image network, training"], shipped.calibration.patients, films["held-out test"]
    assert sum(parts) == plan.data.patients + plan.data.calibration
    assert shipped.training.seed == plan.seed


def test_the_site_preset_is_a_whole_plan_but_for_its_zone_and_stops_early():
    plan = preset("site", {"data": {"zone": "Asia/Seoul"}})
    assert isinstance(plan.data, SiteData)
    assert plan.recipe.watch > 0
    assert plan.recipe.epochs > plan.recipe.patience
    assert plan.data.zone.key == "Asia/Seoul"
    with pytest.raises(PlanError, match=r"'data\.site\.zone' \(Field required\)"):
        preset("site", {})
    with pytest.raises(PlanError, match=r"'data\.site\.zone' \(invalid timezone: KST9\)"):
        preset("site", {"data": {"zone": "KST9"}})


def test_patients_for_calibration_join_those_kept_apart():
    with pytest.raises(PlanError, match="calibration needs patients kept apart"):
        preset("demo", {"apart": 0.0, "fold_epochs": None})
    assert preset("demo", {"apart": 0.0, "fold_epochs": None, "data": {"calibration": 0}}).apart == 0


def test_shorter_networks_of_the_folds_need_patients_kept_apart():
    with pytest.raises(PlanError, match="fold_epochs needs patients kept apart"):
        preset("site", {"fold_epochs": 1})
    assert preset("site", {"fold_epochs": 1, "apart": 0.2, "data": {"zone": "UTC"}}).fold_epochs == 1


def test_a_preset_can_be_changed_key_by_key():
    plan = preset("demo", {"seed": 9, "data": {"patients": 300}})
    assert (plan.seed, plan.data.patients, plan.name) == (9, 300, "osteon-demo")


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"recipe": {"epoch": 3}}, "recipe.epoch"),
        ({"recipe": {"watch": 0.9}}, "recipe.watch"),
        ({"side": 100}, "side"),
        ({"folds": 1}, "folds"),
        ({"apart": 0.0, "fold_epochs": 1}, "apart"),
        ({"colour": "red"}, "colour"),
        ({"data": {"kind": "site"}}, "data.site.manifest"),
        ({"data": {"patients": "many"}}, "data.virtual.patients"),
    ],
)
def test_an_unknown_or_impossible_value_is_refused_with_its_name(changes, field):
    with pytest.raises(PlanError) as caught:
        preset("demo", changes)
    assert f"'{field}'" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_toml_is_refused_with_its_name(tmp_path):
    file = tmp_path / "run.toml"
    for text in ("name =", "\xff"):
        file.write_bytes(text.encode("latin-1"))
        with pytest.raises(PlanError, match=r"run\.toml"):
            read_plan(file)
    with pytest.raises(PlanError, match="missing"):
        read_plan(tmp_path / "missing.toml")
    with pytest.raises(PlanError, match="'name'"):
        plan_from({}, "x")
