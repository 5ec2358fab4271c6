"""Drives a campaign that dies at each point of a piece of work once, and looks what a sound process makes of it."""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from config.settings import Reception
from dicom_io.received import StoredInstance
from dicom_io.spool import Spool
from dicom_io.storage_scp import StorageScp
from node.demo.node_process import free_port

MOST_POINTS = 400
MUST_OCCUR = {"before commit", "after send"}


class Archive:
    """A real Storage SCP that remembers what it was sent, in order."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.received: list[StoredInstance] = []
        self._scp = StorageScp(Reception(ae_title="PACS", port=self.port), Spool(folder), self.received.append)
        self._scp.start()

    def stop(self) -> None:
        """Close it."""
        self._scp.stop()


Prepare = Callable[[Path, Archive, bool], None]
"""Makes a ledger in a folder with a report, delivered or not."""
DieOnce = Callable[[Path, int, Archive], tuple[str, list[str]]]
"""Dies at that point in a copy of the folder; its name (empty: there are not so many), and what was wrong after it."""


def campaign(name: str, prepare: Prepare, die_once: DieOnce) -> int:
    """Every point, with the report delivered and not delivered before; the exit status."""
    parser = argparse.ArgumentParser(prog=f"python -m {name}")
    parser.add_argument("--every", type=int, default=1, help="only each N-th point")
    every = parser.parse_args().every
    started = time.monotonic()
    points: list[str] = []
    missed: list[str] = []
    with tempfile.TemporaryDirectory(prefix="osteon-points-", ignore_cleanup_errors=True) as scratch:
        archive = Archive(Path(scratch) / "pacs")
        for delivered in (True, False):
            prepared = Path(scratch) / f"prepared-{delivered}"
            prepare(prepared, archive, delivered)
            for number in range(0, MOST_POINTS, every):
                folder = Path(scratch) / f"{delivered}-{number}"
                shutil.copytree(prepared, folder)
                point, wrong = die_once(folder, number, archive)
                missed += [f"point {number} ({point}, delivered {delivered}): {one}" for one in wrong]
                shutil.rmtree(folder)
                if point == "":
                    break
                points.append(point)
        archive.stop()
    if MUST_OCCUR - set(points):
        missed.append("the points have changed, look at die_at.py")
    verdict = "" if not missed else " missed: " + "; ".join(missed)
    print(f"RESULT {name} points={len(points)} seconds={time.monotonic() - started:.0f}{verdict}")
    return 1 if missed else 0
