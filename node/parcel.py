"""What one destination gets of one version of a report: which objects, in which class, in which order.

The frozen SR is an Enhanced one; a destination that does not take that class gets a variant, frozen before it is sent
(structured-report.md section 2). What was sent once under a UID is sent again as the same bytes. Objects whose class a
destination does not take are left out and named, so that a person can be told: a page alone is better than silence.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from dicom_io.errors import PeerRefused
from dicom_io.negotiation import SR_UIDS, Accepted, sr_class
from dicom_io.sr_class import SR_CLASSES, in_class
from dicom_io.storage_scu import OutgoingObject
from node.read_back import Kept
from node.store import destinations, outbox, report_objects, sent, variants
from node.store.destinations import DestinationState
from node.store.engine import Connection
from node.store.outbox import Delivery
from node.store.report_objects import OutboxObject
from node.store.sent import SentObject

_BY_UID = {uid: name for name, uid in SR_CLASSES.items()}
_WORTH_SENDING = frozenset(("note", "sr", "page"))
"""What says something by itself; a heat map alone does not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel:
    """One object with the name of its kind."""

    kind: str
    outgoing: OutgoingObject
    variant: bool = False
    """Not one of the outbox's own objects: frozen beside them."""

    @property
    def sop_class_uid(self) -> str:
        """For the ledger, which freezes it."""
        return self.outgoing.sop_class_uid

    @property
    def sop_instance_uid(self) -> str:
        """For the ledger."""
        return self.outgoing.sop_instance_uid

    @property
    def part10(self) -> bytes:
        """For the ledger."""
        return self.outgoing.part10


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What the ledger holds of one delivery."""

    delivery: Delivery
    destination: DestinationState
    objects: tuple[OutboxObject, ...]
    """In the order of sending; a rejection note first."""
    sent: tuple[SentObject, ...]
    """Everything of the case that this destination has, may have, or is meant to get."""
    earlier: Mapping[str, tuple[str, str]]
    """SOP Instance UID of a frozen SR of an earlier version -> class and UID under which the destination has it."""
    variants: Mapping[str, OutboxObject]
    """SRs in other classes that were frozen for this destination before."""

    @property
    def classes(self) -> list[tuple[str, str]]:
        """SOP class and transfer syntax of each object."""
        return [(one.sop_class_uid, outgoing(one).transfer_syntax_uid) for one in self.objects]

    def kept(self, objects: Iterable[SentObject]) -> tuple[Kept, ...]:
        """`objects` with the keys by which a destination is asked for them."""
        known = {one.sop_instance_uid: one for one in (*self.objects, *self.variants.values())}
        headers = (outgoing(known[one.sop_instance_uid]).keys for one in objects)
        return tuple(Kept(study_uid=study, series_uid=series, sop_instance_uid=uid) for study, series, uid in headers)

    @property
    def stored(self) -> frozenset[str]:
        """UIDs that the destination answered for already."""
        return frozenset(one.sop_instance_uid for one in self.sent if one.stored)

    @property
    def sent_as(self) -> str:
        """UID of the SR of this version that was sent there before; empty when none was."""
        return next((s.sop_instance_uid for s in self._reports if s.version == self.delivery.version), "")

    @property
    def last_class(self) -> str:
        """Class of the latest SR of the case that was sent there; empty when none was."""
        reports = self._reports
        return max(reports, key=lambda one: one.version).sop_class_uid if reports else ""

    @property
    def _reports(self) -> list[SentObject]:
        return [one for one in self.sent if one.kind == "sr" and one.sends]


def load(c: Connection, case_id: int, version: int, name: str) -> Load:
    """Read what a delivery needs.

    Raises:
        NoSuchCase: no such delivery was opened.
        DamagedObject: frozen bytes no longer have their digest.

    """
    known = sent.of_case(c, case_id, destination=name)
    of_version = [one for one in known if one.version == version]
    notes = [variants.find(c, one.sop_instance_uid) for one in of_version if one.kind == "note"]
    others = [variants.find(c, one.sop_instance_uid) for one in of_version if one.kind == "sr"]
    return Load(
        delivery=outbox.one(c, case_id, version, name),
        destination=destinations.get(c, name),
        objects=(*(note for note in notes if note is not None), *report_objects.objects(c, case_id, version)),
        sent=known,
        earlier=_earlier(
            c, case_id, [one for one in known if one.kind == "sr" and one.version < version and one.sends]
        ),
        variants={one.sop_instance_uid: one for one in others if one is not None},
    )


def pack(what: Load, took: Accepted, preference: Sequence[str]) -> tuple[tuple[Parcel, ...], tuple[str, ...]]:
    """What goes, in order, and the kinds that are left out because the destination does not take their class.

    `preference`: SOP Class UIDs of SRs. The class this destination already has the report in comes before them, where
    it is among them: its versions should not differ in class.

    Raises:
        PeerRefused: nothing that says anything by itself would be left.

    """
    parcels: list[Parcel] = []
    left_out: list[str] = []
    for item in what.objects:
        packed = _sr(what, item, took, preference) if item.sop_class_uid in SR_UIDS else _other(item, took)
        if packed is None:
            left_out.append(item.kind)
        else:
            parcels.append(packed)
    if not _WORTH_SENDING & {one.kind for one in parcels}:
        msg = f"{what.delivery.destination}: SOP class refused: {', '.join(left_out)}"
        raise PeerRefused(msg)
    return tuple(parcels), tuple(left_out)


def class_sent(objects: Sequence[SentObject], version: int) -> str:
    """Name of the SR class in which a destination got a version; `none` when it got it without an SR."""
    reports = [one for one in objects if one.version == version and one.kind == "sr" and one.stored]
    return _BY_UID[reports[-1].sop_class_uid] if reports else "none"


def outgoing(item: OutboxObject) -> OutgoingObject:
    """A frozen object for the wire."""
    return OutgoingObject(sop_class_uid=item.sop_class_uid, sop_instance_uid=item.sop_instance_uid, part10=item.part10)


def _sr(what: Load, item: OutboxObject, took: Accepted, preference: Sequence[str]) -> Parcel | None:
    """The SR in a class the destination takes; the one it may have already, where it still takes that."""
    before = what.variants.get(what.sent_as) or (item if what.sent_as == item.sop_instance_uid else None)
    if before is not None and took.takes(before.sop_class_uid):
        return Parcel(kind=item.kind, outgoing=outgoing(before), variant=before is not item)
    wanted = (what.last_class, *preference) if what.last_class in preference else preference
    chosen = sr_class(took, wanted)
    if chosen is None:
        return None
    if chosen == item.sop_class_uid and all(uid == instance for uid, (_, instance) in what.earlier.items()):
        return Parcel(kind=item.kind, outgoing=outgoing(item))
    made = in_class(item.part10, chosen, earlier=what.earlier)
    wire = OutgoingObject(sop_class_uid=made.sop_class_uid, sop_instance_uid=made.sop_instance_uid, part10=made.part10)
    return Parcel(kind=item.kind, outgoing=wire, variant=made.sop_instance_uid != item.sop_instance_uid)


def _other(item: OutboxObject, took: Accepted) -> Parcel | None:
    wire = outgoing(item)
    return Parcel(kind=item.kind, outgoing=wire) if took.takes(item.sop_class_uid, wire.transfer_syntax_uid) else None


def _earlier(c: Connection, case_id: int, reports: Sequence[SentObject]) -> dict[str, tuple[str, str]]:
    known: dict[str, tuple[str, str]] = {}
    for one in reports:
        frozen = next((o for o in report_objects.frozen(c, case_id, one.version) if o.kind == "sr"), None)
        if frozen is not None:
            known[frozen.sop_instance_uid] = (one.sop_class_uid, one.sop_instance_uid)
    return known
