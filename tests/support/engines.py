"""Proven engines for the tests that run the shipped bundle in processes of their own: proven once, found by all.

A proof takes 15 s of CPU, and each of those tests begins with an empty data folder. What is kept is bound to the code
of `model`, so that a change there is proven anew.
"""

from __future__ import annotations

import functools
import hashlib
import os
import tempfile
from pathlib import Path

from model import openvino_silent
from model.engines import Engines
from model.screener import DEMO_BUNDLE, Screener, load_screener

_MODEL = Path(__file__).parents[2] / "model"


@functools.cache
def proven_engines() -> Path:
    """Folder of proofs as a node keeps it, with one for the demo bundle; empty where there is no OpenVINO."""
    code = hashlib.sha256(b"".join(path.read_bytes() for path in sorted(_MODEL.glob("*.py")))).hexdigest()[:16]
    cache = Path(tempfile.gettempdir()) / f"osteon-test-engines-{os.getuid()}-{code}"
    cache.mkdir(mode=0o700, exist_ok=True)
    if openvino_silent.installed():
        refused = Engines(runtime="openvino", cache=cache).admit(DEMO_BUNDLE)
        assert not refused, refused
    return cache


def proven_screener() -> Screener:
    """The shipped bundle as a node on this host runs it."""
    return load_screener(None, engines=Engines(cache=proven_engines()))


def give_engines(data_dir: Path) -> None:
    """Let a node that is to have its data there find the proof."""
    data_dir.mkdir(parents=True, exist_ok=True)
    (data_dir / "engines").symlink_to(proven_engines())
