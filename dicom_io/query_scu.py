"""Query SCU: C-FIND in the study root model (PS3.4 C.4.1), for the proof of deliveries and for reconciliation.

One question, a level and its keys, gives the matching datasets. Hierarchical as the standard demands it: below STUDY
the unique keys of the levels above must be among the keys. What the answers mean is the caller's business.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, Literal

from pydicom.dataset import Dataset
from pynetdicom.association import Association

from config.settings import Delivery, Destination
from dicom_io.element import expect_defects
from dicom_io.errors import PeerRefused, PeerUnavailable
from dicom_io.negotiation import STUDY_ROOT_FIND
from dicom_io.scu_association import UNCOMPRESSED, associated

Level = Literal["STUDY", "SERIES", "IMAGE"]
_PENDING: Final = (0xFF00, 0xFF01)
_SUCCESS: Final = 0x0000
_TRY_AGAIN: Final = (0xA700, 0x0110, 0x0213)


class Queries:
    """An open association for questions."""

    def __init__(self, association: Association, to: Destination) -> None:
        self._association = association
        self._to = to

    def find(
        self, level: Level, keys: Mapping[str, str | Sequence[str]], *, limit: int | None = None
    ) -> tuple[Dataset, ...]:
        """Return what matches `keys`, by keyword; an empty value asks for that attribute to be returned.

        `limit`: more answers than that are not waited for, and the association is given up.

        Raises:
            PeerUnavailable: no answer, or out of resources.
            PeerRefused: the question was understood and declined.

        """
        found: list[Dataset] = []
        try:
            for status, identifier in self._association.send_c_find(_identifier(level, keys), STUDY_ROOT_FIND):
                code = status.get("Status")
                if code in _PENDING and identifier is not None:
                    found.append(identifier)
                    if limit is not None and len(found) >= limit:
                        self._association.abort()
                        break
                elif code != _SUCCESS:
                    raise _unanswered(code, str(status.get("ErrorComment", "")), self._to)
        except RuntimeError as error:  # the association ended between two questions
            msg = f"{self._to.name}: the association ended"
            raise PeerUnavailable(msg) from error
        return tuple(found)


@contextlib.contextmanager
def queries(to: Destination, settings: Delivery) -> Iterator[Queries]:
    """Open an association for questions.

    Raises:
        PeerUnavailable: not reachable or busy.
        PeerRefused: it rejects us, or answers no C-FIND.

    """
    expect_defects()
    with associated([(STUDY_ROOT_FIND, syntax) for syntax in UNCOMPRESSED], to, settings) as association:
        yield Queries(association, to)


def _identifier(level: Level, keys: Mapping[str, str | Sequence[str]]) -> Dataset:
    identifier = Dataset()
    identifier.SpecificCharacterSet = "ISO_IR 192"
    identifier.QueryRetrieveLevel = level
    for keyword, value in keys.items():
        setattr(identifier, keyword, value if isinstance(value, str) else list(value))
    return identifier


def _unanswered(code: int | None, comment: str, to: Destination) -> PeerUnavailable | PeerRefused:
    if code is None:
        return PeerUnavailable(f"{to.name}: no answer to C-FIND, or the association was aborted")
    detail = f"{to.name}: C-FIND answered {code:04X}" + (f" ({comment})" if comment else "")
    fault = PeerUnavailable(detail) if code in _TRY_AGAIN else PeerRefused(detail)
    fault.status = code
    return fault
