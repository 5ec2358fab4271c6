"""A report as ORU^R01, in the shape of IHE RAD-128 (clinical-data.md section 13): pure, the same input the same bytes.

It goes to the worklist of a person and repeats what the structured report says, in its codes and its words. Everything
is R (results stored, not verified) and never P or F: archives take an SR of a final message for a verified one. Patient
data are those of the image. No reference range is stated: whatever lies inside one reads as normal. A result that is
taken back names the same observations with OBX-11 D or W and no values. So does what an earlier version stated and this
one does not: a receiver files by OBX-3, and there a probability that nothing speaks of any more would stand on.

OS-SR-UID is the UID of the SR as it was frozen. A destination that gets it in another class has it under another UID,
which depends on what it took of the versions before, and the message is fixed before anything is sent.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from dicom_io import codes
from dicom_io.report_summary import Coded, Measured, ReportSummary
from node.feeds.hl7_encoding import CODECS, escape
from node.feeds.hl7_meaning import UNVERIFIED, Meaning

EQUIPMENT: Final = "OSTEON"
_Row = tuple[str, str, str, str, str, list[str]]
"""(type, name, value, unit, flag, OBX-14 to OBX-19) of an observation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """Everything of a message that the report does not say."""

    receiver: str
    """Name of the receiver in the settings; part of the control id."""
    application: str
    facility: str
    receiving_application: str
    receiving_facility: str
    charset: str
    """MSH-18."""
    procedure: str
    """OBR-4, as in the settings."""
    placer: str = ""
    """Order numbers of the accession, as the order stated them; empty when no order is known."""
    filler: str = ""
    taken_at: dt.datetime | None = None
    """When the image was taken, aware; None: as the report's study."""


def control_id(report: ReportSummary, receiver: str, meaning: Meaning) -> str:
    """MSH-10, at most 20 characters: every message has its own, and a resend the same."""
    named = f"{report.sr_uid}|{receiver}|{meaning}"
    return "OSN" + hashlib.sha256(named.encode()).hexdigest()[:17].upper()


def result_message(
    report: ReportSummary,
    envelope: Envelope,
    meaning: Meaning,
    at: dt.datetime,
    earlier: Sequence[ReportSummary] = (),
) -> bytes:
    """The message, without its frame.

    Args:
        report: the version that is told, or taken back.
        envelope: everything the report does not say.
        meaning: what the message does.
        at: MSH-7, aware; the report's time, or when it was taken back.
        earlier: versions that the receiver has or may have been told, newest first.

    """
    when = _moment(envelope.taken_at or report.study_at or report.at)
    segments = [
        _header(report, envelope, meaning, at),
        ["PID", "1", "", _identifier(report), "", _names(report, envelope.charset), "", *_person(report)],
        ["PV1", "1", "U"],
        ["ORC", "SC", _entity(envelope.placer), _entity(envelope.filler), "", "CM"],
        _request(report, envelope, when),
        ["TQ1", "1", "", "", "", "", "", when, "", "R^Routine^HL70485"],
        *_observations(report, earlier, meaning, when),
    ]
    text = "".join("|".join(fields).rstrip("|") + "\r" for fields in segments)
    return text.encode(CODECS[envelope.charset], errors="replace")


def _header(report: ReportSummary, envelope: Envelope, meaning: Meaning, at: dt.datetime) -> list[str]:
    """MSH-1 is the separator that joins the fields. MSH-15 AL, MSH-16 NE: one accept acknowledgement is awaited."""
    parties = (envelope.application, envelope.facility, envelope.receiving_application, envelope.receiving_facility)
    control = control_id(report, envelope.receiver, meaning)
    head = ["MSH", "^~\\&", *map(escape, parties), _moment(at), "", "ORU^R01^ORU_R01", control, "P", "2.5.1"]
    return [*head, "", "", "AL", "NE", "", envelope.charset]


def _request(report: ReportSummary, envelope: Envelope, when: str) -> list[str]:
    request = ["OBR", "1", _entity(envelope.placer), _entity(envelope.filler), envelope.procedure, "", "", when]
    request += [""] * 10
    request += [escape(report.accession), escape(report.procedure_id), "", "", _moment(report.at), "", "RAD"]
    return [*request, UNVERIFIED]


def _entity(text: str) -> str:
    """EI of an order number as `node.feeds.hl7_values.entity` gives it."""
    return _joined(text.split("^"))


