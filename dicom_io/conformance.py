"""The DICOM conformance statement (PS3.2), made from what the program negotiates and writes, never by hand.

`osteon conformance` prints it; `deploy/docs/conformance.md` is that print with default settings, and a test keeps them
equal. A sentence may stand here only where no table of the code says it. Nothing is claimed that was not tried.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from pydicom.sr.coding import Code
from pydicom.uid import (
    UID,
    EncapsulatedPDFStorage,
    GrayscaleSoftcopyPresentationStateStorage,
    KeyObjectSelectionDocumentStorage,
    SecondaryCaptureImageStorage,
)

from config.settings import Settings
from dicom_io import (
    codes,
    encapsulated_pdf,
    heat_map,
    key_objects,
    negotiation,
    offer,
    page,
    presentation_state,
    rejection_note,
    sr_document,
    storage_scu,
    store_service,
    wording,
)
from dicom_io.commitment import PUSH_MODEL
from dicom_io.implementation import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME, MODEL_NAME
from dicom_io.scu_association import UNCOMPRESSED
from dicom_io.sr_class import SR_CLASSES
from dicom_io.syntaxes import TRANSFER_SYNTAXES

_OBJECTS: Final = (
    ("Structured report", tuple(SR_CLASSES.values()), "SR", sr_document.SERIES_NUMBER, ""),
    ("Report page", (SecondaryCaptureImageStorage,), "OT", page.SERIES_NUMBER, "page"),
    ("Attention map", (SecondaryCaptureImageStorage,), "OT", heat_map.SERIES_NUMBER, "heat_map"),
    (
        "Presentation state",
        (GrayscaleSoftcopyPresentationStateStorage,),
        "PR",
        presentation_state.SERIES_NUMBER,
        "gsps",
    ),
    ("Page as PDF", (EncapsulatedPDFStorage,), "DOC", encapsulated_pdf.SERIES_NUMBER, "pdf"),
    ("Key images", (KeyObjectSelectionDocumentStorage,), "KO", key_objects.SERIES_NUMBER, "kos"),
    ("Rejection note", (KeyObjectSelectionDocumentStorage,), "KO", rejection_note.SERIES_NUMBER, None),
)
"""What, as which classes, Modality, Series Number, and the setting of `report` that switches it; "" for
none, None for what is made at a withdrawal only."""
_HEX: Final = "0x{:04X}"
_OUTCOMES: Final = (
    (codes.ABOVE, codes.HIGH_RISK, codes.OSTEOPOROSIS.meaning, "probabilities, threshold"),
    (codes.BETWEEN, codes.MODERATE_RISK, "none", "probabilities, threshold"),
    (codes.BELOW, codes.LOW_RISK, "none", "probabilities, threshold"),
    (codes.NO_SCORE, codes.UNCERTAIN_RISK, "none", "none"),
    (codes.WITHDRAWN, codes.UNCERTAIN_RISK, "none", "none"),
)
_TEXT: Final = """\
# DICOM conformance statement

Printed by `osteon conformance` from what the program itself negotiates and writes (PS3.2). Without `--config` it
describes the default settings; with it, one site. The node takes chest radiographs by C-STORE, screens them, and
stores a structured report with a page for the eye. It is an aid: every object is UNVERIFIED, PRELIMINARY and, unless a
site states why not, for RESEARCH.

Implementation Class UID `{implementation_uid}`, Implementation Version Name `{implementation_name}`. Objects it made
carry Manufacturer `{manufacturer}` and Manufacturer's Model Name `{model_name}`; by these it knows its own when they
come back, and never screens them.

## Reception: SCP

AE title `{reception_ae}`, port {port}; PDUs up to {pdu} bytes; at most {associations} associations, {per_peer} of one
address; no asynchronous operations. TLS 1.2 and 1.3 (PS3.15 B.12, BCP 195) on a port of its own: {tls}. Senders are
known by AE title and network.

{offered}

Transfer syntaxes of the storage classes; radiographs are decoded from each of them:

