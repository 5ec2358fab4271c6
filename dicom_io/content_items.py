"""Content items as the reports use them: terse constructors over highdicom's, and the walk through a finished tree.

Every container is SEPARATE: with highdicom's CONTINUOUS, `dsr2html` drops all labels and prints bare values (trap H2).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
from highdicom.sr import (
    CodeContentItem,
    ContainerContentItem,
    ContentItem,
    ContentSequence,
    ImageContentItem,
    NumContentItem,
    ScoordContentItem,
    TextContentItem,
)
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as DatasetSequence
from pydicom.sr.coding import Code

from dicom_io import codes

CONTAINS: Final = "CONTAINS"
MODIFIES: Final = "HAS CONCEPT MOD"
CONTEXT: Final = "HAS OBS CONTEXT"
PROPERTY: Final = "HAS PROPERTIES"
ACQUISITION: Final = "HAS ACQ CONTEXT"
Point = tuple[float, float]
"""(column, row) in pixels of the source image."""


def container(
    name: Code, items: Sequence[ContentItem], *, template: str | None = None, relationship: str | None = CONTAINS
) -> ContainerContentItem:
    """A CONTAINER of `items`."""
    made = ContainerContentItem(name, is_content_continuous=False, template_id=template, relationship_type=relationship)
    # highdicom makes a ContentSequence of whatever is set here; from one that is one already, it would do so twice.
    made.ContentSequence = DatasetSequence(items)
    return made


def code(name: Code, value: Code, relationship: str = CONTAINS) -> CodeContentItem:
    """A CODE."""
    return CodeContentItem(name, value, relationship)


def text(name: Code, value: str | None, relationship: str = CONTAINS) -> TextContentItem:
    """A TEXT; highdicom would write None as the word (trap H6)."""
    if value is None:
        msg = f"{name.value}: no text"
        raise TypeError(msg)
    return TextContentItem(name, value, relationship)


def number(name: Code, value: Any, unit: Code) -> NumContentItem:
    """A NUM of a finite number; highdicom would write True as 1.0 and refuses numpy scalars (trap H4)."""
    if isinstance(value, bool | np.bool_) or not math.isfinite(value):
        msg = f"{name.value}: {value!r} is not a finite number"
        raise ValueError(msg)
    return NumContentItem(name, float(value), unit, relationship_type=CONTAINS)


def region(points: Sequence[Point], sop_class: str, sop_instance: str) -> ScoordContentItem:
    """A closed POLYLINE in the image named; highdicom checks neither closure nor bounds (trap H9).

    Raises:
        ValueError: fewer than three corners, or the last point is not the first.

    """
    if len(points) < 4 or points[0] != points[-1]:  # noqa: PLR2004 - a triangle, closed
        msg = "the region is not closed"
        raise ValueError(msg)
    made = ScoordContentItem(codes.IMAGE_REGION, "POLYLINE", np.array(points, float), relationship_type=CONTAINS)
    image = ImageContentItem(codes.SOURCE, sop_class, sop_instance, relationship_type="SELECTED FROM")
    made.ContentSequence = ContentSequence([image])
    return made


def separate(item: Dataset) -> None:
    """Make every container of the tree SEPARATE, also those highdicom built."""
    for one in (item, *walk(item)):
        if one.ValueType == "CONTAINER":
            one.ContinuityOfContent = "SEPARATE"


def walk(item: Dataset) -> Iterator[Dataset]:
    """Every content item below `item`, in tree order."""
    for child in item.get("ContentSequence", []):
        yield child
        yield from walk(child)


def concept(item: Dataset) -> tuple[str, str] | None:
    """Code value and scheme of the item's name; None where it has none."""
    found = item.get("ConceptNameCodeSequence")
    return (found[0].get("CodeValue"), found[0].CodingSchemeDesignator) if found else None


def named(items: Sequence[Dataset], name: Code) -> list[Dataset]:
    """Those of `items` whose concept is `name`."""
    wanted = (name.value, name.scheme_designator)
    return [item for item in items if concept(item) == wanted]
