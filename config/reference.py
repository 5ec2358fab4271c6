"""The settings reference, written from the settings themselves; `osteon settings` prints it.

A test keeps `config/defaults.toml` equal to what this module writes, so the documentation cannot drift from the code.
"""

from __future__ import annotations

import ast
import inspect
import itertools
import json
import textwrap
from pathlib import Path

from pydantic import BaseModel

from config.clinical import Issuer
from config.csv_feed import CsvSource, CsvValue
from config.fields import Group
from config.hl7_feed import SendingApplication
from config.hl7_out import Hl7Receiver
from config.settings import Destination, Peer, Settings

_WIDTH = 118
_HEAD = """\
Every setting of Osteon with its default. Copy what you change into your own file and give it with --config.
Lines that start with `#:` are examples or settings without a default."""
_EXAMPLES = {
    "reception.peers": Peer(ae_title="PACS", networks=("10.1.2.0/24",), issuer="HOSPITAL"),
    "clinical.issuers": Issuer(namespace="HOSPITAL", universal_id="1.2.276.0.76.4.9", universal_id_type="ISO"),
    "clinical.mllp.sending_applications": SendingApplication(application="HIS", facility="MAIN"),
    "clinical.csv.sources": CsvSource(
        name="ward",
        files="ward_*.csv",
        delimiter=";",
        columns={"source_row_id": "No", "patient_id": "Patient", "birth_date": "Born", "observed_at": "Time"},
        fixed={"sex": "", "issuer": "HOSPITAL", "status": "F"},
        values=(CsvValue(column="Weight", code="29463-7", unit="kg"),),
    ),
    "results.receivers": Hl7Receiver(name="ris", host="10.1.2.4", application="RIS", facility="HOSPITAL"),
    "delivery.destinations": Destination(name="pacs", ae_title="PACS", host="10.1.2.3", port=104),
}


def defaults_toml() -> str:
    """The whole reference as one TOML document with a comment above every key."""
    return "\n".join([_comment(_HEAD), *_table(Settings(), path="")]) + "\n"


def described(group: type[BaseModel]) -> dict[str, str]:
    """The docstring under each field of `group`, its bases' included; empty where there is none."""
    found = dict.fromkeys(group.model_fields, "")
    for one in reversed([base for base in group.__mro__ if issubclass(base, Group)]):
        written = ast.parse(textwrap.dedent(inspect.getsource(one))).body[0]
        for field, below in itertools.pairwise(getattr(written, "body", ())):
            match field, below:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))) if (
                    name in found
                ):
                    found[name] = inspect.cleandoc(text)
    return found


def _table(group: BaseModel, *, path: str) -> list[str]:
    """TOML lines of one settings group: its values first, then its sub-tables (TOML's own order)."""
    values: list[str] = []
    tables: list[str] = []
    for name, description in described(type(group)).items():
        value = getattr(group, name)
        full = f"{path}.{name}" if path else name
        if isinstance(value, BaseModel):
            tables += ["", _comment((type(value).__doc__ or "").strip()), f"[{full}]", *_table(value, path=full)]
        elif full in _EXAMPLES:
            tables += ["", _comment(description), *_example(_EXAMPLES[full], full)]
        elif isinstance(value, dict):
            inner = ", ".join(f"{key} = {_literal(item)}" for key, item in value.items())
            values += [_comment(description), f"{name} = {{ {inner} }}"]
        else:
            line = f'#: {name} = ""' if value is None else f"{name} = {_literal(value)}"
            values += [_comment(description), line]
    return values + tables


def _example(item: BaseModel, path: str) -> list[str]:
    lines = [f"#: [[{path}]]"]
    for name, description in described(type(item)).items():
        lines += [_comment(description), f"#: {name} = {_literal(getattr(item, name))}"]
    return lines


def _literal(value: object) -> str:
    """JSON's literals for strings, numbers, booleans and arrays of them are TOML's as well."""
    if isinstance(value, BaseModel):
        value = value.model_dump()
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_literal(item)}" for key, item in value.items()) + " }"
    if isinstance(value, tuple):
        return "[" + ", ".join(_literal(item) for item in value) + "]"
    if value is None:
        return '""'
    return json.dumps(str(value) if isinstance(value, Path) else value, ensure_ascii=False)


def _comment(text: str) -> str:
    return textwrap.fill(" ".join(text.split()), width=_WIDTH, initial_indent="# ", subsequent_indent="# ")
