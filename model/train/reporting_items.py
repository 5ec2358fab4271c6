"""Items of three reporting guidelines, each with the artefact that answers it here, or "not done" and why.

In our own short words. TRIPOD+AI (BMJ 2024;385:e078378) has 27 items. CLAIM is given in its 2020 form (42 items;
Mongan et al., Radiol Artif Intell 2020;2:e200029): the list of its 2024 update was not available in full. STARD-AI
(Nat Med 2025) adds 18 new or modified items to STARD 2015; its list was not available in full, so the 30 items of STARD
2015 stand here. An artefact is a section of the card, a file of this repository, or both; a test looks for each.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

NOT_DONE: Final = "not done"
_OF_EVALUATION: Final = "section Figures ("


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One item of a guideline."""

    number: str
    topic: str
    answer: str
    """`section X`, a file in back quotes, or "not done" with the reason. `section Figures (what)` is what only an
    evaluation has; `section Figures` alone is sealed with the bundle as well."""

    @property
    def done(self) -> bool:
        """Whether an artefact answers it."""
        return not self.answer.startswith(NOT_DONE)

    def in_card(self, *, evaluated: bool) -> Item:
        """The item as a card with or without an evaluation has to answer it."""
        if evaluated or _OF_EVALUATION not in self.answer:
            return self
        return replace(self, answer=f"{NOT_DONE}: the evaluation was not run for this card")


@dataclass(frozen=True, slots=True, kw_only=True)
class Guideline:
    """A list of items with what is known about its completeness."""

    name: str
    remark: str
    items: tuple[Item, ...]


_NO_STUDY: Final = f"{NOT_DONE}: no study of patients exists; simulated films have no "
_CARD_USE: Final = "section Use"
_DATA: Final = "section Data"
_MODEL: Final = "section Model"
_FIGURES: Final = "section Figures"
_FLOW: Final = "section Figures (flow)"
_ABLATION: Final = "section Ablation"
_LIMITS: Final = "section Limits"
_HOW: Final = "section How the figures are made, `deploy/docs/model.md`"
_CODE: Final = "section Making, `CONTRIBUTING.md`"
_FUNDING: Final = f"{NOT_DONE}: nobody has stated funding or interests for this project"
_PROTOCOL: Final = f"{NOT_DONE}: no study, so no protocol and no registration; the bars were fixed before measuring"


def _items(*rows: tuple[str, str, str]) -> tuple[Item, ...]:
    return tuple(Item(number=number, topic=topic, answer=answer) for number, topic, answer in rows)