def _identifier(report: ReportSummary) -> str:
    """CX of the image's Patient ID with its issuer; empty where the image has none."""
    if not report.patient.identifiers:
        return ""
    identifier = report.patient.identifiers[0]
    authority = identifier.authority
    named = (authority.namespace, authority.universal_id, authority.universal_id_type)
    issuer = "&".join(escape(part) for part in named).rstrip("&")
    return f"{escape(identifier.value)}^^^{issuer}^MR"


def _names(report: ReportSummary, charset: str) -> str:
    """XPN of each component group of the name; what the character set cannot write is left out, or `?` in Latin."""
    written = ((kind, _name(group, kind)) for group, kind in zip(report.names, "AIP", strict=False) if group)
    kept = [name for kind, name in written if kind == "A" or _fits(name, charset)]
    return "~".join(kept) if len(kept) > 1 else "".join(kept).removesuffix("^A")


def _name(group: str, kind: str) -> str:
    """PN (PS3.5 6.2.1.1: prefix before suffix) -> XPN (suffix before prefix)."""
    family, given, middle, prefix, suffix, *_ = [*map(escape, group.split("^")), "", "", "", "", ""]
    return f"{family}^{given}^{middle}^{suffix}^{prefix}^^L^{kind}"


def _fits(text: str, charset: str) -> bool:
    try:
        text.encode(CODECS[charset])
    except UnicodeEncodeError:
        return False
    return True


def _person(report: ReportSummary) -> list[str]:
    born = report.patient.birth_date
    return [born.strftime("%Y%m%d") if born else "", report.patient.sex.value]


def _observations(
    report: ReportSummary, earlier: Sequence[ReportSummary], meaning: Meaning, when: str
) -> Iterator[list[str]]:
    yield ["OBX", "1", "ST", _code(_own(codes.DICOM_STUDY)), "", report.study_uid, *[""] * 5, "O"]
    void = Meaning.DELETED if meaning is Meaning.RESULT else meaning
    rows = [(row, meaning) for row in _results(report, when)]
    rows += [(row, void) for row in _left_out(report, earlier, when)]
    for number, ((kind, name, value, unit, flag, more), does) in enumerate(rows, 2):
        stated = [value, unit, "", flag] if does is Meaning.RESULT else ["", "", "", ""]
        yield ["OBX", str(number), kind, name, "1", *stated, "", "", does.value, "", "", *more]


def _left_out(report: ReportSummary, earlier: Sequence[ReportSummary], when: str) -> Iterator[_Row]:
    """Observations of earlier versions that this one does not have, each as it was told last."""
    named = {row[1] for row in _results(report, when)}
    for row in (row for one in earlier for row in _results(one, when)):
        if row[1] not in named:
            named.add(row[1])
            yield row


def _results(report: ReportSummary, when: str) -> Iterator[_Row]:
    """Each observation. ABOVE is flagged, nothing else is."""
    made = _moment(report.at)
    seen, scored = [when, "", "", "", EQUIPMENT, made], [when, "", "", _method(report), EQUIPMENT, made]
    summary = f"{_code(_own(codes.FINDINGS))}^{_code(_own(codes.SUMMARY))}"
    flagged = report.category is not None and report.category.value == codes.ABOVE.value
    yield "TX", summary, escape(report.comment), "", "A" if flagged else "", seen
    for number in report.numbers:
        yield "NM", _code(number.name), number.value, _unit(number), "", scored
    for name, coded in ((codes.CATEGORY, report.category), (codes.INPUTS_USED, report.inputs)):
        if coded is not None:
            yield "CE", _code(_own(name)), _code(coded), "", "", seen
    yield "TX", _code(_own(codes.DISCLAIMER)), escape(report.disclaimer), "", "", seen
    yield "RP", _code(_own(codes.SR_UID)), f"{report.sr_uid}^^Application^DICOM", "", "", seen


def _method(report: ReportSummary) -> str:
    """OBX-17: which model made the number."""
    return _joined((f"M-{report.model_version}", report.model_name, codes.PRIVATE_SCHEME))


def _unit(number: Measured) -> str:
    return _joined((number.unit.value, number.unit.meaning, number.unit.scheme))


def _own(code: tuple[str, str, str, str | None]) -> Coded:
    value, scheme, meaning, _ = code
    return Coded(value=value, scheme=scheme, meaning=meaning)


def _code(code: Coded) -> str:
    return _joined((code.value, code.meaning, code.scheme))


def _joined(parts: Iterable[str]) -> str:
    return "^".join(map(escape, parts))


def _moment(at: dt.datetime) -> str:
    """DTM to the millisecond only where there are any, with the offset."""
    fraction = f".{at.microsecond // 1000:03d}" if at.microsecond else ""
    return at.strftime("%Y%m%d%H%M%S") + fraction + at.strftime("%z")[:5]
