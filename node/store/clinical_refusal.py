"""Why a fact of a feed was not written: a person must look, and nothing was guessed."""

from __future__ import annotations

import enum


class Refusal(enum.StrEnum):
    """Code of a refusal; stands in the inbox and in alerts."""

    NO_ID = "NO_ID"
    """The identifier identifies nobody."""
    UNTRUSTED_ISSUER = "UNTRUSTED_ISSUER"
    IDENTIFIER_CONFLICT = "IDENTIFIER_CONFLICT"
    """One statement names identifiers of two persons, ties a new one to a person it does not fit, or a half-stated
    issuer fits two."""
    SELF_MERGE = "SELF_MERGE"
    MERGE_CYCLE = "MERGE_CYCLE"
    MERGE_CONFLICT = "MERGE_CONFLICT"
    """The prior patient was merged into someone else before."""


MERGE_REFUSALS = frozenset({Refusal.SELF_MERGE, Refusal.MERGE_CYCLE, Refusal.MERGE_CONFLICT})


class Refused(Exception):
    """A fact that must not be written. The message is its code, without patient data."""
