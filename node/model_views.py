"""`osteon model`: which bundles there are, whether each is what it was, and which one serves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from config.settings import Settings, SettingsError
from model.bundle import BundleError, golden_check, load_bundle, read_manifest
from model.manifest import Manifest
from model.screener import DEMO_BUNDLE
from model.train.reporting_card import CardError, reporting_card
from model.train.reporting_items import GUIDELINES
from node.active_model import (
    DEMO,
    activate,
    activation,
    active_bundle,
    bundle_folder,
    known_bundles,
    manifest_digest,
    refuse_pinned,
    refuse_simulated_product,
)
from node.site_verdicts import told_with_earlier, verdicts
from node.word_table import print_table


def show_bundles(settings: Settings, *, as_json: bool) -> None:
    """List the shipped bundle and the site's own, with what serves and what the site found."""
    serving, chosen = active_bundle(settings), activation(settings)
    pinned = settings.model.bundle
    rows = [
        _row(settings, name, folder, serves=(serving or known_bundles(settings)[DEMO]) == folder)
        for name, folder in known_bundles(settings).items()
    ]
    if pinned is not None and not any(row["serves"] for row in rows):
        rows.append(_row(settings, "(model.bundle)", pinned, serves=True))
    facts = {"bundles": rows, "activation": None if chosen is None else {"by": chosen.by, "at": chosen.at}}
    if as_json:
        print(json.dumps(facts, indent=2))  # noqa: T201 - this is the output
        return
    shown = [("serves" if row["serves"] else "", *(str(row[key]) for key in _SHOWN)) for row in rows]
    print_table(_HEADERS, shown, whole=("name", "bundle", "site verdict"))
    if chosen is not None and pinned is None:
        Console().print(f"activated {chosen.at} by {escape(chosen.by)}")


_SHOWN = ("name", "bundle", "training", "verdict", "remark")
_HEADERS = ("", "name", "bundle", "training", "site verdict", "remark")


def verify_bundle(settings: Settings, name: str) -> str:
    """Hash every file, run the golden set, and give the one line that says that all is as it was.

    Raises:
        BundleError: something is not; the line names the file.

    """
    manifest = _verified(bundle_folder(settings, name))
    cases = len(manifest.golden.cases)
    return (
        f"{name}: {manifest.bundle_id}, {len(manifest.files)} files and {cases} golden cases are as the manifest says"
    )


def activate_bundle(settings: Settings, name: str, *, by: str) -> str:
    """Verify the bundle and let it serve; the line for the operator.

    Raises:
        BundleError: it does not verify; what served goes on serving.
        SettingsError: the configuration pins another bundle, or calls the results of a simulated one a product.

    """
    refuse_pinned(settings)
    folder = bundle_folder(settings, name)
    digest = manifest_digest(folder)
    manifest = _verified(folder)
    refuse_simulated_product(settings.report, simulated=manifest.training.simulated, bundle=manifest.bundle_id)
    if manifest_digest(folder) != digest:
        msg = f"{folder}: changed while it was verified; wait until it is copied, then activate again"
        raise BundleError(msg)
    activate(settings, name, by=by, bundle_id=manifest.bundle_id, digest=digest)
    banner = " TRAINED ON SIMULATED IMAGES - NOT FOR CLINICAL USE." if manifest.training.simulated else ""
    return f"{name}: {manifest.bundle_id} serves from each worker's next idle moment on.{banner}"


def write_card(bundle: str, evaluation: Path | None, ablation: Path | None, out: Path) -> str:
    """Write the model card; the line for the operator.

    Raises:
        BundleError: the bundle's manifest cannot be read.
        SettingsError: the evaluation is of another bundle, or a file is of a short run.

    """
    manifest = read_manifest(DEMO_BUNDLE if bundle == DEMO else Path(bundle))
    try:
        text = reporting_card(manifest, _json(evaluation), _json(ablation))
    except CardError as error:
        raise SettingsError(str(error)) from error
    out.write_text(text, encoding="utf-8")
    items = [own.in_card(evaluated=evaluation is not None) for guideline in GUIDELINES for own in guideline.items]
    done = sum(item.done for item in items)
    return (
        f"{out}: {manifest.bundle_id}, {done} of {len(items)} checklist items have an artefact, the others say why not"
    )


def _json(file: Path | None) -> dict[str, Any] | None:
    if file is None:
        return None
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found


def _verified(folder: Path) -> Manifest:
    bundle = load_bundle(folder)
    golden_check(bundle)
    return bundle.manifest


def _row(settings: Settings, name: str, folder: Path, *, serves: bool) -> dict[str, Any]:
    try:
        manifest = read_manifest(folder)
    except BundleError as error:
        return {
            "name": name, "bundle": "", "training": "", "verdict": "", "remark": f"unusable: {error}", "serves": serves,
        }  # fmt: skip
    found = verdicts(settings, manifest.bundle_id)
    return {
        "name": name,
        "bundle": manifest.bundle_id,
        "training": "simulated images" if manifest.training.simulated else "radiographs",
        "verdict": f"{told_with_earlier(found)} ({found[-1].at}, {found[-1].by})" if found else "none",
        "remark": "",
        "serves": serves,
    }
