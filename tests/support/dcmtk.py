"""DCMTK as the test modality: an independent sender and renderer, run as a subprocess on loopback."""

from __future__ import annotations

import subprocess
from pathlib import Path

from support.tools import require_tool


def dcmsend(port: int, *files: Path, called: str, calling: str = "MODALITY") -> str:
    """Send `files`, each in its own transfer syntax, as a modality would; what dcmsend said.

    Its exit status is 0 even when a file was refused, so look at the receiver.
    """
    require_tool("dcmsend")
    command = ["dcmsend", "-v", "-aec", called, "-aet", calling, "127.0.0.1", str(port), *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    return done.stdout + done.stderr


def dsr2html(report: Path) -> str:
    """The report as DCMTK renders it for a browser."""
    require_tool("dsr2html")
    done = subprocess.run(["dsr2html", str(report)], capture_output=True, text=True, check=True, timeout=60)
    return done.stdout


def errors_of(tool: str, *arguments: str, marks: tuple[str, ...]) -> list[str]:
    """Lines of a validator's output that begin with one of `marks`."""
    require_tool(tool)
    done = subprocess.run([tool, *arguments], capture_output=True, text=True, check=False, timeout=60)
    return [line for line in (done.stdout + done.stderr).splitlines() if line.startswith(marks)]
