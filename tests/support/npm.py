"""The npm clients of tests/peers, installed into a scratch folder by their lock file; nothing of theirs ships."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from pathlib import Path

import pytest

PEERS = Path(__file__).resolve().parents[1] / "peers"


def installed(scratch: Path) -> Path | str:
    """Folder of the installed modules below `scratch`; or why there is none."""
    if not shutil.which("node") or not shutil.which("npm"):
        return "node and npm are not installed (Debian: nodejs, npm)"
    scratch.mkdir(parents=True, exist_ok=True)
    with (scratch / ".lock").open("w") as turn:  # two test processes may ask at once
        fcntl.flock(turn, fcntl.LOCK_EX)
        return _install(scratch)


def require_modules(scratch: Path) -> Path:
    """Folder of the installed modules. Absent: the test is skipped with the reason, or fails when `CI` is `true`."""
    modules = installed(Path(os.environ.get("OSTEON_NPM_SCRATCH") or scratch))
    if isinstance(modules, Path):
        return modules
    if os.environ.get("CI") == "true":
        pytest.fail(modules)
    pytest.skip(modules)


def _install(scratch: Path) -> Path | str:
    lock = PEERS / "package-lock.json"
    done_for = scratch / "package-lock.json"
    if not (scratch / "node_modules").is_dir() or done_for.read_bytes() != lock.read_bytes():
        for name in ("package.json", "package-lock.json"):
            shutil.copy(PEERS / name, scratch / name)
        # No engine check: @medplum/hl7 asks for the newest node in its manifest and runs with older ones.
        install = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent", "--engine-strict=false"]
        done = subprocess.run(install, cwd=scratch, capture_output=True, text=True, check=False, timeout=180)
        if done.returncode:
            shutil.rmtree(scratch / "node_modules", ignore_errors=True)
            return f"npm ci of tests/peers failed: {done.stderr.strip()[-200:]}"
    return scratch / "node_modules"
