"""What a report can say that is no score: the image was not analysed, or an earlier result is withdrawn.

Neither holds a number that looks like a score, and neither says anything about the patient's bones.
"""

from __future__ import annotations

from dataclasses import dataclass

from model.domain import ModelFacts, Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class NotAnalysed:
    """The image ended without a score."""

    reasons: tuple[Reason, ...]
    """At least one."""
    model: ModelFacts
    """The model that would have spoken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdrawn:
    """A person took the earlier result back."""

    reason: str
    """The person's own words, one line."""
    model: ModelFacts
    """The model whose result it was."""


Statement = NotAnalysed | Withdrawn
