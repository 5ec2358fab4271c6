"""Where the complete files of a spool lie: a folder of this host, a folder that several hosts mount, or a bucket.

A spool writes an object into a `Part` and has its shelf publish it; what a shelf has published survives a power cut of
this host. A shared shelf is used by several listeners at once: none may take back, adopt or sweep what another one is
about to record. Whatever a shelf does not answer for is `SpoolUnavailable`, never "not there".
"""

from __future__ import annotations

import datetime as dt
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from dicom_io.part import Part

SETTLED_AFTER: Final = dt.timedelta(minutes=15)
"""A file on a shared shelf that is younger may belong to a listener that is just recording it (a commit takes seconds,
and gives up after 30); the clocks of hosts and storage may differ by the rest."""
ABANDONED_AFTER: Final = dt.timedelta(days=1)
"""A temporary file of another listener that nobody has written to for so long belongs to a host that is gone."""
MARKER: Final = "osteon-spool"
"""Names the node whose spool this is: an unmounted folder and another node's bucket lack it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shelved:
    """A complete file, as a listing shows it."""

    file: str
    """Below the spool, with `/`."""
    size: int
    """Bytes."""
    at: dt.datetime
    """When it was published, by the clock of the storage; aware, UTC."""


class Shelf(Protocol):
    """Keeps complete files under their names. Safe for many threads."""

    @property
    def shared(self) -> bool:
        """Whether other hosts publish and remove here too."""

    def part(self, head: bytes, limit: int) -> Part:
        """Start a temporary file. Raises as `Part.write`."""

    def publish(self, part: Part, file: str) -> None:
        """Keep a sealed `part` as `file`, durably and whole, also where that name is taken.

        Raises:
            SpoolFull: no space or quota left.
            SpoolUnavailable: the shared storage does not answer, or does not confirm the content.
            OSError: any other failure of the file system.

        """

    def path(self, file: str) -> Path:
        """Where `file` can be read on this host; nothing is there when the shelf has no such file.

        Raises SpoolUnavailable.
        """

    def holds(self, file: str) -> bool:
        """Whether the shelf itself, not a copy on this host, has `file`. Raises SpoolUnavailable."""

    def size(self, file: str) -> int:
        """Bytes of `file`, 0 when there is none. Raises SpoolUnavailable."""

    def intact(self, file: str, digest: str) -> bool:
        """Whether the shelf's own `file` has this digest. Raises SpoolUnavailable, FileNotFoundError, OSError."""

    def move(self, file: str, to: str) -> None:
        """Give `file` another name, durably, also where that one is missing or taken. Raises as `publish`."""

    def remove(self, file: str) -> None:
        """Delete `file`; none there is fine. Raises SpoolUnavailable."""

    def images(self) -> Iterator[Shelved]:
        """All images, by name. Raises SpoolUnavailable."""

    def quarantined(self) -> Iterator[Shelved]:
        """What could not be owned. Raises SpoolUnavailable."""

    def sweep(self) -> int:
        """Delete temporary files that nobody writes to any more; how many. Before this host's reception starts."""

    def sweep_abandoned(self) -> int:
        """Delete temporary files of hosts that are gone; how many. At any time."""

    def forget_copies(self, before: dt.datetime) -> None:
        """Delete this host's copies of files that were not asked for here since `before`."""

    def used_percent(self) -> float:
        """How full the disk is that objects arrive on, 0 to 100."""

    def marker(self) -> str | None:
        """What `write_marker` wrote; None where it was not called. Raises SpoolUnavailable."""

    def write_marker(self, text: str) -> None:
        """Say whose spool this is. Raises as `publish`."""


def disk_used_percent(directory: Path) -> float:
    """How full the file system of `directory` is, 0 to 100, of what may be used by others than root.

    100 where it states no room at all. Raises OSError.
    """
    usage = shutil.disk_usage(directory)
    usable = usage.used + usage.free
    return 100.0 * usage.used / usable if usable else 100.0
