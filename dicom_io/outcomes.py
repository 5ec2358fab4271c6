"""What a report speaks of beside a score: an image not analysed, an earlier result withdrawn; and the image itself.

No statement holds a number that looks like a score, or says anything about the patient's bones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from model.domain import ModelFacts, Reason, Sex


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


class Analysed(Protocol):
    """All that an SR says of the radiograph itself, which therefore need not be at hand with its pixels."""

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)."""

    @property
    def sex(self) -> Sex:
        """As its header states it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFacts:
    """A radiograph without its pixels."""

    shape: tuple[int, int]
    sex: Sex
