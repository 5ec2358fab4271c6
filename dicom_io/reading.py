"""A finished result for a person without a DICOM viewer: the SR as indented text, the page as a PNG picture.

For `osteon screen` and the demo. Not a renderer for radiologists (the PACS is), and not a check (`report_check` is).
"""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO

from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian

_VALUE_KEYWORDS = {"TEXT": "TextValue", "UIDREF": "UID", "DATETIME": "DateTime", "PNAME": "PersonName"}


def report_text(part10: bytes) -> str:
    """The content tree of an SR (PS3.3 C.17.3), one line per content item, indented by depth."""
    document = dcmread(BytesIO(part10))
    head = [
        f"{document.SeriesDescription}",
        f"completion {document.CompletionFlag}, verification {document.VerificationFlag}",
        "",
    ]
    return "\n".join([*head, *_lines(document, depth=0)]) + "\n"


def page_png(part10: bytes) -> bytes:
    """The pixels of a Secondary Capture as a PNG file."""
    page = dcmread(BytesIO(part10))
    if page.file_meta.TransferSyntaxUID != ExplicitVRLittleEndian:
        page.decompress()
    picture = BytesIO()
    Image.fromarray(page.pixel_array).save(picture, format="PNG", optimize=True)
    return picture.getvalue()


def _lines(item: Dataset, *, depth: int) -> Iterator[str]:
    yield "  " * depth + _line(item)
    for child in item.get("ContentSequence", []):
        yield from _lines(child, depth=depth + 1)


def _line(item: Dataset) -> str:
    name = _meaning(item, "ConceptNameCodeSequence")
    value = _value(item)
    return f"{name}: {value}" if value else name


def _value(item: Dataset) -> str:
    kind = item.get("ValueType", "")
    match kind:
        case "CODE":
            return _meaning(item, "ConceptCodeSequence")
        case "NUM":
            measured = item.MeasuredValueSequence[0]
            return f"{measured.NumericValue} {measured.MeasurementUnitsCodeSequence[0].CodeValue}"
        case "SCOORD":
            return f"{item.GraphicType}, {len(item.GraphicData) // 2} points"
        case "IMAGE" | "COMPOSITE":
            return str(item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID)
        case _:
            return str(item.get(_VALUE_KEYWORDS.get(kind, ""), ""))


def _meaning(item: Dataset, keyword: str) -> str:
    sequence = item.get(keyword)
    return str(sequence[0].CodeMeaning) if sequence else ""