{syntaxes}

C-STORE is answered Success only when the object is on disk and in the ledger. Storage Commitment as SCP: {commitment}.

{answers}

## Delivery: SCU

Calling AE title `{delivery_ae}`. One association for each report: companions first, the SR last. It may be requested
while the report is still being built, and is released unused after 5 s when none follows. Every class is
proposed in the object's own transfer syntax and in {uncompressed}. All three SR classes are proposed; the first of
{sr_classes} that the archive takes is sent, or the one the destination is pinned to (`sr_class`). RLE is undone for an
archive that does not take it.

No association that the node requests is secured: there is no DICOM over TLS as SCU, neither for storage, C-ECHO and
C-FIND nor for storage commitment. QIDO-RS is asked over HTTPS where its URL says so.

{proposed}

A frozen object is sent byte by byte as it was built, years later too; it is never built anew under its UID.

{reactions}

## Objects it makes

{objects}

Each object is of the source image's study; patient and study are the image's, never those of a clinical feed. Written
in Explicit VR Little Endian (pictures: RLE Lossless) and ISO_IR 192, or in the image's character set where that holds
all texts (`report.charset`). UIDs are `2.25.` with a UUIDv5, in the installation's namespace, over image and content:
the same content has the same UID. Times are in the image's Timezone Offset From UTC, else in the site's zone at the
time of the study, or of the report where the attribute cannot state that one (local mean time). One SR series for each
image: an amendment is its next instance and names its predecessors; each version of a page has a series of its own. A
result that is withdrawn is rejected by a note (IHE IOCM) and superseded by an SR that says so.

## The structured report

It follows TID 1500 under the title ({root.value}, DCM, "{root.meaning}"), with one TID 1410 group for the result (TID
4019 for the model, TID 1600 where the image states what it needs), and stays inside what Enhanced SR allows, so that
its tree is the same in all three classes. PixelMed's validator finds no error in it. It makes **no claim of conformance
to IHE AI Results**. Patient Characteristics is an extension of the template.

{outcomes}

A number is a percentage with as many decimals as it takes to keep its order to the threshold. An outcome below the
threshold excludes nothing and says so. Sentences are in the configured language, codes and their meanings in English.
Before it is sent, every SR is read back and checked; one that breaks a rule is not sent.

## Private codes

Coding scheme `{scheme}`, "{scheme_name}", declared in each SR's Coding Scheme Identification Sequence. A clinical
variable without a LOINC code has the code `V-` and its name.

{private}

## Not supported

