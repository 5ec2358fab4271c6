"""Every code Osteon writes, once. No validator notices a wrong code, so a test checks each against the dictionary.

Private codes have the scheme `99OSTEON`, declared in the Coding Scheme Identification Sequence (PS3.3 C.12.1.1.1) of
every object that uses them. A code value has at most 16 and a meaning at most 64 characters (PS3.3 8.1, 8.3).
LOINC codes are not here: they arrive with the clinical value, from the site's confirmed code table.
"""

from __future__ import annotations

import hashlib
from typing import Final

from pydicom.sr.coding import Code

PRIVATE_SCHEME: Final = "99OSTEON"
PRIVATE_SCHEME_NAME: Final = "Osteon osteoporosis screening"
MAX_VALUE: Final = 16
MAX_MEANING: Final = 64


def _dcm(value: str, meaning: str) -> Code:
    return Code(value, "DCM", meaning)


def _sct(value: str, meaning: str) -> Code:
    return Code(value, "SCT", meaning)


def _private(value: str, meaning: str) -> Code:
    return Code(value, PRIVATE_SCHEME, meaning)


IMAGING_MEASUREMENT_REPORT = _dcm("126000", "Imaging Measurement Report")
"""Root title, one of the four of CID 7021."""
LANGUAGE = _dcm("121049", "Language of Content Item and Descendants")
ENGLISH = Code("en", "RFC5646", "English")
LANGUAGES: Final = {"en": ENGLISH, "de": Code("de", "RFC5646", "German")}
"""By `words.Language`."""
OBSERVER_TYPE = _dcm("121005", "Observer Type")
DEVICE = _dcm("121007", "Device")
DEVICE_UID = _dcm("121012", "Device Observer UID")
DEVICE_NAME = _dcm("121013", "Device Observer Name")
DEVICE_MANUFACTURER = _dcm("121014", "Device Observer Manufacturer")
DEVICE_MODEL = _dcm("121015", "Device Observer Model Name")
DEVICE_SERIAL = _dcm("121016", "Device Observer Serial Number")
PROCEDURE_REPORTED = _dcm("121058", "Procedure reported")
IMAGING_PROCEDURE = _sct("363679005", "Imaging procedure")
IMAGE_LIBRARY = _dcm("111028", "Image Library")
IMAGE_LIBRARY_GROUP = _dcm("126200", "Image Library Group")
MODALITY = _dcm("121139", "Modality")
COMPUTED_RADIOGRAPHY = _dcm("CR", "Computed Radiography")
DIGITAL_RADIOGRAPHY = _dcm("DX", "Digital Radiography")
FRAME_OF_REFERENCE = _dcm("112227", "Frame of Reference UID")
PIXEL_ROWS = _dcm("110910", "Pixel Data Rows")
PIXEL_COLUMNS = _dcm("110911", "Pixel Data Columns")
ORIENTATION_ROW = _dcm("111044", "Patient Orientation Row")
ORIENTATION_COLUMN = _dcm("111043", "Patient Orientation Column")
HORIZONTAL_SPACING = _dcm("111026", "Horizontal Pixel Spacing")
VERTICAL_SPACING = _dcm("111066", "Vertical Pixel Spacing")
IMAGING_MEASUREMENTS = _dcm("126010", "Imaging Measurements")
MEASUREMENT_GROUP = _dcm("125007", "Measurement Group")
TRACKING_ID = _dcm("112039", "Tracking Identifier")
TRACKING_UID = _dcm("112040", "Tracking Unique Identifier")
COMMENT = _dcm("121106", "Comment")
FINDING = _dcm("121071", "Finding")
OSTEOPOROSIS = _sct("64859006", "Osteoporosis")
ALGORITHM_NAME = _dcm("111001", "Algorithm Name")
ALGORITHM_VERSION = _dcm("111003", "Algorithm Version")
ALGORITHM_MANUFACTURER = _dcm("122405", "Algorithm Manufacturer")
ALGORITHM_PARAMETERS = _dcm("111002", "Algorithm Parameters")
ALGORITHM_FAMILY = _dcm("111000", "Algorithm Family")
ARTIFICIAL_INTELLIGENCE = _dcm("123110", "Artificial Intelligence")
THRESHOLD = _dcm("122411", "Threshold Value")
IMAGE_REGION = _dcm("111030", "Image Region")
SOURCE = _sct("260753009", "Source")
SOURCE_IMAGE = _dcm("121322", "Source image for image processing operation")
QUALITATIVE_EVALUATIONS = Code("C0034375", "UMLS", "Qualitative Evaluations")
QUALITY_FINDING = _dcm("111052", "Quality Finding")
PATIENT_CHARACTERISTICS = _dcm("121118", "Patient Characteristics")
SUBJECT_SEX = _dcm("121032", "Subject Sex")
SUBJECT_AGE = _dcm("121033", "Subject Age")
ACQUISITION_EQUIPMENT = _dcm("109101", "Acquisition Equipment")
FEMALE = _dcm("F", "Female")
MALE = _dcm("M", "Male")

