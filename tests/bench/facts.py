"""What a reader must know of the machine to believe a figure."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import ssl
import subprocess
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
from blake3 import blake3

from node.store.sqlite import DRIVER, journal_mode


def machine(folder: Path) -> dict[str, Any]:
    """CPU, load, memory, file system of `folder`, versions, commit."""
    cpuinfo = Path("/proc/cpuinfo").read_text()
    model = next((line.split(":")[1].strip() for line in cpuinfo.splitlines() if line.startswith("model name")), "?")
    flags = next((line.split(":")[1].split() for line in cpuinfo.splitlines() if line.startswith("flags")), [])
    usage = shutil.disk_usage(folder)
    return {
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "cpu": model,
        "cpu_flags": sorted({"sha_ni", "avx2", "avx512f", "avx512_bf16"} & set(flags)),
        "cores": os.cpu_count(),
        "python_ns_per_step": _python_ns(),
        "load": os.getloadavg(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "file_system": _output("stat", "-f", "-c", "%T", str(folder)),
        "disk_free_gb": round(usage.free / 1e9, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "openssl": ssl.OPENSSL_VERSION,
        "sqlite": DRIVER.sqlite_version,
        "journal": journal_mode(),
        "digest_ms_per_10_mb": {"sha256": _digest_ms(hashlib.sha256), "blake3": _digest_ms(blake3)},
        "packages": {name: version(name) for name in ("pynetdicom", "pydicom", "sqlalchemy", "blake3")},
        "peers": {"dcmtk": _output("storescp", "--version"), "orthanc": _output("/usr/sbin/Orthanc", "--version")},
        "commit": _output("git", "rev-parse", "HEAD"),
    }


def _python_ns() -> float:
    """Of a step of an empty loop: 20 to 30 on a quiet machine; several times that where a neighbour takes the core."""
    began = time.perf_counter()
    for _ in range(3_000_000):
        pass
    return round((time.perf_counter() - began) / 3e6 * 1e9, 1)


def _digest_ms(algorithm: Callable[[bytes], object]) -> float:
    data = bytes(10_240_000)
    began = time.process_time()
    for _ in range(3):
        algorithm(data)
    return round((time.process_time() - began) / 3 * 1000, 1)


def _output(*command: str) -> str:
    if shutil.which(command[0]) is None:
        return "absent"
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return (done.stdout or done.stderr).strip().split("\n")[0]
