"""The proof of an engine beside the work: images are screened by torch from the first second on, nobody waits.

Several workers of one host may begin it; the first one's child process does it, the others find the verdict. Not
allowed here: loading an engine.
"""

from __future__ import annotations

import threading
from pathlib import Path

import structlog

from model.engines import Engines
from node.engine_choice import tell_engine
from node.store.engine import Ledger

log = structlog.get_logger()


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
