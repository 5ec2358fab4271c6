"""Short forms of the long campaigns: `make validate-reports` and `make bench-report`."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support import report_judges
from support.tools import require_tool

ROOT = Path(__file__).parents[2]


def printed(module: str, *arguments: str) -> str:
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
    command = [sys.executable, "-m", module, "--short", *arguments]
    done = subprocess.run(command, capture_output=True, check=False, env=environment, cwd=ROOT, timeout=280)
    return done.stdout.decode() + done.stderr.decode()


def test_the_short_campaign_finds_no_error() -> None:
    for tool in ("dciodvfy", "dsrdump", "dsr2html", "dcentvfy", "java"):
        require_tool(tool)
    if not report_judges.PIXELMED.exists():
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("libpixelmed-java is not installed")
    text = printed("validate.validate_reports")
    result = re.search(
        r"^RESULT validate-reports objects=(\d+) .*pixelmed=1 errors=0 .*missed=none$", text, re.MULTILINE
    )
    assert result, text
    assert int(result[1]) >= 20


def test_the_short_bench_names_its_figures(tmp_path: Path) -> None:
    text = printed("bench.bench_report", "--out", str(tmp_path))
    assert re.search(r"^RESULT bench-report .*sr_ms=\S+ page_ms=\S+ .*sr_kb=\S+ page_kb=\S+", text, re.MULTILINE), text
