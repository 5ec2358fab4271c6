"""The wording table: every sentence a person reads in a result, in every language, side by side.

This is data, reviewed here and nowhere else (deploy/docs/operate.md says how a language is added). A phrase holds all
languages, so none can be forgotten. Rules for a reviewer: an image below the threshold is never worded as free of
anything, nothing is worded as a diagnosis, and `wording.forbidden` is asked about every phrase by a test. Codes and
their meanings are not translated: programs read them.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final

from model.domain import Category, MatchClass, Reason


class Language(enum.StrEnum):
    """Language of the sentences, as RFC 5646 names it."""

    ENGLISH = "en"
    GERMAN = "de"


@dataclass(frozen=True, slots=True, kw_only=True)
class Phrase:
    """One sentence or label in all languages; `{name}` marks what is filled in."""

    en: str
    de: str

    def say(self, language: Language, /, **filled: object) -> str:
        """The phrase in `language`, with what is filled in."""
        text: str = getattr(self, language.value)
        return text.format(**filled) if filled else text


DISCLAIMER: Final = Phrase(
    en="Opportunistic screening aid. Not for primary diagnosis. Not a bone density measurement. "
    "Confirm by DXA / clinical assessment.",
    de="Hilfsmittel für das opportunistische Screening. Nicht zur Primärdiagnostik. Keine Messung der Knochendichte. "
    "Abklärung durch DXA / klinische Beurteilung.",
)
SIMULATED: Final = Phrase(
    en="TRAINED ON SIMULATED IMAGES - NOT FOR CLINICAL USE",
    de="AN SIMULIERTEN BILDERN TRAINIERT - NICHT KLINISCH NUTZEN",
)
SERIES: Final = Phrase(
    en="AI osteoporosis screen - NOT FOR DIAGNOSIS", de="KI-Osteoporose-Screening - NICHT ZUR DIAGNOSE"
)
SIMULATED_SERIES: Final = Phrase(en="AI screen: ", de="KI: ")
"""Stands before `SIMULATED`; 64 characters are all there is."""
COMPANIONS: Final = {
    "page": Phrase(en="AI osteoporosis page - NOT FOR DIAGNOSIS", de="KI-Osteoporose-Seite - NICHT ZUR DIAGNOSE"),
    "heat-map": Phrase(en="AI attention map - NOT FOR DIAGNOSIS", de="KI-Aufmerksamkeitskarte - NICHT ZUR DIAGNOSE"),
    "gsps": Phrase(en="AI osteoporosis overlay - NOT FOR DIAGNOSIS", de="KI-Osteoporose-Overlay - NICHT ZUR DIAGNOSE"),
    "pdf": Phrase(en="AI osteoporosis PDF - NOT FOR DIAGNOSIS", de="KI-Osteoporose-PDF - NICHT ZUR DIAGNOSE"),
    "kos": Phrase(
        en="AI osteoporosis key images - NOT FOR DIAGNOSIS", de="KI-Osteoporose-Schlüsselbilder - NICHT ZUR DIAGNOSE"
    ),
    "note": Phrase(en="Rejection note: AI osteoporosis screen", de="Storno: KI-Osteoporose-Screening"),
}
"""Series of what is sent beside the SR, by kind (`dicom_io.envelope`)."""
SIMULATED_COMPANIONS: Final = {
    "page": Phrase(en="AI page: ", de="KI: "),
    "heat-map": Phrase(en="AI map: ", de="KI: "),
    "gsps": Phrase(en="Overlay: ", de="KI: "),
    "pdf": Phrase(en="AI PDF: ", de="KI: "),
    "kos": Phrase(en="AI keys: ", de="KI: "),
    "note": Phrase(en="AI rejection: ", de="Storno: "),
}
"""Stand before `SIMULATED`, like `SIMULATED_SERIES`; a version may stand before them, but not before a note."""

HEADLINES: Final = {
    Category.ABOVE: Phrase(en="FLAGGED", de="SCHWELLE ERREICHT"),
    Category.BETWEEN: Phrase(en="INDETERMINATE", de="UNBESTIMMT"),
    Category.BELOW: Phrase(en="NOT FLAGGED", de="UNTER DER SCHWELLE"),
}
ADVICE: Final = {
    Category.ABOVE: Phrase(
        en="Possible low bone density; consider clinical bone-health assessment / DXA.",
        de="Niedrige Knochendichte möglich; osteologische Abklärung / DXA erwägen.",
    ),
    Category.BETWEEN: Phrase(
        en="Between the two thresholds; does not exclude low bone density. Weigh clinical risk factors.",
        de="Zwischen beiden Schwellen; schließt eine niedrige Knochendichte nicht aus. Risikofaktoren abwägen.",
    ),
    Category.BELOW: Phrase(
        en="Not flagged; does not exclude low bone density.",
        de="Schwelle nicht erreicht; schließt eine niedrige Knochendichte nicht aus.",
    ),
}
NOT_ANALYSED: Final = Phrase(en="NOT ANALYSED", de="NICHT AUSGEWERTET")
NOT_ANALYSED_ADVICE: Final = Phrase(
    en="No score was issued. This says nothing about bone density.",
    de="Es wurde kein Wert ausgegeben. Das sagt nichts über die Knochendichte.",
)
NOT_ANALYSED_WHY: Final = Phrase(en="Why the image was not analysed", de="Warum das Bild nicht ausgewertet wurde")
WITHDRAWN: Final = Phrase(en="RESULT WITHDRAWN", de="ERGEBNIS ZURÜCKGEZOGEN")
WITHDRAWN_ADVICE: Final = Phrase(
    en="Disregard the earlier result. No result of this image is valid now.",
    de="Das frühere Ergebnis nicht verwenden. Zu diesem Bild gilt derzeit kein Ergebnis.",
)
WITHDRAWN_WHY: Final = Phrase(en="Why the result was withdrawn", de="Warum das Ergebnis zurückgezogen wurde")

COMMENT: Final = Phrase(
    en="Osteoporosis screening: {headline} (probability {value} %, {thresholds}).",
    de="Osteoporose-Screening: {headline} (Wahrscheinlichkeit {value} %, {thresholds}).",
)
THRESHOLD_IS: Final = Phrase(en="threshold {high} %", de="Schwelle {high} %")
ZONE_IS: Final = Phrase(en="indeterminate from {low} %", de="unbestimmt ab {low} %")
BASED_ON: Final = Phrase(en="Based on {inputs}.", de="Grundlage: {inputs}.")
QUALITY_LIMITED: Final = Phrase(
    en="Input quality limited; interpret with caution.", de="Eingangsdaten eingeschränkt; mit Vorsicht zu bewerten."
)
IMAGE_AND_CLINICAL: Final = Phrase(en="image and clinical data", de="Bild und klinische Daten")
IMAGE_ONLY_NO_DATA: Final = Phrase(
    en="image only, no clinical data ({code}: {why})", de="nur Bild, ohne klinische Daten ({code}: {why})"
)
IMAGE_ONLY_INCOMPLETE: Final = Phrase(
    en="image only, clinical data incomplete", de="nur Bild, klinische Daten unvollständig"
)
IMAGE_ONLY_NOT_APPLICABLE: Final = Phrase(
    en="image only, clinical data not applicable to this model",
    de="nur Bild, klinische Daten auf dieses Modell nicht anwendbar",
)
"""All values are there, but the clinical model knows nobody of this sex."""
MISSING_BECAUSE: Final = Phrase(
    en="no usable value in the look-back period", de="kein verwendbarer Wert im Rückblickzeitraum"
)
SEX_MISSING: Final = Phrase(en="not stated as female or male", de="nicht als weiblich oder männlich angegeben")
"""Sex has no look-back period; a third one is stated, and no input of the model."""
NOT_USED: Final = Phrase(en="not used: image-only result", de="nicht verwendet: Ergebnis nur aus dem Bild")
SOURCES: Final = {
    "DICOM header": Phrase(en="DICOM header", de="DICOM-Header"),
    "clinical record": Phrase(en="clinical record", de="klinische Daten"),
}
"""Sources the screener names in words; feeds name theirs by message or row."""
UNNAMED_SOURCE: Final = Phrase(en="source not stated", de="Quelle nicht angegeben")
AT_PREVALENCE: Final = Phrase(
    en="Figures for a site prevalence of {percent} %.", de="Werte für eine Prävalenz von {percent} % im Haus."
)
REPLACES: Final = Phrase(
    en="Version {version}, replaces the result of {moment}",
    de="Version {version}, ersetzt das Ergebnis vom {moment}",
)

MATCHES: Final = {
    MatchClass.MATCH_ISSUER: Phrase(
        en="clinical record found by identifier and its issuer",
        de="klinische Daten über Patientenkennung und ausgebende Stelle zugeordnet",
    ),
    MatchClass.MATCH_DEMOG: Phrase(
        en="clinical record found by identifier and demographics",
        de="klinische Daten über Patientenkennung und Personendaten zugeordnet",
    ),
    MatchClass.UNKNOWN_PATIENT: Phrase(
        en="no clinical record known for this patient", de="zu dieser Person liegen keine klinischen Daten vor"
    ),
    MatchClass.CONFLICT: Phrase(
        en="clinical record contradicts the image's patient data; not used",
        de="klinische Daten widersprechen den Patientendaten des Bildes; nicht verwendet",
    ),
    MatchClass.AMBIGUOUS: Phrase(
        en="several clinical records could fit; none used",
        de="mehrere klinische Datensätze kommen in Frage; keiner verwendet",
    ),
    MatchClass.NO_ID: Phrase(en="image carries no patient identifier", de="Bild trägt keine Patientenkennung"),
    MatchClass.BLOCKED: Phrase(
        en="clinical record is blocked from use", de="klinische Daten sind für die Verwendung gesperrt"
    ),
    MatchClass.CODES_UNCONFIRMED: Phrase(
        en="clinical code table not confirmed by the site; clinical record not used",
        de="Codetabelle vom Haus nicht bestätigt; klinische Daten nicht verwendet",
    ),
}
REASONS: Final = {
    Reason.OWN_RESULT: Phrase(en="Object made by Osteon itself.", de="Objekt stammt von Osteon selbst."),
    Reason.MODALITY: Phrase(en="Neither CR nor DX.", de="Weder CR noch DX."),
    Reason.MULTIFRAME: Phrase(en="More than one frame.", de="Mehr als ein Einzelbild."),
    Reason.NO_PIXELS: Phrase(en="No pixel data.", de="Keine Bilddaten."),
    Reason.FOR_PROCESSING: Phrase(
        en="Image is For Processing, not For Presentation.", de="Rohbild (For Processing), kein Befundungsbild."
    ),
    Reason.TOO_SMALL: Phrase(en="Too few pixels.", de="Zu wenige Bildpunkte."),
    Reason.NOISE_OR_BLANK: Phrase(en="Blank image or noise.", de="Leeres Bild oder Rauschen."),
    Reason.SATURATED: Phrase(en="Part of the image is saturated.", de="Bild ist teilweise übersteuert."),
    Reason.LOW_CONTRAST: Phrase(en="Low contrast.", de="Geringer Kontrast."),
    Reason.BODY_PART: Phrase(
        en="Header names a body part other than the chest.",
        de="Bildkopf nennt eine andere Körperregion als den Thorax.",
    ),
    Reason.NOT_CHEST: Phrase(
        en="Image does not look like a chest.", de="Bild sieht nicht wie eine Thoraxaufnahme aus."
    ),
    Reason.PARTIAL_CHEST: Phrase(en="Chest is only partly in the image.", de="Thorax ist nur teilweise abgebildet."),
    Reason.VIEW_LATERAL: Phrase(en="Lateral view.", de="Seitliche Aufnahme."),
    Reason.VIEW_UNKNOWN: Phrase(en="View is not stated.", de="Projektion ist nicht angegeben."),
    Reason.INVERTED: Phrase(
        en="Grey scale seems inverted against the header.", de="Graustufen scheinen gegenüber dem Bildkopf invertiert."
    ),
    Reason.ROTATED_90: Phrase(en="Image seems rotated by 90 degrees.", de="Bild scheint um 90 Grad gedreht."),
    Reason.UPSIDE_DOWN: Phrase(en="Image seems upside down.", de="Bild scheint auf dem Kopf zu stehen."),
    Reason.NOT_HUMAN: Phrase(en="Not a human subject.", de="Aufnahme stammt nicht von einem Menschen."),
    Reason.AGE_UNDER: Phrase(
        en="Patient is younger than the screening age.", de="Person ist jünger als das Screening-Alter."
    ),
    Reason.AGE_UNKNOWN: Phrase(en="Age is not known.", de="Alter ist nicht bekannt."),
    Reason.SEX_UNKNOWN: Phrase(en="Sex is not known.", de="Geschlecht ist nicht bekannt."),
    Reason.OUT_OF_DIST: Phrase(
        en="Image is unlike those the model was trained on.",
        de="Bild weicht von denen ab, mit denen das Modell trainiert wurde.",
    ),
    Reason.MIRRORED: Phrase(en="Image seems flipped left to right.", de="Bild scheint seitenverkehrt zu sein."),
    Reason.LOSSY: Phrase(en="Image was lossily compressed.", de="Bild wurde verlustbehaftet komprimiert."),
    Reason.AP_VIEW: Phrase(
        en="Antero-posterior view, usually a bedside film.",
        de="Antero-posteriore Projektion, meist eine Bettaufnahme.",
    ),
    Reason.OUTSIDE_TRAINING: Phrase(
        en="A clinical value lies outside the range of the training data.",
        de="Ein klinischer Wert liegt außerhalb des Bereichs der Trainingsdaten.",
    ),
}
VARIABLES: Final = {
    "age": Phrase(en="Age", de="Alter"),
    "sex": Phrase(en="Sex", de="Geschlecht"),
    "female": Phrase(en="Sex", de="Geschlecht"),
    "weight": Phrase(en="Body weight", de="Körpergewicht"),
    "height": Phrase(en="Body height", de="Körpergröße"),
    "bmi": Phrase(en="Body mass index", de="Body-Mass-Index"),
    "alp": Phrase(en="Alkaline phosphatase", de="Alkalische Phosphatase"),
    "egfr": Phrase(en="eGFR", de="eGFR"),
    "urea_nitrogen": Phrase(en="Urea nitrogen", de="Harnstoff-Stickstoff"),
    "vitamin_d": Phrase(en="25-hydroxyvitamin D", de="25-Hydroxyvitamin D"),
}
MISSING: Final = Phrase(en="missing", de="fehlt")
FEMALE: Final = Phrase(en="female", de="weiblich")
MALE: Final = Phrase(en="male", de="männlich")
YEARS: Final = Phrase(en="{count} years", de="{count} Jahre")
SAME_DAY: Final = Phrase(en="same day", de="gleicher Tag")
ONE_DAY: Final = Phrase(en="1 day before", de="1 Tag zuvor")
DAYS: Final = Phrase(en="{count} days before", de="{count} Tage zuvor")
MONTHS: Final = Phrase(en="{count} months before", de="{count} Monate zuvor")
BANDS: Final = {
    "low risk band": Phrase(en="low risk band", de="niedrige Risikogruppe"),
    "moderate risk band": Phrase(en="moderate risk band", de="mittlere Risikogruppe"),
    "high risk band": Phrase(en="high risk band", de="hohe Risikogruppe"),
    "below cut-off": Phrase(en="below cut-off", de="unter dem Grenzwert"),
    "not below cut-off": Phrase(en="not below cut-off", de="nicht unter dem Grenzwert"),
    "at or above cut-off": Phrase(en="at or above cut-off", de="ab dem Grenzwert"),
}
"""What `model.risk_tools` says of a published tool's value; a figure may follow."""
