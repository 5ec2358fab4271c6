"""OpenVINO on the CPU: both networks from the files that `openvino_conversion` made and a child process proved.

Nothing here imports torch: a worker with this engine starts in a second and takes a quarter of the memory. The gate's
trunk always computes in float32, so that a lower precision never moves a refusal. Not allowed here: torch, converting.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from model.manifest import ImageSpec
from model.openvino_silent import openvino
from model.runtime import Engine, NetworkNumbers, NetworkRuntime, RuntimeFacts

IMAGE: Final = "image"
GATE: Final = "gate"
FLOAT32: Final = "float32"
BFLOAT16: Final = "bfloat16"
_HINTS: Final = {FLOAT32: "f32", BFLOAT16: "bf16"}


def engine_name() -> str:
    """`openvino` and its version."""
    return f"openvino {openvino().__version__.split('-')[0]}"


def openvino_engine(folder: Path, spec: ImageSpec, precision: str = FLOAT32) -> Engine:
    """Both networks from the compiled files in `folder`.

    Raises:
        RuntimeError, OSError: a file is missing, or not for this version or CPU.

    """
    core = openvino().Core()
    image, gate = _compiled(core, folder, IMAGE, precision), _compiled(core, folder, GATE, FLOAT32)
    version = engine_name().partition(" ")[2]
    facts = RuntimeFacts(engine="openvino", version=version, precision=precision, threads=1)
    return Engine(runtime=NetworkRuntime(_Image(image), spec.serving, facts), features=_Gate(gate))


def compile_file(folder: Path, name: str, precision: str) -> str:
    """Compile the converted network `name` in `folder` for this CPU and keep the result; the file's name."""
    core = openvino().Core()
    compiled = core.compile_model(core.read_model(folder / f"{name}.xml"), "CPU", _options(precision))
    target = folder / _file(name, precision)
    target.write_bytes(compiled.export_model().getvalue())
    return target.name


def has_bfloat16_units() -> bool:
    """Whether this CPU computes bfloat16 faster than float32; without such units it is only emulated."""
    return "BF16" in openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


class _Image:
    """The image network behind `runtime.Forward`."""

    def __init__(self, compiled: Any) -> None:
        self._request = compiled.create_infer_request()

    def __call__(self, image: npt.NDArray[np.float32], mask: npt.NDArray[np.float32]) -> NetworkNumbers:
        found = self._request.infer([image[None, None], mask[None, None]], share_inputs=True)
        return NetworkNumbers(*(np.array(found[index][0], np.float32) for index in range(len(NetworkNumbers._fields))))


class _Gate:
    """The gate's trunk behind `gate.FeatureMap`."""

    def __init__(self, compiled: Any) -> None:
        self._request = compiled.create_infer_request()

    def __call__(self, image: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        shown = np.ascontiguousarray(image, np.float32)[None, None]
        return np.array(self._request.infer([shown], share_inputs=True)[0][0], np.float32)


def _compiled(core: Any, folder: Path, name: str, precision: str) -> Any:
    return core.import_model((folder / _file(name, precision)).read_bytes(), "CPU", _options(precision))


def _options(precision: str) -> Mapping[str, Any]:
    """One thread, one stream; no pinning, since other workers share the cores."""
    return {
        "INFERENCE_NUM_THREADS": 1,
        "NUM_STREAMS": 1,
        "ENABLE_CPU_PINNING": False,
        "INFERENCE_PRECISION_HINT": _HINTS[precision],
    }


def _file(name: str, precision: str) -> str:
    return f"{name}-{precision}.blob"
