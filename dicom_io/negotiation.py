"""What one association for a report proposes, and what of it the archive took (structured-report.md section 2).

All three SR classes are proposed with the companions' classes, each in the object's own transfer syntax and in Explicit
and Implicit VR Little Endian; beside them the services that could prove the delivery, so that nobody need ask for them
on an association of its own. Which class a report gets is decided from the answer, before the first object is sent.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from pydicom import uid
from pynetdicom.association import Association

from dicom_io.commitment import PUSH_MODEL
from dicom_io.scu_association import UNCOMPRESSED
from dicom_io.sr_class import SR_CLASSES

STUDY_ROOT_FIND: Final = uid.UID("1.2.840.10008.5.1.4.1.2.2.1")
"""Study Root Query/Retrieve Information Model - FIND (PS3.4 C.6.2)."""
PROVING: Final = (PUSH_MODEL, STUDY_ROOT_FIND)
SR_UIDS: Final = frozenset(SR_CLASSES.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """The abstract and transfer syntaxes an archive accepted."""

    pairs: frozenset[tuple[str, str]]

    def takes(self, sop_class: str, syntax: str = "") -> bool:
        """Whether an object of that class has a way; `syntax`: its own transfer syntax, where it is a compressed one.

        A compressed object may be sent uncompressed, an uncompressed one never compressed.
        """
        ways = {str(one) for one in (syntax, *UNCOMPRESSED) if one}
        return any(abstract == sop_class and transfer in ways for abstract, transfer in self.pairs)

    def offers(self, abstract: str) -> bool:
        """Whether the archive provides a service."""
        return any(one == abstract for one, _ in self.pairs)


def proposal(objects: Iterable[tuple[str, str]], *, proving: bool) -> tuple[tuple[str, str], ...]:
    """(abstract, transfer) syntaxes to propose for `objects`, pairs of SOP class and transfer syntax.

    An SR among them brings all three SR classes. `proving`: propose storage commitment and query too.
    """
    pairs: dict[tuple[str, str], None] = {}
    for sop_class, syntax in objects:
        classes = SR_CLASSES.values() if sop_class in SR_UIDS else (sop_class,)
        for one, transfer in itertools.product(classes, (syntax, *UNCOMPRESSED)):
            pairs[str(one), str(transfer)] = None
    if proving:
        pairs |= dict.fromkeys((str(one), str(transfer)) for one in PROVING for transfer in UNCOMPRESSED)
    return tuple(pairs)


def accepted(association: Association) -> Accepted:
    """What the archive took of the proposal."""
    return Accepted(
        pairs=frozenset(
            (str(context.abstract_syntax), str(context.transfer_syntax[0])) for context in association.accepted_contexts
        )
    )


def sr_class(took: Accepted, preference: Sequence[str]) -> str | None:
    """The first of the SOP Class UIDs in `preference` that the archive takes; None when it takes none of them."""
    return next((one for one in preference if took.takes(one)), None)
