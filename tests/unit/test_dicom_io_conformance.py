"""The conformance statement says what the code says, and the document is its print."""

from pathlib import Path

from pydicom.sr.coding import Code

from config.settings import parse
from dicom_io import codes, offer
from dicom_io.conformance import private_codes, statement
from dicom_io.sr_class import SR_CLASSES

DOCUMENT = Path(__file__).parents[2] / "deploy/docs/conformance.md"


def test_the_document_is_what_osteon_conformance_prints() -> None:
    assert DOCUMENT.read_text(encoding="utf-8") == statement(parse({}, origin="test"))


def test_every_private_code_is_listed_in_the_conformance_statement() -> None:
    text = statement(parse({}, origin="test"))
    known = [value for value in vars(codes).values() if isinstance(value, Code)]
    private = {code for code in known if code.scheme_designator == codes.PRIVATE_SCHEME}
    assert set(private_codes()) == private
    assert all(f"| `{code.value}` | {code.meaning} |" in text for code in private)


def test_every_class_the_node_negotiates_is_listed() -> None:
    settings = parse({"reception": {"accept_for_processing": True, "commitment": True}}, origin="test")
    text = statement(settings)
    assert all(f"| {abstract} |" in text for abstract, _ in offer.offered(settings.reception))
    assert all(f"| {sr_class} |" in text for sr_class in SR_CLASSES.values())
    assert "Storage Commitment as SCP: on." in text
