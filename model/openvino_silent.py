"""OpenVINO without its telemetry: by default the mere import reports to its makers, and a hospital's node calls nobody.

Every use of OpenVINO in Osteon goes through here; a test watches for sockets. Not allowed elsewhere: `import openvino`.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from typing import Any

_REPORTER = "openvino_telemetry"


def installed() -> bool:
    """Whether the `fast` extra is there, without importing it."""
    return importlib.util.find_spec("openvino") is not None


def openvino() -> Any:
    """The module. Its own substitute for an absent reporter does nothing."""
    sys.modules[_REPORTER] = None  # type: ignore[assignment] # what Python takes for "cannot be imported"
    return importlib.import_module("openvino")
