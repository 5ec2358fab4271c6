"""Settings: every default documented, every mistake answered with one line that names the key."""

import tomllib
from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel

from config import settings as module
from config.reference import defaults_toml, described
from config.settings import Settings, SettingsError, load, parse


def test_the_reference_file_is_what_the_code_writes():
    reference = Path(module.__file__).with_name("defaults.toml").read_text(encoding="utf-8")
    assert reference == defaults_toml(), "run: osteon settings > config/defaults.toml"


def test_the_reference_file_holds_exactly_the_defaults():
    assert parse(tomllib.loads(defaults_toml()), origin="defaults.toml") == Settings()


def _groups(group: type[BaseModel]):
    yield group
    for field in group.model_fields.values():
        for candidate in (field.annotation, *getattr(field.annotation, "__args__", ())):
            if isinstance(candidate, type) and issubclass(candidate, BaseModel):
                yield from _groups(candidate)


def test_every_setting_is_documented():
    undocumented = [
        f"{group.__name__}.{name}"
        for group in _groups(Settings)
        if group is not Settings
        for name, description in described(group).items()
        if not description
    ]
    # The address of a destination says what it is by its name; everything else is explained.
    assert undocumented == []


@pytest.mark.parametrize(
    ("table", "names"),
    [
        ({"reception": {"prot": 3}}, "reception.prot"),
        ({"reception": {"port": 70000}}, "reception.port"),
        ({"reception": {"ae_title": "A NAME THAT IS TOO LONG"}}, "reception.ae_title"),
        ({"reception": {"ae_title": "BACK\\SLASH"}}, "reception.ae_title"),
        ({"reception": {"peers": [{"ae_title": "PACS", "networks": ["10.0.0.0/33"]}]}}, "reception.peers.0.networks.0"),
        ({"site": {"timezone": "Mars/Olympus"}}, "site.timezone"),
        ({"clinical": {"wait": -1}}, "clinical.wait"),
        ({"model": {"minimum_age": 40}}, "model.minimum_age"),
        ({"reception": {"idle_timeout": 0}}, "reception.idle_timeout"),
        ({"reception": {"acse_timeout": 0}}, "reception.acse_timeout"),
        ({"reception": {"reject_at_percent": 90, "full_at_percent": 80}}, "reception: full_at_percent is below"),
        ({"delivery": {"retry_hours": 1e12}}, "delivery.retry_hours"),
        ({"delivery": {"recovery_rate": 1e-300}}, "delivery.recovery_rate"),
        ({"site": {"name": "Ward A\\Ward B"}}, "site.name"),
        ({"site": {"name": "Ward A\nWard B"}}, "site.name"),
        ({"site": {"name": "W" * 65}}, "site.name"),
        ({"storage": {"data_dir": ""}}, "storage.data_dir: write a path"),
        ({"storage": {"data_dir": "~nobody-of-this-name/data"}}, "storage.data_dir: there is no such home"),
        ({"model": {"workers": -1}}, 'model.workers: write "auto" or a whole number from 1 to 64 (got -1)'),
        ({"model": {"workers": True}}, "model.workers: write"),
        (
            {"delivery": {"destinations": [{"name": "Big PACS", "ae_title": "P", "host": "h", "port": 1}]}},
            "destinations.0.name",
        ),
    ],
)
def test_a_mistake_is_one_line_that_names_the_key(table, names):
    with pytest.raises(SettingsError) as error:
        parse(table, origin="site.toml")
    message = str(error.value)
    assert names in message
    assert "site.toml" in message
    assert "\n" not in message


def test_two_destinations_may_not_share_a_name():
    twice = {"name": "pacs", "ae_title": "P", "host": "h", "port": 104}
    with pytest.raises(SettingsError, match="share a name"):
        parse({"delivery": {"destinations": [twice, twice]}}, origin="site.toml")


@pytest.mark.parametrize(
    ("names", "known"),
    [((), "delivery.destinations is empty"), (("pacs", "vna"), "name one of delivery.destinations: pacs, vna")],
)
def test_the_archive_of_reconciliation_is_a_destination(names, known):
    places = [{"name": name, "ae_title": "P", "host": "h", "port": 104} for name in names]
    table = {"delivery": {"destinations": places}, "reconciliation": {"archive": "pcas"}}
    with pytest.raises(SettingsError, match=f"reconciliation.archive: 'pcas' is no destination; {known}"):
        parse(table, origin="site.toml")
    table["reconciliation"]["archive"] = ""
    assert parse(table, origin="site.toml").reconciliation.archive == ""


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ({"reception": {"prot": 3}}, "'reception.prot'; did you mean 'port'?"),
        ({"recption": {"port": 3}}, "'recption'; did you mean 'reception'?"),
        ({"reception": {"tls": {"certificat": "x"}}}, "did you mean 'certificate'?"),
        ({"reception": {"peers": [{"ae_title": "A", "network": []}]}}, "did you mean 'networks'?"),
        ({"reception": {"zzz": 1}}, "'reception.zzz'; remove it or correct its spelling"),
    ],
)
def test_an_unknown_key_is_told_what_it_may_mean_and_where_all_stand(table, says):
    with pytest.raises(SettingsError) as error:
        parse(table, origin="site.toml")
    assert says in str(error.value)
    assert "(all keys: `osteon settings`)" in str(error.value)


