"""Reads every stored object as the worker would, in a child process: garbage may raise two errors, nothing else.

As a program it is that child: file names on standard input, one JSON line each on standard output.
"""

from __future__ import annotations

import json
import queue
import resource
import subprocess
import sys
import threading
import traceback
import warnings
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from zoneinfo import ZoneInfo

from dicom_io import header as dicom_header
from dicom_io.errors import HeaderInvalid, PixelDecodeError
from dicom_io.radiograph import read_radiograph

LIMIT_SECONDS = 30.0
MEMORY = 3 << 30
"""Address space of the child: a bomb ends as an error of its own, not as the machine's."""
_READ = "read"


@dataclass(slots=True, kw_only=True)
class Readings:
    """How many files ended how, and those that ended as none may."""

    outcomes: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


def read_all(files: list[Path]) -> Readings:
    """Read each file in a child; a child that dies or hangs is a finding, and the next one goes on behind that file."""
    found = Readings()
    left = list(files)
    while left:
        left = left[_read_until_trouble(left, found) :]
    return found


def _read_until_trouble(files: list[Path], found: Readings) -> int:
    """How many files are done with, the one that ended the child included."""
    command = [sys.executable, "-m", "chaos.read_path"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=_pump, args=(child, lines), daemon=True).start()
        threading.Thread(target=_feed, args=(child, files), daemon=True).start()
        for done, file in enumerate(files, start=1):
            try:
                line = lines.get(timeout=LIMIT_SECONDS)
            except queue.Empty:
                child.kill()
                line = ""
                found.wrong.append(f"{file}: not read within {LIMIT_SECONDS:g} s")
            if not line:
                found.wrong.append(f"{file}: the reader died ({child.wait()})")
                found.outcomes["died"] += 1
                return done
            outcome = json.loads(line)
            found.outcomes[outcome["outcome"]] += 1
            if outcome["where"]:
                found.wrong.append(f"{file}: {outcome['outcome']} at {outcome['where']}")
    return len(files)


def _pump(child: subprocess.Popen[str], lines: queue.Queue[str]) -> None:
    assert child.stdout is not None
    for line in child.stdout:
        lines.put(line)
    lines.put("")


def _feed(child: subprocess.Popen[str], files: list[Path]) -> None:
    assert child.stdin is not None
    try:
        for file in files:
            child.stdin.write(f"{file}\n")
        child.stdin.close()
    except BrokenPipeError:
        pass  # the child died; its reader says so


def _outcome(file: Path) -> dict[str, str]:
    try:
        header = dicom_header.read_header(file)
        dicom_header.patient_identity(header)
        dicom_header.accession_number(header)
        dicom_header.acquired_at(header, ZoneInfo("UTC"))
        dicom_header.age_years(header)
        read_radiograph(file)
    except (HeaderInvalid, PixelDecodeError) as error:
        return {"outcome": type(error).__name__, "where": ""}
    except BaseException as error:  # noqa: BLE001 - what this program is there to find
        frames = traceback.extract_tb(error.__traceback__)
        places = " < ".join(f"{Path(f.filename).name}:{f.lineno} {f.name}" for f in reversed(frames[-5:]))
        return {"outcome": type(error).__name__, "where": places}
    return {"outcome": _READ, "where": ""}


def main() -> None:
    """Be the child."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    warnings.simplefilter("ignore")
    for line in sys.stdin:
        print(json.dumps(_outcome(Path(line.rstrip("\n")))), flush=True)


if __name__ == "__main__":
    main()
