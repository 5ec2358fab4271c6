"""Which engine runs a bundle's networks: proven in a child process first, and given up for torch on any doubt.

`auto` takes torch where there is a GPU, else OpenVINO where the `fast` extra is installed, else torch. OpenVINO
computes in float32 unless a parity run (`osteon model parity`) has admitted bfloat16 for this bundle, version and CPU
and found it faster. Whatever is chosen passes the bundle's golden set in this process before it serves. Who cannot wait
for a proof that is missing (`wait`) gets torch, and lets the engine prove itself meanwhile (`admit`). Not allowed here:
torch.
"""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from model import openvino_silent
from model.bundle import Bundle, BundleError, golden_check, load_bundle
from model.proofs import Proofs, Verdict, digest_of

Choice = Literal["auto", "torch", "openvino"]

LOAD: Final = "load"
"""Subject of the verdict on float32 that a child process gave."""
PARITY_BFLOAT16: Final = "parity-bfloat16"
PROBE_SECONDS: Final = 900.0
"""For each stage of the proof; converting takes 15 s of CPU (measured), at low priority beside busy workers."""
REFUSAL_HOLDS: Final = 3600.0
"""Seconds after which an engine that was refused is tried again: the host may have been busy or short of memory."""
LEAST_GAIN: Final = 1.1
"""bfloat16 serves only where it is faster than float32 by this factor; a CPU without units for it only emulates it."""
REDUCED_LOGIT_TOLERANCE: Final = 0.2
"""Of a golden logit where the image network computes with fewer bits than float32: .05 in probability."""
_GPU: Final = Path("/proc/driver/nvidia/version")


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A bundle whose engine has proved itself, and why it is not the engine that was wanted, if so."""

    bundle: Bundle
    refused: str = ""
    unproven: bool = False
    """torch serves because the wanted engine has yet to prove itself: `Engines.admit`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Engines:
    """What the site wants, and where proofs are kept."""

    runtime: Choice = "auto"
    cache: Path = Path("engines")
    wait: bool = True
    """For a proof that is missing; else torch serves until there is one."""
    probe: Callable[[str, Path, Path], str] | None = None
    """(stage, bundle, folder) -> standard output; raises `ProbeFailed`. None: the child process."""

    def open(self, folder: Path) -> Opened:
        """Load the bundle in `folder` with the best engine that holds.

        Raises:
            BundleError: the bundle itself cannot be used, or torch does not reproduce its golden results.

        """
        refused: list[str] = []
        unproven = False
        for attempt in self._attempts(folder):
            try:
                return Opened(bundle=attempt(), refused="; ".join(refused))
            except EngineUnproven:
                unproven = True
            except EngineRefused as error:
                refused.append(str(error))
        bundle = load_bundle(folder)
        golden_check(bundle)
        return Opened(bundle=bundle, refused="; ".join(refused), unproven=unproven)

    def admit(self, folder: Path) -> str:
        """Have the engine that `open` found unproven prove itself, which takes long; why it may not serve, or empty."""
        proofs = _proofs(self.cache, folder)
        try:
            return self._proven(proofs).reason
        except EngineRefused as error:
            return str(error)

    def _attempts(self, folder: Path) -> Iterator[Callable[[], Bundle]]:
        if self.runtime == "auto" and _GPU.exists():
            yield functools.partial(_on_gpu, folder)
        elif self.runtime != "torch":
            if openvino_silent.installed():
                yield functools.partial(self._by_openvino, folder)
            elif self.runtime == "openvino":
                yield _absent

    def _by_openvino(self, folder: Path) -> Bundle:
        from model.runtime_openvino import FLOAT32, engine_name, openvino_engine  # noqa: PLC0415 - of the extra

        proofs = _proofs(self.cache, folder)
        verdict = self._proven(proofs) if self.wait else _standing(proofs)
        if verdict is None:
            raise EngineUnproven
        if not verdict.accepted:
            raise EngineRefused(verdict.reason)
        precision = best_precision(proofs) if self.runtime == "auto" else FLOAT32
        tolerance = None if precision == FLOAT32 else REDUCED_LOGIT_TOLERANCE
        try:
            bundle = load_bundle(folder, lambda spec, _image, _trunk: openvino_engine(proofs.folder, spec, precision))
            golden_check(bundle, logit_tolerance=tolerance)
        except (BundleError, RuntimeError, OSError) as error:
            proofs.withdraw(LOAD)
            msg = f"{engine_name()}: {error}"
            raise EngineRefused(msg) from error
        return bundle

    def _proven(self, proofs: Proofs) -> Verdict:
        """The verdict that stands, else a new one from a child process."""
        try:
            with proofs.alone():
                verdict = _standing(proofs)
                if verdict is None:
                    verdict = prove(proofs, self.probe or in_child)
                    proofs.write(LOAD, verdict)
                return verdict
        except OSError as error:
            msg = f"{proofs.folder}: the converted networks cannot be kept there ({error.strerror})"
            raise EngineRefused(msg) from error


