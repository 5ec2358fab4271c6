"""The `osteon` script. It imports the command line only to run it.

A process that is started from the script (worker, report writer, archive run) imports the script's module anew before
its own; with the whole command line in it, each lost a tenth of a second.
"""

from __future__ import annotations

import os


def main() -> None:
    """Run one command."""
    # Before numpy and torch are loaded, here and in every process started from here: each worker is one thread, and
    # threads that spin while they wait cost a shared host several times more than they give (performance.md D6).
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from node.cli import run  # noqa: PLC0415 - see the module docstring

    run()