TRIPOD_AI: Final = Guideline(
    name="TRIPOD+AI",
    remark="27 items with their parts, in our words (BMJ 2024;385:e078378).",
    items=_items(
        ("1", "title names development or evaluation, population, outcome", "section Identity"),
        ("2", "abstract", "section Summary"),
        ("3a", "health context and rationale", _CARD_USE),
        ("3b", "target population, purpose, users", _CARD_USE),
        ("3c", "known health inequalities", f"{NOT_DONE}: sex is analysed, no other inequality was looked at"),
        ("4", "objectives", "section Summary"),
        ("5a", "sources of data", _DATA),
        ("5b", "dates of data", f"{_NO_STUDY}dates; those of the public tables stand in their publications"),
        ("6a", "setting and centres", f"{_NO_STUDY}setting"),
        ("6b", "eligibility", f"{_CARD_USE}, `model/screener.py`"),
        ("6c", "treatments", f"{_NO_STUDY}treatments"),
        ("7", "data preparation", "`model/preprocess.py`, `model/train/augment.py`"),
        ("8a", "outcome and its assessment", f"{_DATA}, `model/train/dxa_label.py`"),
        ("8b", "assessors of a subjective outcome", f"{NOT_DONE}: the outcome is a number of the simulation or of DXA"),
        ("8c", "blinding of outcome assessment", f"{_NO_STUDY}assessors"),
        ("9a", "choice of predictors", "section Model, `model/clinical.py`"),
        ("9b", "definition of predictors", "`model/clinical.py`, `config/clinical_codes.toml`"),
        ("9c", "assessors of subjective predictors", f"{NOT_DONE}: no predictor is subjective"),
        ("10", "sample size", f"{_HOW}"),
        ("11", "missing data", f"{_CARD_USE}, `model/screener.py`"),
        ("12a", "how data were used and divided", f"{_DATA}, `model/train/split.py`"),
        ("12b", "handling of predictors", "`model/clinical_fit.py`"),
        ("12c", "type of model, building, internal validation", _MODEL),
        ("12d", "heterogeneity between clusters", f"{_NO_STUDY}centres"),
        ("12e", "performance measures", _HOW),
        (
            "12f",
            "model updating",
            f"{NOT_DONE}: nothing was updated; a site's local calibration is offered, not applied",
        ),
        ("12g", "how predictions were calculated", "`model/screener.py`, `model/fusion.py`"),
        ("13", "class imbalance", "`model/train/loop.py`, `model/fusion_fit.py`"),
        ("14", "fairness", "section Figures (by sex and age), `model/evaluation/subgroups.py`"),
        ("15", "output of the model and thresholds", _MODEL),
        ("16", "differences between development and evaluation data", _LIMITS),
        ("17", "ethical approval", f"{_NO_STUDY}persons; the table and the films are public"),
        ("18a", "funding", _FUNDING),
        ("18b", "conflicts of interest", _FUNDING),
        ("18c", "protocol", _PROTOCOL),
        ("18d", "registration", _PROTOCOL),
        ("18e", "sharing of data", f"{_DATA}, `model/phantom/cohort.py`"),
        ("18f", "sharing of code", _CODE),
        ("19", "patient and public involvement", f"{NOT_DONE}: none"),
        ("20a", "flow of participants", _FLOW),
        ("20b", "characteristics of participants", f"{_DATA}, `model/phantom/cohort.json`"),
        ("20c", "comparison of development and evaluation data", f"{NOT_DONE}: both are drawn by one simulation"),
        ("21", "participants and events in each analysis", _FIGURES),
        (
            "22",
            "full specification of the model",
            "`model/bundles/demo/clinical.json`, `model/bundles/demo/fusion.json`",
        ),
        ("23a", "performance with intervals, by subgroup", _FIGURES),
        ("23b", "heterogeneity in performance", f"{_NO_STUDY}centres"),
        ("24", "results of updating", f"{NOT_DONE}: nothing was updated"),
        ("25", "interpretation", _LIMITS),
        ("26", "limitations", _LIMITS),
        ("27a", "poor or missing input when used", "`model/gate.py`, `model/quality.py`"),
        ("27b", "interaction and expertise of users", "section Use, `deploy/docs/operate.md`"),
        ("27c", "next steps", "section Limits, `deploy/docs/model.md`"),
    ),
)

CLAIM: Final = Guideline(
    name="CLAIM",
    remark="The 42 items of 2020, in our words; the list of the 2024 update was not available in full.",
    items=_items(
        ("1", "title names the kind of AI", "section Identity"),
        ("2", "abstract", "section Summary"),
        ("3", "background and intended use", _CARD_USE),
        ("4", "objectives", "section Summary"),
        ("5", "prospective or retrospective", f"{_NO_STUDY}patients"),
        ("6", "goal of the study", "section Summary"),
        ("7", "data sources", _DATA),
        ("8", "eligibility", _CARD_USE),
        ("9", "preprocessing", "`model/preprocess.py`"),
        ("10", "selection of subsets", "`model/train/split.py`"),
        ("11", "definitions of data elements", "`model/domain.py`, `config/clinical_codes.toml`"),
        (
            "12",
            "de-identification",
            f"{NOT_DONE}: no patient data were used; the public films and table come without names",
        ),
        ("13", "missing data", f"{_CARD_USE}, `model/screener.py`"),
        ("14", "definition of the reference standard", f"{_DATA}, `model/train/dxa_label.py`"),
        ("15", "rationale for the reference standard", "`model/train/dxa_label.py`"),
        ("16", "source of the annotations", _DATA),
        ("17", "annotation tools", f"{NOT_DONE}: nothing was annotated by hand"),
        ("18", "variability of annotators", f"{NOT_DONE}: nothing was annotated by hand"),
        ("19", "sample size", _HOW),
        ("20", "partition of the data", f"{_DATA}, `model/train/split.py`"),
        ("21", "level at which partitions are disjoint", "`model/train/split.py`"),
        ("22", "description of the model", f"{_MODEL}, `model/image_net.py`"),
        ("23", "software", "section Making"),
        ("24", "initialisation", "section Making, `model/backbones.py`"),
        ("25", "training", "section Making, `model/train/loop.py`"),
        ("26", "selection of the final model", "`model/train/loop.py`, `model/train/measure.py`"),
        ("27", "ensembling", f"{NOT_DONE}: one network; its folds serve calibration or the choice of its form only"),
        ("28", "metrics", _HOW),
        ("29", "uncertainty", _HOW),
        ("30", "robustness", "section Figures (counterfactual, subgroups), section Ablation"),
        ("31", "explainability", "`model/runtime.py`, section Figures (attention in the HTML report)"),
        ("32", "test on external data", f"{NOT_DONE}: no public set of chest films with DXA was found"),
        ("33", "flow of participants", _FLOW),
        ("34", "demographic characteristics by partition", f"{NOT_DONE}: one simulation draws all partitions"),
        ("35", "performance on all partitions", _FIGURES),
        ("36", "estimates with precision", _FIGURES),
        ("37", "failure analysis", "section Figures (attention examples of both errors in the HTML report)"),
        ("38", "limitations", _LIMITS),
        ("39", "implications for practice", _LIMITS),
        ("40", "registration", _PROTOCOL),
        ("41", "access to protocol and software", _CODE),
        ("42", "funding", _FUNDING),
    ),
)

