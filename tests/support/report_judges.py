"""The judges of finished reports: dicom3tools, DCMTK and PixelMed, without what they say of sound objects too."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from html import unescape
from pathlib import Path

PIXELMED = Path("/usr/share/java/pixelmed.jar")
_LIMITS = [f"-Djdk.xml.xpath{name}=0" for name in ("TotalOpLimit", "ExprOpLimit", "ExprGrpLimit")]
"""Without these Java 17 stops with JAXP0801003 and validates nothing."""
_OWN_SCHEME = "99OSTEON"
_NOISE = "AccessionNumber"
"""dcentvfy finds it at series and at study level and calls that a conflict."""


def run(*command: str, seconds: float = 300) -> str:
    """What a program printed on both channels."""
    done = subprocess.run(command, capture_output=True, check=False, timeout=seconds)
    return (done.stdout + done.stderr).decode("utf-8", "replace")


def iod_errors(path: Path, *, copied: str = "") -> list[str]:
    """dciodvfy; what it says of the element `copied` is said of the image's own."""
    lines = run("dciodvfy", "-new", str(path)).splitlines()
    found = [line for line in lines if line.startswith("Error") and _OWN_SCHEME not in line]
    return [line for line in found if not copied or copied not in line]


def tree_errors(path: Path) -> list[str]:
    """dsrdump: the relations of the IOD, strictly."""
    return re.findall(r"^[EF]: .*$", run("dsrdump", str(path)), re.MULTILINE)


def html(path: Path) -> str:
    """dsr2html: what a plain renderer shows, as text without tags. It converts no ISO 2022; labels are ASCII there."""
    shown = run("dsr2html", "+U8", str(path))
    if re.search("^[EF]: ", shown, re.MULTILINE):
        shown = run("dsr2html", str(path))
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]*>", " ", shown)))


def entity_errors(paths: Sequence[Path]) -> list[str]:
    """dcentvfy over everything that belongs together."""
    lines = run("dcentvfy", *map(str, paths)).splitlines()
    return [line for line in lines if line.startswith("Error") and _NOISE not in line]


def template_errors(path: Path) -> list[str]:
    """PixelMed. Its exit code is 0 with errors too, so that it came to its end is looked for."""
    text = run("java", "-Xss16m", *_LIMITS, "-cp", str(PIXELMED), "com.pixelmed.validate.DicomSRValidator", str(path))
    errors = [line for line in text.splitlines() if line.startswith("Error") or "illegal relationship" in line]
    return errors if "IOD validation complete" in text else [*errors, "PixelMed did not come to its end"]