def test_a_missing_file_and_no_toml_are_said_in_one_line(tmp_path):
    with pytest.raises(SettingsError, match="cannot be read"):
        load(tmp_path / "none.toml")
    bad = tmp_path / "bad.toml"
    bad.write_text("[reception\n", encoding="utf-8")
    with pytest.raises(SettingsError, match="not valid TOML"):
        load(bad)


def _numbers(group: type[BaseModel], *above: str):
    """Every key, by the groups it stands in, that can be a float."""
    for name, field in group.model_fields.items():
        inner = get_args(field.annotation)
        kinds = {field.annotation, *inner, *(part for one in inner for part in get_args(one))}
        for kind in kinds:
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from _numbers(kind, *above, name)
        if float in kinds:
            yield (*above, name)


NUMBERS = sorted({*_numbers(Settings), ("clinical", "lookback_days", "weight")} - {("clinical", "lookback_days")})


@pytest.mark.parametrize("endless", ["inf", "-inf", "nan", "1e308"])
@pytest.mark.parametrize("keys", NUMBERS, ids=".".join)
def test_no_number_is_endless(keys, endless):
    table: dict[str, object] = {keys[-1]: float(endless)}
    for key in reversed(keys[:-1]):
        table = {key: table}
    with pytest.raises(SettingsError) as error:
        parse(table, origin="site.toml")
    assert ".".join(keys) in str(error.value)


def test_the_walk_over_the_numbers_finds_them():
    found = {".".join(keys) for keys in NUMBERS}
    assert {"reception.acse_timeout", "delivery.retry_hours", "retention.reports", "clinical.csv.poll"} <= found
    assert len(found) > 30


def test_a_path_begins_at_home_and_an_empty_one_means_none(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    table = {"storage": {"data_dir": "~/data"}, "model": {"bundle": ""}, "clinical": {"csv": {"folder": "~/drop"}}}
    settings = parse(table, origin="site.toml")
    assert settings.storage.data_dir == tmp_path / "data"
    assert settings.model.bundle is None
    assert settings.clinical.csv.folder == tmp_path / "drop"


def test_the_examples_of_the_reference_can_be_used_as_they_are():
    lines = (line.removeprefix("#: ") for line in defaults_toml().splitlines())
    receivers = "\n".join(lines).partition("[[results.receivers]]")[2].partition("\n[")[0]
    assert parse({"results": {"receivers": [tomllib.loads(receivers)]}}, origin="x").results.receivers[0].ca is None


def test_a_file_with_a_byte_order_mark_is_read(tmp_path):
    file = tmp_path / "site.toml"
    file.write_bytes(b'\xef\xbb\xbf[site]\nname = "Klinikum S\xc3\xbcd"\n')
    assert load(file).site.name == "Klinikum Süd"


def test_a_url_is_never_quoted():
    table = {"storage": {"database_url": ["postgresql://node:hush@db/osteon"]}}
    with pytest.raises(SettingsError) as error:
        parse(table, origin="site.toml")
    assert "storage.database_url" in str(error.value)
    assert "hush" not in str(error.value)


def test_settings_cannot_be_changed():
    with pytest.raises(ValueError, match="frozen"):
        Settings().site.name = "elsewhere"


def test_product_is_refused_without_its_written_reason() -> None:
    table = {"report": {"content_qualification": "PRODUCT"}}
    with pytest.raises(SettingsError, match="product_reason"):
        parse(table, origin="node.toml")
    table["report"]["product_reason"] = "registered as 0123"
    assert parse(table, origin="node.toml").report.content_qualification == "PRODUCT"


def test_a_senders_character_set_is_a_defined_term() -> None:
    peer = {"ae_title": "CR1", "charset": ["GBK"]}
    assert parse({"reception": {"peers": [peer]}}, origin="x").reception.charsets == {"CR1": ("GBK",)}
    with pytest.raises(SettingsError, match="defined term"):
        parse({"reception": {"peers": [peer | {"charset": ["gbk-ish"]}]}}, origin="x")