STARD: Final = Guideline(
    name="STARD-AI",
    remark=(
        "The 30 items of STARD 2015, in our words; the 18 that STARD-AI adds or changes were not available in full."
    ),
    items=_items(
        ("1", "title or abstract names a measure of accuracy", "section Summary"),
        ("2", "abstract", "section Summary"),
        ("3", "background, intended use of the test", _CARD_USE),
        ("4", "objectives", "section Summary"),
        ("5", "data collected before or after the tests", f"{_NO_STUDY}collection"),
        ("6", "eligibility", _CARD_USE),
        ("7", "how participants were found", f"{_NO_STUDY}participants"),
        ("8", "where and when", f"{_NO_STUDY}place and time"),
        ("9", "consecutive, random or convenience series", f"{_NO_STUDY}series; virtual patients are drawn at random"),
        ("10a", "index test", f"{_MODEL}, `model/screener.py`"),
        ("10b", "reference standard", f"{_DATA}, `model/train/dxa_label.py`"),
        ("11", "why this reference standard", "`model/train/dxa_label.py`"),
        ("12a", "cut-offs of the index test, fixed beforehand", f"{_MODEL}, `model/fusion_fit.py`"),
        ("12b", "cut-offs of the reference standard", "`model/train/dxa_label.py`"),
        ("13a", "what readers of the index test knew", "`model/domain.py`"),
        ("13b", "what assessors of the reference knew", f"{_NO_STUDY}assessors"),
        ("14", "methods for estimating accuracy", _HOW),
        ("15", "indeterminate results", _FIGURES),
        ("16", "missing data", f"{_CARD_USE}, `model/screener.py`"),
        ("17", "analyses of variability", "section Figures (subgroups)"),
        ("18", "sample size", _HOW),
        ("19", "flow of participants", _FLOW),
        ("20", "baseline characteristics", "`model/phantom/cohort.json`"),
        ("21a", "severity of disease", "section Figures (spectra)"),
        ("21b", "other diagnoses in those without", f"{_NO_STUDY}other diagnoses"),
        ("22", "interval between the tests", f"{_NO_STUDY}interval; a site's labels lie within 180 days"),
        ("23", "cross tabulation", "section Figures (operating points)"),
        ("24", "estimates with precision", _FIGURES),
        ("25", "adverse events", f"{_NO_STUDY}adverse events"),
        ("26", "limitations", _LIMITS),
        ("27", "implications for practice", _LIMITS),
        ("28", "registration", _PROTOCOL),
        ("29", "protocol", _PROTOCOL),
        ("30", "funding", _FUNDING),
    ),
)

GUIDELINES: Final = (TRIPOD_AI, CLAIM, STARD)
