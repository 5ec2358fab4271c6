"""The proof of an engine beside the work: images are screened by torch from the first second on, nobody waits.

Several workers of one host may begin it; the first one's child process does it, the others find the verdict. Not
allowed here: loading an engine.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Final

import structlog

from model.engines import Engines
from node.store import alerts
from node.store.alerts import AlertKind
from node.store.engine import Connection, Ledger

_SUBJECT: Final = "model.runtime"

log = structlog.get_logger()


def tell_engine(c: Connection, refused: str) -> None:
    """Keep one alert open for as long as the wanted engine does not serve."""
    alerts.keep(c, AlertKind.ENGINE_REFUSED, _SUBJECT, refused)
    if refused:
        log.error("worker.engine_refused", why=refused)


class EngineProof:
    """One proof in the background. It ends with the process, and is then begun anew at the next start."""

    def __init__(self, engines: Engines, bundle: Path, ledger: Ledger) -> None:
        self._ledger = ledger
        self._outcome: str | None = None
        threading.Thread(target=self._prove, args=(engines, bundle), name="engine-proof", daemon=True).start()
        log.info("worker.engine_being_proven", meanwhile="torch")

    def admitted(self) -> bool:
        """Whether the engine may serve from now on; a refusal becomes the alert, once, and torch goes on."""
        outcome, self._outcome = self._outcome, None
        if outcome:
            with self._ledger.begin() as c:
                tell_engine(c, outcome)
        return outcome == ""

    def _prove(self, engines: Engines, bundle: Path) -> None:
        self._outcome = engines.admit(bundle)
