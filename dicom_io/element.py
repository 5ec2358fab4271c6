"""Reading one element of a header that may be wrong in any way.

Every value of a received header passes through here: garbage becomes the empty string or None, never an exception and
never a text on stderr. What the value means is decided by the caller.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator

from pydicom import config
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence


def expect_defects() -> None:
    """Tell pydicom that defects of values are ours to judge: its own warnings would print the values (names, dates)."""
    config.settings.reading_validation_mode = config.IGNORE


def value(dataset: Dataset, keyword: str) -> object:
    """The element's decoded value, the first of several; None when absent, empty or undecodable."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = dataset.get(keyword)
    except Exception:  # noqa: BLE001 - pydicom raises whatever a damaged value provokes; here it all means "no value"
        return None
    if isinstance(found, MultiValue | list | tuple) and not isinstance(found, Sequence):
        found = found[0] if len(found) else None
    return found


def text(dataset: Dataset, keyword: str) -> str:
    """The element as text without padding; empty when absent or undecodable."""
    found = value(dataset, keyword)
    if isinstance(found, bytes):
        found = found.decode("latin-1")
    if found is None or isinstance(found, Sequence | Dataset):
        return ""
    return str(found).strip(" \0\t\r\n")


def number(dataset: Dataset, keyword: str) -> float | None:
    """The element as a finite number, or None."""
    try:
        found = float(text(dataset, keyword))
    except ValueError:
        return None
    return found if math.isfinite(found) else None


def integer(dataset: Dataset, keyword: str) -> int | None:
    """The element as an integer, or None."""
    found = number(dataset, keyword)
    return int(found) if found is not None and found.is_integer() else None


def numbers(dataset: Dataset, keyword: str) -> tuple[float, ...]:
    """All values of a numeric element; empty as soon as one of them is no finite number."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = dataset.get(keyword)
            several = found if isinstance(found, MultiValue | list | tuple) else [found]
            values = tuple(float(one) for one in several)
    except Exception:  # noqa: BLE001 - as in `value`
        return ()
    return values if all(math.isfinite(one) for one in values) else ()


def items(dataset: Dataset, keyword: str) -> Iterator[Dataset]:
    """The items of a sequence; none when it is absent or damaged."""
    found = value(dataset, keyword)
    if isinstance(found, Sequence):
        yield from found