HIGH_RISK = _sct("15508007", "High risk")
MODERATE_RISK = _sct("25594002", "Moderate risk")
LOW_RISK = _sct("75976002", "Low risk")
UNCERTAIN_RISK = _sct("64957009", "Uncertain risk")

OF_INTEREST = _dcm("113000", "Of Interest")
REJECTED_FOR_SAFETY = _dcm("113037", "Rejected for Patient Safety Reasons")
REJECTED_FOR_QUALITY = _dcm("113001", "Rejected for Quality Reasons")
KEY_OBJECT_DESCRIPTION = _dcm("113012", "Key Object Description")

CATEGORY = _private("OS-CATEGORY", "Screening category")
ABOVE = _private("OS-ABOVE", "Above threshold")
BETWEEN = _private("OS-BETWEEN", "Indeterminate")
BELOW = _private("OS-BELOW", "Below threshold, does not exclude")
NO_SCORE = _private("OS-NOSCORE", "No score issued")
WITHDRAWN = _private("OS-WITHDRAWN", "Result withdrawn")
INPUTS_USED = _private("OS-INPUT", "Inputs used")
IMAGE_AND_CLINICAL = _private("OS-IMG-CLIN", "Image and clinical data")
IMAGE_ONLY = _private("OS-IMG-ONLY", "Image only")
P_FUSED = _private("OS-P-FUSED", "Osteoporosis prob. (fused)")
P_IMAGE = _private("OS-P-IMAGE", "Osteoporosis prob. (image)")
P_CLINICAL = _private("OS-P-CLIN", "Osteoporosis prob. (clinical)")
INPUT_QUALITY = _private("OS-QUAL", "Screening input quality")
QUALITY_PASS = _private("OS-Q-PASS", "Acceptable for analysis")
QUALITY_LIMITED = _private("OS-Q-LIM", "Limited, interpret with caution")
QUALITY_FAIL = _private("OS-Q-FAIL", "Not acceptable, no score issued")
DISCLAIMER = _private("OS-DISCL", "Intended use statement")
MATCH = _private("OS-MATCH", "Clinical data match")
DATA_SOURCE = _private("OS-SRC", "Data source")
INPUT_MISSING = _private("OS-IN-MISSING", "Missing, not used")
DICOM_STUDY = _dcm("113014", "DICOM Study")
FINDINGS = _dcm("121070", "Findings")
SUMMARY = _private("OS-SUMMARY", "Opportunistic osteoporosis screening")
SR_UID = _private("OS-SR-UID", "SR SOP Instance UID")
"""These four stand in HL7 messages about a report, beside the report's own."""
HIGH_ATTENTION = _private("OS-HEAT", "Region of high model attention")
ATTENTION_SHARE = _private("OS-ATT", "Share of attention inside region")

PERCENT = Code("%", "UCUM", "Percent")
PIXELS = Code("{pixels}", "UCUM", "Pixels")
MILLIMETRE = Code("mm", "UCUM", "mm")

_UNIT_MEANINGS: Final = {"%": "Percent", "1": "no units", "a": "year", "cm": "cm", "mm": "mm"}


def unit(ucum: str) -> Code:
    """UCUM unit code; the meaning is the standard's where it has one, else the unit itself (PS3.16 CID 82)."""
    return Code(ucum or "1", "UCUM", _UNIT_MEANINGS.get(ucum or "1", ucum))


def loinc(value: str, meaning: str) -> Code:
    """A LOINC code as the clinical code table stated it."""
    return Code(value, "LN", meaning[:MAX_MEANING])


def local_variable(variable: str, meaning: str) -> Code:
    """Private code of a clinical variable that came without a LOINC code; distinct variables get distinct codes."""
    value = "V-" + variable.upper().replace("_", "-")
    if len(value) > MAX_VALUE:
        value = f"{value[:11]}-{hashlib.sha256(variable.encode()).hexdigest()[:4].upper()}"
    return _private(value, meaning[:MAX_MEANING])
