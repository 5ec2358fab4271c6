"""A folder of simulated radiographs with everything that is known of them: DICOM files, truth, and a training manifest.

Same arguments, same bytes: dates and UIDs follow from the seed. Not allowed here: anything of a real person.
"""

from __future__ import annotations

import csv
import datetime as dt
import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from model.phantom.cohort import VirtualPatient, sample
from node.demo.phantom_order import PhantomOrder, PhantomView
from node.demo.phantoms import PhantomFilm, film, lateral_film

TAKEN_AT: Final = dt.datetime(2026, 1, 1, 12, tzinfo=dt.UTC)
_DAY_BEFORE: Final = (TAKEN_AT - dt.timedelta(days=1)).date().isoformat()
_ABOUT: Final = (
    "Simulated radiographs of virtual patients with a known truth; no patient is shown. truth.csv: one row per file."
    " training.csv: the frontal films in the form that `osteon train` reads. Nothing measured on them speaks about"
    " patients."
)


def write_phantoms(out: Path, order: PhantomOrder, *, progress: Callable[[int, int], None]) -> int:
    """Write the films, truth.csv, training.csv and manifest.json into `out`; return the number of films.

    `progress` hears (films done, films in all).
    """
    out.mkdir(parents=True, exist_ok=True)
    truth: list[dict[str, Any]] = []
    training: list[dict[str, Any]] = []
    total = order.count * len(order.views)
    for number, patient in enumerate(sample(order.count, order.seed), start=1):
        for view in order.views:
            made = _DRAWN[view](patient, number=number, taken_at=TAKEN_AT, rows=order.rows, seed=order.seed)
            name = f"phantom-{number:05d}{'-lateral' if view is PhantomView.LATERAL else ''}.dcm"
            (out / name).write_bytes(made.object.part10)
            truth.append(_truth(name, made))
            if view is PhantomView.FRONTAL:
                training.append(_training(name, made))
            progress(len(truth), total)
    _write_table(out / "truth.csv", truth)
    _write_table(out / "training.csv", training)
    stated = {"about": _ABOUT, "seed": order.seed, "patients": order.count, "rows": order.rows, "films": total}
    manifest = json.dumps({**stated, "views": [view.value for view in order.views]}, indent=1)
    (out / "manifest.json").write_text(manifest + "\n", encoding="utf-8")
    return total


_DRAWN: Final[dict[PhantomView, Callable[..., PhantomFilm]]] = {
    PhantomView.FRONTAL: film,
    PhantomView.LATERAL: lateral_film,
}


def _truth(name: str, made: PhantomFilm) -> dict[str, Any]:
    patient = made.patient
    return {
        "file": name,
        "view": made.view.value,
        "patient_id": made.identity.identifiers[0].value,
        "accession": made.accession,
        "study_uid": made.study_uid,
        "sop_instance_uid": made.object.sop_instance_uid,
        "sex": patient.sex.value,
        **_rounded(patient, ("age_years", "weight_kg", "height_cm", "calcium", "phosphate", "urea_nitrogen"), 1),
        **_rounded(patient, ("creatinine", "egfr", "alp"), 2),
        "fracture": int(patient.fracture),
        **_rounded(patient, ("t_lumbar", "t_total_hip", "t_femoral_neck", "t_lowest"), 2),
        "osteoporosis": int(patient.osteoporosis),
        "t_image": f"{patient.subject.t_image:.2f}",
        "texture": f"{patient.subject.texture:.2f}",
        "sha256": hashlib.sha256(made.object.part10).hexdigest(),
    }


def _training(name: str, made: PhantomFilm) -> dict[str, Any]:
    patient = made.patient
    return {
        "patient": made.identity.identifiers[0].value,
        "file": name,
        "acquired_at": TAKEN_AT.isoformat(),
        "dxa_date": TAKEN_AT.date().isoformat(),
        **_rounded(patient, ("t_lumbar", "t_femoral_neck", "t_total_hip"), 2),
        "age": f"{patient.age_years:.1f}",
        "sex": patient.sex.value,
        "weight": f"{patient.weight_kg:.1f}",
        "weight_at": _DAY_BEFORE,
    }


def _rounded(patient: VirtualPatient, names: Iterable[str], digits: int) -> dict[str, str]:
    return {name: f"{getattr(patient, name):.{digits}f}" for name in names}


def _write_table(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        if rows:
            writer = csv.DictWriter(stream, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
