"""How clinical data join an image: the two feeds, whose identifiers count, how long a case waits and changes."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from config.csv_feed import CsvDrop
from config.fields import Group, OptionalPath
from config.hl7_feed import Mllp


def _pattern(value: str) -> str:
    try:
        re.compile(value)
    except re.error as error:
        msg = f"is no regular expression ({error})"
        raise ValueError(msg) from error
    return value


Pattern = Annotated[str, AfterValidator(_pattern)]
"""A regular expression, matched against the whole value, upper and lower case alike."""


class Issuer(Group):
    """One assigning authority of patient identifiers, by every name that systems give it."""

    namespace: str = ""
    """HL7 CX.4.1, DICOM Issuer of Patient ID (0010,0021)."""
    universal_id: str = ""
    """HL7 CX.4.2, DICOM Universal Entity ID (0040,0032)."""
    universal_id_type: str = ""
    """HL7 CX.4.3, DICOM Universal Entity ID Type (0040,0033); `ISO` for an OID."""
    aliases: tuple[str, ...] = ()
    """Other namespaces and universal IDs that mean this authority; read as if its own had been sent."""
    trusted: bool = True
    """Its identifiers name patients. Off: what is known only by them is not taken (`UNTRUSTED_ISSUER`)."""
    strip_leading_zeros: bool = False
    """Its numbers are the same with and without leading zeros. Off: zeros are part of an identifier."""

    @property
    def names(self) -> frozenset[str]:
        """Everything it is called."""
        return frozenset({self.namespace, self.universal_id, *self.aliases} - {""})

    @model_validator(mode="after")
    def _has_a_name(self) -> Self:
        if not self.namespace and not self.universal_id:
            msg = "an issuer needs a namespace or a universal_id"
            raise ValueError(msg)
        return self


class Codes(Group):
    """The clinical code table: which code and unit mean which variable. `osteon codes` prints it for signing."""

    file: OptionalPath = None
    """TOML file laid over the shipped table: local codes and coding systems, spellings of units, units of codes that
    come without one, regions of DXA results, codes switched on with `confirmed = true`."""
    confirmed_by: str = ""
    """Who has checked the printed table for this site. Until somebody has, clinical data are stored and no image is
    joined with them."""
    confirmed_version: str = ""
    """Version of the table that was checked, as `osteon codes` prints it. Another table must be checked again."""

    def confirmed(self, version: str) -> bool:
        """Whether somebody has confirmed exactly this version."""
        return bool(self.confirmed_by.strip()) and self.confirmed_version.strip() == version


class Clinical(Group):
    """How clinical data join an image."""

    wait: Annotated[float, Field(ge=0, le=86_400)] = 600.0
    """Seconds an image waits at most for what the model lacks; then it is reported with what there is."""
    reprocess_window: Annotated[float, Field(ge=0, le=2_592_000)] = 86_400.0
    """Seconds after the first report in which usable clinical data amend it, once; 0: never. Later data are logged."""
    amend_settle: Annotated[float, Field(ge=0, le=600)] = 5.0
    """Seconds to wait after a message for a reported patient, so that a burst of messages makes one amendment."""
    on_correction: Literal["review", "amend"] = "review"
    """When values a report rests on are corrected or taken back, or its patient is merged: flag the report for a
    person, or amend it. A report that could no longer be made at all is always for a person."""
    issuers: tuple[Issuer, ...] = ()
    """Assigning authorities the site knows. Empty: any is taken as sent. Otherwise only identifiers of the trusted ones
    of the list are taken. A change holds for what arrives afterwards."""
    temporary_ids: tuple[Pattern, ...] = ()
    """Regular expressions of whole identifiers of patients not yet identified (trauma numbers). Such an image is
    reported from the image alone until a merge (ADT A40) says who the patient is."""
    test_ids: tuple[Pattern, ...] = ()
    """Regular expressions of whole identifiers of test patients; they join nothing."""
    test_names: tuple[Pattern, ...] = (r"Z*TEST(PATIENT|PERSON)?\^.*",)
    """Regular expressions of whole names of test patients, as `FAMILY^GIVEN`; they join nothing."""
    lookback_days: dict[str, Annotated[float, Field(ge=0, le=36_525)]] = Field(default_factory=dict)
    """How old a value may be at the image's time, days, by variable; replaces the code table's. A variable that the
    table does not allow as a feature is not asked for."""
    codes: Codes = Codes()
    """The clinical code table and who has confirmed it."""
    mllp: Mllp = Mllp()
    """HL7 v2 feed."""
    csv: CsvDrop = CsvDrop()
    """CSV feed."""

    @property
    def trusted_issuers(self) -> tuple[str, ...]:
        """What the trusted issuers are called in the store; empty means all are trusted."""
        return tuple(i.universal_id or i.namespace for i in self.issuers if i.trusted)

    @model_validator(mode="after")
    def _issuers_are_distinct(self) -> Self:
        names = [name for issuer in self.issuers for name in issuer.names]
        if len(names) != len(set(names)):
            msg = "issuers: two of them share a name"
            raise ValueError(msg)
        if self.issuers and not self.trusted_issuers:
            msg = "issuers: none of them is trusted, so nothing could be joined"
            raise ValueError(msg)
        return self
