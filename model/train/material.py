"""What a run is made of: films with their people, how they are divided by, and the clinical model's view of them.

Virtual patients are drawn and rendered here; a site's own come from `model.train.site`. Not allowed here: pixels of a
site, torch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from rich.progress import Progress

from model.clinical import ClinicalModel
from model.clinical_fit import DxaTable, fit_clinical, fit_table
from model.domain import Sex
from model.manifest import DataSource
from model.phantom.cohort import sample
from model.train.films import Films, render_films
from model.train.people import Member, Person, virtual_members
from model.train.plan import Plan, VirtualData
from model.train.split import Split, TooFewPatients, latest_films

Floats = npt.NDArray[np.float64]

SIMULATED_FILMS: Final = "procedural radiographs of virtual patients made by this software"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClinicalPart:
    """The clinical model that goes into the bundle, and what one that never saw them says about the people."""

    model: ClinicalModel
    probabilities: Floats = field(repr=False)
    """(n,) NaN where an input is missing."""
    source: DataSource


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """Everything a run starts from."""

    films: Films
    members: tuple[Member, ...] = field(repr=False)
    simulated: bool
    population: str
    """Who they are, in the words that stand beside every figure."""
    intended_use: str
    contraindications: tuple[str, ...]
    source: str
    licence: str
    ceiling: Floats | None = field(repr=False)
    """(n,) score of an observer who reads the simulated bone without error; None for real patients."""


def virtual_material(plan: Plan, data: VirtualData, progress: Progress) -> Material:
    """Draw the patients and render what is not rendered yet."""
    patients = sample(data.patients + data.calibration, plan.seed)
    workers = plan.processes
    films = render_films(patients, plan.run, seed=plan.seed, side=plan.side, workers=workers, progress=progress)
    return Material(
        films=films,
        members=virtual_members(patients),
        simulated=True,
        population="simulated patients",
        intended_use=(
            "Demonstration and testing of the Osteon node with simulated radiographs. "
            "Trained on simulated images; none of its figures describes patients."
        ),
        contraindications=("Not for clinical use.", "Must not be used to rule out low bone density."),
        source=SIMULATED_FILMS,
        licence="Apache-2.0",
        ceiling=np.array([-patient.subject.t_image for patient in patients]),
    )


def published_clinical(table: Path, people: Sequence[Person]) -> ClinicalPart:
    """Fitted on a published table of other people, so that every answer about these is out of fold."""
    rows = len(table.read_text(encoding="utf-8-sig").splitlines()) - 1
    model = fit_clinical(table)
    source = DataSource(
        use="clinical model",
        source=model.provenance,
        licence="CC BY 4.0 as a PLOS article (not confirmed)",
        count=rows,
        simulated=False,
    )
    return ClinicalPart(model=model, probabilities=answers(model, people), source=source)


def own_clinical(
    people: Sequence[Person], members: Sequence[Member], split: Split, *, site: str, licence: str
) -> ClinicalPart:
    """Fitted on the training part's own people: for the bundle on all of them, for each fold on the others.

    Everyone counts once, as at the latest film with age, sex and weight.

    Raises:
        TooFewPatients: a fit would see one class only, nobody with all three, or ages or weights that do not differ.

    """
    found = np.full(len(people), math.nan)
    for k, fold in enumerate(split.folds):
        model = _fitted(people, _complete(people, members, split.without(k)), site)
        found[list(fold)] = answers(model, [people[i] for i in fold])
    complete = _complete(people, members, split.train)
    model = _fitted(people, complete, site)
    found[list(split.test)] = answers(model, [people[i] for i in split.test])
    count = len(complete)
    source = DataSource(use="clinical model", source=model.provenance, licence=licence, count=count, simulated=False)
    return ClinicalPart(model=model, probabilities=found, source=source)


def answers(model: ClinicalModel, people: Sequence[Person]) -> Floats:
    """(n,) the model's own probability; NaN where an input is missing."""
    found = []
    for person in people:
        inputs = (None if math.isnan(v) else v for v in (person.age_years, person.weight_kg))
        age, weight = inputs
        answer = model.probability(age_years=age, sex=person.sex, weight_kg=weight)
        found.append(math.nan if answer is None else answer[0])
    return np.array(found)


def _fitted(people: Sequence[Person], complete: Sequence[int], site: str) -> ClinicalModel:
    chosen = [people[i] for i in complete]
    if len({p.osteoporosis for p in chosen}) < 2:  # noqa: PLR2004 - both classes
        msg = "the clinical model needs people of both classes with age, sex and weight; check the manifest's columns"
        raise TooFewPatients(msg)
    table = DxaTable(
        female=np.array([float(p.sex is Sex.FEMALE) for p in chosen]),
        age_years=np.array([p.age_years for p in chosen]),
        weight_kg=np.array([p.weight_kg for p in chosen]),
        t_lowest=np.array([p.t_lowest for p in chosen]),
    )
    share = float(table.label.mean())
    text = f"L2 logistic regression (C=1) on {len(chosen)} {site}, label lowest T-score <= -2.5 ({share:.1%})"
    try:
        return fit_table(table, text)
    except ValueError as error:
        msg = f"the clinical model cannot be fitted on {len(chosen)} {site}: {error}"
        raise TooFewPatients(msg) from error


def _complete(people: Sequence[Person], members: Sequence[Member], positions: Sequence[int]) -> tuple[int, ...]:
    """The latest film of each patient at which age, sex and weight were known."""
    known = (Sex.FEMALE, Sex.MALE)
    complete = [
        i
        for i in positions
        if people[i].sex in known and math.isfinite(people[i].age_years) and math.isfinite(people[i].weight_kg)
    ]
    return latest_films(complete, members)