class EngineUnproven(Exception):
    """Nothing is known yet of this engine, this bundle and this CPU."""


class EngineRefused(Exception):
    """This engine does not serve; torch does. The message is one line: why."""


class ProbeFailed(Exception):
    """A stage of the proof did not end well. The message is one line."""


def prove(proofs: Proofs, probe: Callable[[str, Path, Path], str]) -> Verdict:
    """Convert and try the engine."""
    try:
        difference = float(probe("convert", proofs.bundle, proofs.folder).split()[-1])
        probe("load", proofs.bundle, proofs.folder)
    except (ProbeFailed, ValueError, IndexError) as error:
        return Verdict(accepted=False, reason=f"{proofs.engine}: {error}")
    files = {path.name: digest_of(path) for path in sorted(proofs.folder.glob("*-float32.blob"))}
    return Verdict(accepted=True, figures={"golden_probability_difference": difference}, files=files)


def in_child(stage: str, bundle: Path, folder: Path) -> str:
    """Run one stage of `engine_probe` in a process of its own, which ends with this one at the latest.

    Raises ProbeFailed where it exits with another status than 0, is ended by a signal, or takes too long.
    """
    command = [sys.executable, "-m", "model.engine_probe", stage, str(bundle.absolute()), str(folder.absolute())]
    theirs, ours = os.pipe()
    try:
        done = subprocess.run(  # noqa: S603 - our own program
            command, stdin=theirs, capture_output=True, text=True, timeout=PROBE_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        msg = f"the child process that was to {stage} it took longer than {PROBE_SECONDS:g} s"
        raise ProbeFailed(msg) from error
    finally:
        os.close(ours)
        os.close(theirs)
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["nothing was said"])[-1]
        msg = f"the child process that was to {stage} it ended with status {done.returncode} ({said})"
        raise ProbeFailed(msg)
    return done.stdout


def best_precision(proofs: Proofs) -> str:
    """bfloat16 where a parity run admitted it here and found it worth while, else float32."""
    verdict = proofs.read(PARITY_BFLOAT16)
    worth = verdict is not None and verdict.accepted and verdict.figures.get("gain_over_float32", 0.0) >= LEAST_GAIN
    return "bfloat16" if worth else "float32"


def _proofs(cache: Path, bundle: Path) -> Proofs:
    from model.runtime_openvino import engine_name  # noqa: PLC0415 - of the extra

    return Proofs(cache=cache, bundle=bundle, engine=engine_name())


def _standing(proofs: Proofs) -> Verdict | None:
    """The verdict that counts now."""
    verdict = proofs.read(LOAD)
    if verdict is None:
        return None
    stands = proofs.unchanged(verdict) if verdict.accepted else verdict.age_seconds() < REFUSAL_HOLDS
    return verdict if stands else None


def _on_gpu(folder: Path) -> Bundle:
    from model.runtime_torch import CPU, best_device, torch_engine  # noqa: PLC0415 - torch is loaded only when chosen

    device = best_device()
    if device == CPU:
        msg = "there is a GPU, but torch cannot use it"
        raise EngineRefused(msg)
    try:
        bundle = load_bundle(folder, functools.partial(torch_engine, device=device))
        golden_check(bundle)
    except (BundleError, RuntimeError) as error:
        msg = f"torch on {device}: {error}"
        raise EngineRefused(msg) from error
    return bundle


def _absent() -> Bundle:
    msg = "openvino is not installed; the extra `fast` brings it (install.md, Extras)"
    raise EngineRefused(msg)
