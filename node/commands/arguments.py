"""What several commands are given."""

from __future__ import annotations

from typing import Annotated, Final

import typer

MOST: Final = 2**31 - 1
"""The largest number that both databases take."""
Number = Annotated[int, typer.Argument(min=1, max=MOST)]
"""Of a case, a message, a file, an alert, as the lists show it."""