Query/Retrieve as SCP, worklists, MPPS, printing, media, and DICOMweb as a server. QIDO-RS is used as a client to prove
deliveries where a destination names its address. Multi-frame images and views other than frontal end as not applicable.
"""


def statement(settings: Settings) -> str:
    """The statement in Markdown for one configuration."""
    wanted = settings.reception
    return _TEXT.format(
        implementation_uid=IMPLEMENTATION_CLASS_UID,
        implementation_name=IMPLEMENTATION_VERSION_NAME,
        manufacturer=wording.MANUFACTURER,
        model_name=MODEL_NAME,
        reception_ae=wanted.ae_title,
        port=wanted.port,
        pdu=wanted.maximum_pdu_bytes,
        associations=wanted.maximum_associations,
        per_peer=wanted.maximum_associations_per_peer,
        tls="on" if wanted.tls.enabled else "off (`reception.tls`)",
        commitment="on" if wanted.commitment else "off (`reception.commitment`)",
        offered=_offered(settings),
        syntaxes="\n".join(f"- {UID(str(one)).name} `{one}`" for one in TRANSFER_SYNTAXES),
        answers=_answers(),
        delivery_ae=settings.delivery.ae_title,
        uncompressed=" and ".join(one.name for one in UNCOMPRESSED),
        sr_classes=", ".join(f"`{one}`" for one in settings.report.sr_classes),
        proposed=_proposed(),
        reactions=_reactions(),
        objects=_objects(settings),
        root=codes.IMAGING_MEASUREMENT_REPORT,
        outcomes=_outcomes(),
        scheme=codes.PRIVATE_SCHEME,
        scheme_name=codes.PRIVATE_SCHEME_NAME,
        private=_table(("Code value", "Code meaning"), [(f"`{one.value}`", one.meaning) for one in private_codes()]),
    )


def private_codes() -> tuple[Code, ...]:
    """Every code of the private scheme that can stand in an object or a message, by value."""
    known = (value for value in vars(codes).values() if isinstance(value, Code))
    return tuple(sorted(code for code in known if code.scheme_designator == codes.PRIVATE_SCHEME))


def _offered(settings: Settings) -> str:
    rows = [_named(abstract, len(syntaxes)) for abstract, syntaxes in offer.offered(settings.reception)]
    if settings.reception.commitment:
        rows.append(_named(PUSH_MODEL, len(UNCOMPRESSED)))
    return _table(("SOP class", "UID", "Transfer syntaxes"), rows)


def _answers() -> str:
    answers = (
        (store_service.SUCCESS, "kept; a duplicate too"),
        (store_service.OUT_OF_RESOURCES, "not kept for want of room or because of a fault; send it again"),
        (store_service.DOES_NOT_MATCH, "object and request name different instances or classes"),
        (store_service.CANNOT_UNDERSTAND, "no readable dataset, or without the UIDs that name it"),
    )
    return _table(("Status", "Meaning"), [(_HEX.format(status), meaning) for status, meaning in answers])


def _proposed() -> str:
    results = dict.fromkeys(str(one) for _, classes, *_ in _OBJECTS for one in classes)
    return _table(
        ("SOP class", "UID", "For"),
        [
            *(_named(one, "results") for one in results),
            *(_named(one, "proof of delivery (`proof`)") for one in negotiation.PROVING),
            _named(offer.VERIFICATION, "whether an archive answers again"),
        ],
    )


def _reactions() -> str:
    rejected = ", ".join(_HEX.format(one) for one in storage_scu.ALREADY_REJECTED)
    rows = (
        (f"{_HEX.format(store_service.SUCCESS)}, 0x0111", "the archive has it"),
        ("0xBxxx, 0x0001, 0x0107, 0x0116", "stored; the remark is logged"),
        (rejected, "a rejection note known before: success"),
        (_HEX.format(storage_scu.SUBSEQUENT_OCCURRENCE), "rejected there earlier: no further try, a person is told"),
        (_HEX.format(storage_scu.NO_SUCH_OBJECT), "a note for what is not there: success if it was never delivered"),
        (_HEX.format(storage_scu.CLASS_CONFLICT), "a note with another class: no further try, a person is told"),
        ("0xA7xx otherwise, 0x0110, 0x0213, no answer", "tried again with growing pauses"),
        ("any other", "tried three times, then a person decides"),
    )
    return _table(("Status", "What the node does"), rows)


def _objects(settings: Settings) -> str:
    rows = [
        (name, ", ".join(UID(str(one)).name for one in classes), modality, number, _made(settings, switch))
        for name, classes, modality, number, switch in _OBJECTS
    ]
    return _table(("Object", "SOP class", "Modality", "Series", "Made"), rows)


def _made(settings: Settings, switch: str | None) -> str:
    if not switch:
        return "at a withdrawal" if switch is None else "always"
    return f"{'on' if getattr(settings.report, switch) else 'off'} (`report.{switch}`)"


def _outcomes() -> str:
    rows = [
        (f"`{category.value}`", category.meaning, f"{risk.value} {risk.meaning}", finding, numbers)
        for category, risk, finding, numbers in _OUTCOMES
    ]
    return _table(("Code", "Screening category", "Risk", "Finding", "Numbers"), rows)


def _named(abstract: str, more: object) -> tuple[str, str, object]:
    return UID(str(abstract)).name, str(abstract), more


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    return "\n".join([*lines, *(f"| {' | '.join(map(str, row))} |" for row in rows)])
