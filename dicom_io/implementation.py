"""How Osteon names itself on the wire and in files (PS3.7 D.3.3.2, PS3.10 7.1).

Both values are constants, not derived from the release: the file meta information of a received object is part of its
digest, and a re-send after an upgrade must meet the same digest.
"""

from __future__ import annotations

from typing import Final

IMPLEMENTATION_CLASS_UID: Final = "2.25.231868393186137838911266157311870398735"
"""UUID-derived (PS3.5 B.2)."""
IMPLEMENTATION_VERSION_NAME: Final = "OSTEON"
MODEL_NAME: Final = "Osteon"
"""Manufacturer's Model Name (0008,1090) of all Osteon makes; an object that carries it is our own, come back."""
