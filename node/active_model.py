"""Which model bundle serves: the configuration's, else the one a person activated, else the demonstration bundle.

A site's bundles lie in `<data_dir>/bundles/<name>`; `active.json` beside them names the one that serves, with the
digest of its manifest: a folder that was exchanged afterwards does not serve unseen. The record belongs to this host.
The ledger notes it too: where it knows of an activation and the record is gone, as after a restore without `bundles/`,
nothing serves until a person has seen to it, and never the demonstration bundle in its place.
Not allowed here: torch (a process that only asks must not load it), and activating what does not verify.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import os
import re
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from config.report import Report
from config.settings import Settings, SettingsError
from node import places
from node.audit import AuditTrail
from node.store.engine import Connection
from node.store.installation import installation_identity, note_activation, noted_activation

DEMO: Final = "demo"
"""Name of the bundle that ships with Osteon."""
LOOK_SECONDS: Final = 5.0
"""How often a worker looks whether another bundle was activated."""
_BRING_BACK: Final = (
    "bring bundles/ back from the backup, or activate a bundle again with `osteon model activate` (operate.md, Backup)"
)
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_DEMO_FOLDER: Final = Path(__file__).resolve().parents[1] / "model" / "bundles" / "demo"


@dataclass(frozen=True, slots=True, kw_only=True)
class Activation:
    """What a person decided."""

    name: str
    manifest_sha256: str
    by: str
    at: str
    """UTC, ISO 8601."""


def bundles_directory(settings: Settings) -> Path:
    """Where the site's bundles lie."""
    return settings.storage.data_dir / "bundles"


def bundle_folder(settings: Settings, name: str) -> Path:
    """Folder of the bundle `name`, which need not exist.

    Raises:
        SettingsError: the name is no plain folder name.

    """
    if not _NAME.fullmatch(name):
        msg = f"{name!r} is no name of a bundle: lower case letters, digits, dot, dash and underscore"
        raise SettingsError(msg)
    return _DEMO_FOLDER if name == DEMO else bundles_directory(settings) / name


def known_bundles(settings: Settings) -> dict[str, Path]:
    """Folders of the shipped bundle and of the site's, by name."""
    own = bundles_directory(settings)
    folders = sorted(p for p in own.iterdir() if p.is_dir() and _NAME.fullmatch(p.name)) if own.is_dir() else []
    return {DEMO: _DEMO_FOLDER} | {p.name: p for p in folders if p.name != DEMO}


def activation(settings: Settings) -> Activation | None:
    """What was activated; None before anybody did.

    Raises:
        SettingsError: the record cannot be read. Nothing else serves in its place: a person decided, and must again.

    """
    file = bundles_directory(settings) / "active.json"
    try:
        return Activation(**json.loads(file.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        msg = f"{file}: cannot be read ({type(error).__name__}); activate a bundle again with `osteon model activate`"
        raise SettingsError(msg) from error


def active_bundle(settings: Settings) -> Path | None:
    """The folder that serves; None means the demonstration bundle.

    The ledger is asked only where this host has no record.

    Raises:
        SettingsError: the record or the activated bundle is gone or is no longer the one that was activated.
        LedgerUnavailable: the ledger cannot be asked.

    """
    if settings.model.bundle is not None:
        return settings.model.bundle
    chosen = activation(settings)
    if chosen is None:
        _refuse_forgotten(settings)
        return None
    folder = bundle_folder(settings, chosen.name)
    if not folder.is_dir():
        msg = f"{folder}: is not there, and was activated on {chosen.at}; {_BRING_BACK}"
        raise SettingsError(msg)
    if manifest_digest(folder) != chosen.manifest_sha256:
        msg = f"{folder}: is not the bundle that was activated on {chosen.at}; look at it, then activate one again"
        raise SettingsError(msg)
    return folder


def _refuse_forgotten(settings: Settings) -> None:
    """Raise SettingsError where the ledger knows that a person let another bundle serve than the shipped one."""
    if not places.has_ledger(settings):
        return
    ledger = places.look_into_ledger(settings)
    try:
        with ledger.read() as c:
            noted = noted_activation(c)
    finally:
        ledger.close()
    known = Activation(**json.loads(noted)) if noted else None
    if known is not None and known.name != DEMO:
        where = bundles_directory(settings) / "active.json"
        msg = f"{where}: is not there, and {known.name} was activated on {known.at}; {_BRING_BACK}"
        raise SettingsError(msg)


def note(c: Connection, serving: Activation | None) -> None:
    """Have the ledger know what serves on this host; it may have been activated before ledgers did."""
    if serving is not None:
        note_activation(c, json.dumps(asdict(serving)))


def manifest_digest(folder: Path) -> str:
    """SHA-256 (hex) of the manifest, which names the digest of every other file; empty where there is none."""
    try:
        return hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest()
    except OSError:
        return ""


def activate(settings: Settings, name: str, *, by: str, bundle_id: str, digest: str) -> None:
    """Record durably that the bundle `name`, which was verified with the manifest `digest`, serves from now on.

    Audit trail and ledger have it before the record: a decision that is in force is never without its entry.

    Raises:
        SettingsError: as `refuse_pinned`.
        LedgerError: as `open_ledger`.
        LedgerUnavailable: the ledger cannot note it; what served goes on.

    """
    refuse_pinned(settings)
    at = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
    chosen = Activation(name=name, manifest_sha256=digest, by=by, at=at)
    trail = AuditTrail(settings.storage.data_dir / "audit")
    trail.record("model.activated", name=name, bundle=bundle_id, manifest_sha256=digest, by=by)
    trail.flush()
    ledger = places.open_settings_ledger(settings)
    try:
        with ledger.begin() as c:
            installation_identity(c)
            note(c, chosen)
    finally:
        ledger.close()
    _write(bundles_directory(settings), chosen)


def refuse_pinned(settings: Settings) -> None:
    """Raise SettingsError where the configuration names a bundle, so that an activation would have no effect."""
    if settings.model.bundle is not None:
        msg = f"model.bundle in the configuration names {settings.model.bundle}; remove it, then activate again"
        raise SettingsError(msg)


def refuse_simulated_product(report: Report, *, simulated: bool, bundle: str) -> None:
    """Raise SettingsError where results would be called a product and the bundle was trained on simulated images."""
    if simulated and report.content_qualification == "PRODUCT":
        msg = (
            f'report.content_qualification is "PRODUCT", and {bundle} was trained on simulated images; '
            'write "RESEARCH", or let a bundle trained on radiographs serve'
        )
        raise SettingsError(msg)


def wait_for_change(
    stop: threading.Event, settings: Settings, serving: Activation | None, also: Callable[[], bool] = lambda: False
) -> bool:
    """Wait until `stop` is set (False), or another bundle than `serving` was activated or `also()` is true (True)."""
    while not stop.wait(LOOK_SECONDS):
        try:
            if activation(settings) != serving or also():
                return True
        except SettingsError:
            continue  # half-written by another tool, or damaged: what serves goes on; the next start refuses
    return False


def _write(folder: Path, chosen: Activation) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / ".active.part"
    with part.open("w", encoding="utf-8") as file:
        json.dump(asdict(chosen), file)
        file.flush()
        os.fsync(file.fileno())
    part.replace(folder / "active.json")
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
