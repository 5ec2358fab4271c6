"""Find what a test needs of the machine: skip where it is absent, fail where it must be there."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

_LIKE_ANY_ACCOUNT = "--bounding-set=-dac_override,-dac_read_search"


def require_tool(name: str) -> str:
    """Path of the program `name`. Absent: the test is skipped with the reason, or fails when `CI` is `true`."""
    found = shutil.which(name)
    if found:
        return found
    message = f"{name} is not installed (the Debian package is in .ci/run)"
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)


def bound_by_modes() -> tuple[str, ...]:
    """What to put before a command so that file modes bind it, as they bind the service's account, for root too."""
    if os.geteuid() != 0:
        return ()
    prefix = (require_tool("setpriv"), _LIKE_ANY_ACCOUNT)
    if subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("root here may not give up CAP_DAC_OVERRIDE, so no file mode would bind it")
    return prefix
