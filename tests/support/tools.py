"""Find an external program a test needs: skip where it is absent, fail where it must be there."""

from __future__ import annotations

import os
import shutil

import pytest


def require_tool(name: str) -> str:
    """Path of the program `name`. Absent: the test is skipped with the reason, or fails when `CI` is `true`."""
    found = shutil.which(name)
    if found:
        return found
    message = f"{name} is not installed (the Debian package is in .ci/run)"
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)
