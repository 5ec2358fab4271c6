"""Settings: every default documented, every mistake answered with one line that names the key."""

import tomllib
from pathlib import Path

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
