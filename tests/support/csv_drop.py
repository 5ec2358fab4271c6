"""A drop folder with its ledger for tests: files in, tables out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from support.hl7 import BERLIN, RULES, when

from config.csv_feed import CsvDrop
from model.domain import Identifier
from node.csv_feed import put_away
from node.csv_intake import LedgerSink
from node.facts import Change
from node.feeds.csv_drop import DropFolder
from node.feeds.csv_import import Importer, Outcome
from node.issuers import Issuers
from node.store import clinical_persons as persons
from node.store import csv_files
from node.store.clinical_schema import observation
from node.store.engine import Connection, Ledger

COLUMNS = ["source_row_id", "patient_id", "issuer", "birth_date", "sex", "family_name", "given_name"]
COLUMNS += ["code", "code_system", "value", "unit", "observed_at", "status"]
HEADER = ",".join(COLUMNS)


def row(number: object = 1, **changes: str) -> str:
    """One line of the long form."""
    cells = {
        "source_row_id": f"r{number}",
        "patient_id": "007123",
        "issuer": "HOSP",
        "birth_date": "1948-03-12",
        "sex": "F",
        "family_name": "NA",
        "given_name": "None",
        "code": "29463-7",
        "code_system": "LN",
        "value": "61.5",
        "unit": "kg",
        "observed_at": "2025-03-09T10:00:00+00:00",
        "status": "F",
    }
    return ",".join({**cells, **changes}.values())


def lines(*rows: str, header: str = HEADER) -> str:
    """A whole file."""
    return "\n".join([header, *rows, ""])


def manifest(content: bytes | str, **changes: Any) -> dict[str, Any]:
    """A manifest that fits the content."""
    data = content if isinstance(content, bytes) else content.encode()
    return {"sha256": hashlib.sha256(data).hexdigest(), **changes}


class Drop:
    """Drops a file, looks into the folder, and shows what came of it."""

    def __init__(self, folder: Path, ledger: Ledger) -> None:
        self.folder = folder
        self.ledger = ledger
        self.changes: list[Change] = []
        self.at = when(20)

    def __call__(
        self, content: bytes | str, name: str = "a.csv", *, manifest: dict[str, Any] | None = None, **settings: Any
    ) -> list[Outcome]:
        self.put(content, name, manifest)
        return self.look(**settings)

    def put(self, content: bytes | str, name: str = "a.csv", manifest: dict[str, Any] | None = None) -> Path:
        path = self.folder / "inbox" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if manifest is not None:
            path.with_name(f"{name}.json").write_text(json.dumps(manifest))
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def look(self, wait: Any = lambda _seconds: None, **settings: Any) -> list[Outcome]:
        """One look at the folder: claim, import, put away."""
        csv = CsvDrop(**{"folder": self.folder, "settle": 0, **settings})
        folder = DropFolder(csv, wait)
        importer = Importer(csv, RULES.codes, Issuers(), BERLIN, self.sink(), lambda _seconds: None)
        outcomes = []
        for path in folder.claim():
            outcome = importer.take(path)
            put_away(folder, path, outcome)
            outcomes.append(outcome)
        return outcomes

    def sink(self) -> LedgerSink:
        return LedgerSink(self.ledger, self._changed, now=lambda: self.at)

    def files(self, where: str) -> list[str]:
        return sorted(p.name for p in (self.folder / where).iterdir())

    def rules(self, name: str = "a", where: str = "rejected") -> list[str]:
        """The rule of every line of the list of errors."""
        text = (self.folder / where / f"{name}.errors.csv").read_text()
        return [line.split(",")[4] for line in text.splitlines()[1:]]

    def rows(self, table: sa.Table = observation) -> Sequence[sa.Row[Any]]:
        with self.ledger.read() as c:
            return c.execute(sa.select(table).order_by(table.c.id)).all()

    def standing(self) -> list[tuple[str, float | None]]:
        """Key and value of every usable observation that stands, by key."""
        return sorted((r.key, r.value) for r in self.rows() if r.superseded_at is None and r.usable)

    def imports(self, state: str = "") -> tuple[csv_files.CsvFile, ...]:
        with self.ledger.read() as c:
            return csv_files.find(c, state=state)

    def person(self, value: str) -> Identifier:
        with self.ledger.read() as c:
            return persons.find(c, value)[0].identifier

    def _changed(self, _c: Connection, changes: Sequence[Change]) -> None:
        self.changes += changes
