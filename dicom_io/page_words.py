"""Labels of the report page and its companions, in every language; the second half of the wording table (`words`)."""

from __future__ import annotations

from typing import Final

from dicom_io.words import Phrase

STRIP: Final = Phrase(
    en="AI SCREENING AID - NOT FOR PRIMARY DIAGNOSIS", de="KI-SCREENINGHILFE - NICHT ZUR PRIMÄRDIAGNOSTIK"
)
TITLE: Final = Phrase(
    en="Osteoporosis screening of a chest radiograph by AI", de="Osteoporose-Screening einer Thoraxaufnahme durch KI"
)
ID: Final = Phrase(en="ID {value}", de="ID {value}")
ID_NOT_STATED: Final = Phrase(en="ID not stated", de="ID nicht angegeben")
NAME_NOT_DRAWN: Final = Phrase(
    en="name cannot be drawn here, see viewer", de="Name hier nicht darstellbar, siehe Viewer"
)
NAME_NOT_STATED: Final = Phrase(en="name not stated", de="Name nicht angegeben")
SEX_NOT_STATED: Final = Phrase(en="sex not stated", de="Geschlecht nicht angegeben")
SEX_OTHER: Final = Phrase(en="sex: other", de="Geschlecht: andere Angabe")
BORN: Final = Phrase(en="born {value}", de="geb. {value}")
BIRTH_NOT_STATED: Final = Phrase(en="birth date not stated", de="Geburtsdatum nicht angegeben")
STUDY: Final = Phrase(en="Study {value}", de="Studie {value}")
STUDY_NOT_STATED: Final = Phrase(en="study date not stated", de="Studiendatum nicht angegeben")
ACCESSION: Final = Phrase(en="accession {value}", de="Auftragsnr. {value}")
NO_ACCESSION: Final = Phrase(en="no accession number", de="ohne Auftragsnummer")

PROBABILITY: Final = Phrase(en="osteoporosis probability", de="Osteoporose-Wahrscheinlichkeit")
AGAINST: Final = Phrase(en="threshold {high} %", de="Schwelle {high} %")
ZONE_FROM: Final = Phrase(en="indeterminate from {low} %", de="unbestimmt ab {low} %")
IMAGE_AND_CLINICAL: Final = Phrase(en="image + clinical data", de="Bild + klinische Daten")
IMAGE_ONLY: Final = Phrase(en="image only", de="nur Bild")
ROW_IMAGE: Final = Phrase(en="Image", de="Bild")
ROW_CLINICAL: Final = Phrase(en="Clinical data", de="Klinische Daten")
ROW_FUSED: Final = Phrase(en="Combined", de="Kombiniert")
DECISIVE: Final = Phrase(en="{row} (decides)", de="{row} (maßgeblich)")
ZONES: Final = (
    Phrase(en="not flagged", de="unter der Schwelle"),
    Phrase(en="indeterminate", de="unbestimmt"),
    Phrase(en="flagged", de="Schwelle erreicht"),
)
"""From left to right on the scale."""

FILM: Final = Phrase(
    en="Dashed: analysed field. Outline: where half of the model's attention lay; it marks no finding.",
    de="Gestrichelt: ausgewertetes Feld. Umriss: die Hälfte der Modell-Aufmerksamkeit; er markiert keinen Befund.",
)
CLINICAL_INPUTS: Final = Phrase(en="Clinical inputs", de="Klinische Angaben")
MORE_INPUTS: Final = Phrase(
    en="and {count} more in the structured report", de="und {count} weitere im strukturierten Bericht"
)
TOOLS: Final = Phrase(
    en="Published tools, for comparison only: {tools}", de="Veröffentlichte Scores, nur zum Vergleich: {tools}"
)
QUALITY: Final = Phrase(en="Input quality: {quality}", de="Eingangsdaten: {quality}")
QUALITY_PASS: Final = Phrase(en="acceptable for analysis.", de="für die Auswertung geeignet.")
QUALITY_LIMITED: Final = Phrase(en="LIMITED, interpret with caution.", de="EINGESCHRÄNKT, mit Vorsicht zu bewerten.")
MODEL: Final = Phrase(
    en="Model {name} {version}, sha256 {sha}, calibration {calibration}",
    de="Modell {name} {version}, sha256 {sha}, Kalibrierung {calibration}",
)
MADE: Final = Phrase(
    en="{made}, node {node}, installation {serial}. Made by a device, not verified by a physician.",
    de="{made}, Knoten {node}, Installation {serial}. Automatisch erstellt, nicht ärztlich geprüft.",
)

SOURCE_IMAGE: Final = Phrase(en="Image {uid}", de="Bild {uid}")
"""By its SOP Instance UID, on a page that shows none."""
HEAT_MAP_EXPLAINED: Final = Phrase(
    en="Outlines hold half and four fifths of the model's attention; they mark no finding.",
    de="Umrisse: die Hälfte und vier Fünftel der Modell-Aufmerksamkeit; sie markieren keinen Befund.",
)
GSPS_FIELD: Final = Phrase(en="AI: analysed field", de="KI: ausgewertetes Feld")
GSPS_ATTENTION: Final = Phrase(
    en="AI: half of the model's attention; marks no finding",
    de="KI: Hälfte der Modell-Aufmerksamkeit; markiert keinen Befund",
)
KOS_IMAGE_ALONE: Final = Phrase(en="Image screened by AI. {disclaimer}", de="Durch KI ausgewertetes Bild. {disclaimer}")
KOS_DESCRIPTION: Final = Phrase(
    en="Image screened by AI, and the page of the result. {disclaimer}",
    de="Durch KI ausgewertetes Bild und die Seite mit dem Ergebnis. {disclaimer}",
)
PDF_TITLE: Final = Phrase(en="Osteoporosis screening result", de="Ergebnis des Osteoporose-Screenings")
