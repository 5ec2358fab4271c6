"""What an outgoing message does to its results: OBX-11 (HL7 table 0085)."""

from __future__ import annotations

import enum
from typing import Final

UNVERIFIED: Final = "R"
"""OBR-25 and OBX-11 (tables 0123 and 0085): results stored, not verified."""


class Meaning(enum.StrEnum):
    """What a message does: OBX-11 of its results."""

    RESULT = UNVERIFIED
    DELETED = "D"
    """The result is taken back."""
    WRONG_PATIENT = "W"
    """The result is taken back, because it is another patient's."""

    @property
    def words(self) -> str:
        """What a person reads for it."""
        return _WORDS[self]


_WORDS: Final = {
    Meaning.RESULT: "result",
    Meaning.DELETED: "taken back",
    Meaning.WRONG_PATIENT: "taken back, wrong patient",
}
