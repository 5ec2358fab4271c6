"""What may be a UID, as senders write them."""

from __future__ import annotations

import re
from typing import Final

_UID: Final = re.compile(r"[0-9]+(\.[0-9]+)+", re.ASCII)
MAX_UID: Final = 64


def is_uid(text: str) -> bool:
    """Whether `text` may be a UID: digits in dotted components, at most 64 characters (PS3.5 9.1).

    A component with a leading zero breaks 9.1, but such objects exist, their senders repeat for ever when refused, and
    as a file name they are harmless.
    """
    return len(text) <= MAX_UID and _UID.fullmatch(text) is not None
