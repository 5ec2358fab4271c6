"""What was proven of which engine, for which bundle, on which CPU: verdicts as JSON files beside the node's data.

A verdict counts only while bundle, engine version and CPU are those it was made with; anything else, and a file that
cannot be read, is no verdict. A bundle's own folder is sealed, so nothing is ever written there. Not allowed here:
torch or any other engine.
"""

from __future__ import annotations

import datetime as dt
import fcntl
import hashlib
import json
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

CPU_INFO: Final = Path("/proc/cpuinfo")
_MANIFEST: Final = "manifest.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What came of one comparison with the reference."""

    accepted: bool
    reason: str = ""
    """Why not, in one line; empty where accepted."""
    figures: dict[str, float] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    """SHA-256 of the files that were proven, by name."""
    at: str = ""
    """UTC, ISO 8601."""

    def age_seconds(self) -> float:
        """Since it was made."""
        return (dt.datetime.now(dt.UTC) - dt.datetime.fromisoformat(self.at)).total_seconds()


@dataclass(frozen=True, slots=True, kw_only=True)
class Proofs:
    """The verdicts on one engine for one bundle on this machine."""

    cache: Path
    bundle: Path
    engine: str
    """With its version, `openvino 2026.4.1`: part of what a verdict is tied to."""

    @property
    def folder(self) -> Path:
        """Where verdicts and converted networks lie."""
        tied = "|".join(self._tied().values())
        return self.cache / f"{self.engine.replace(' ', '-')}-{hashlib.sha256(tied.encode()).hexdigest()[:16]}"

    def read(self, subject: str) -> Verdict | None:
        """The verdict on `subject`, or None where there is none that counts here."""
        try:
            record = json.loads((self.folder / f"{subject}.json").read_text(encoding="utf-8"))
            if record.pop("tied") != self._tied():
                return None
            return Verdict(**record)
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return None

    def write(self, subject: str, verdict: Verdict) -> None:
        """Keep a verdict durably. Raises OSError where the folder cannot be written."""
        stamped = asdict(verdict) | {"at": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"), "tied": self._tied()}
        self.folder.mkdir(parents=True, exist_ok=True)
        part = self.folder / f".{subject}.{os.getpid()}.part"
        with part.open("w", encoding="utf-8") as file:
            json.dump(stamped, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        part.replace(self.folder / f"{subject}.json")

    def withdraw(self, subject: str) -> None:
        """Forget a verdict."""
        (self.folder / f"{subject}.json").unlink(missing_ok=True)

    def unchanged(self, verdict: Verdict) -> bool:
        """Whether the files that were proven are still those."""
        return all(digest_of(self.folder / name) == digest for name, digest in verdict.files.items())

    @contextmanager
    def alone(self) -> Iterator[None]:
        """One process at a time converts and proves; the others wait and find the verdict."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "lock").open("w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield

    def _tied(self) -> dict[str, str]:
        return {"bundle": digest_of(self.bundle / _MANIFEST), "engine": self.engine, "cpu": cpu()}


def digest_of(path: Path) -> str:
    """SHA-256 (hex) of a file; empty where there is none. A manifest's names the digest of every other file."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""


def cpu() -> str:
    """Model and abilities of the CPU: what an engine chooses its code by."""
    try:
        lines = CPU_INFO.read_text(encoding="utf-8").splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    facts = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    flags = hashlib.sha256(facts.get("flags", facts.get("Features", "")).encode()).hexdigest()[:12]
    return f"{facts.get('model name', platform.machine())} {flags}"
