"""`make bench-decode`: every accepted transfer syntax beside pydicom's decoder plugins, half resolution, preprocessing.

Candidates, each in a process of its own, take turns in shuffled order within a round and are compared within it; their
figures are CPU milliseconds of one thread on a 12-bit phantom of a detector's size. The exit status is 0 only if every
target of issue 8 holds.
"""

from __future__ import annotations

import random
import statistics
import sys
from collections import defaultdict
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import cv2
import imagecodecs
import numpy as np
from bench.decoders import HALF, NATIVE, OURS, cpu_ms, decode, decoders
from bench.facts import machine
from bench.frame import Benchmark, Report
from pydicom import dcmread, uid
from pydicom.pixels import apply_modality_lut, apply_voi_lut, get_decoder
from support.dicom_objects import encode, radiograph_dataset

from dicom_io.decoding import pixel_format, stored_index, stored_values
from dicom_io.grayscale import display_table, histogram, look_up
from model.area import shrink
from model.phantom.render import render
from model.phantom.scenario import Acquisition
from model.phantom.subject import Subject
from model.preprocess import prepare

SIDE = 320
NAMES = {
    uid.ExplicitVRLittleEndian: "explicit",
    uid.JPEGLosslessSV1: "jpeg-lossless-sv1",
    uid.JPEGExtended12Bit: "jpeg-extended",
    uid.JPEGLSLossless: "jpeg-ls",
    uid.JPEG2000Lossless: "j2k",
    uid.HTJ2KLossless: "htj2k",
}
LEAST = {"jpeg-lossless-sv1-gain": 4.0, "htj2k-gain": 2.0, "j2k-half-gain": 3.0}
MOST = {"preprocess-ms": 8.0, "half-j2k-rmse": 3.0, "half-htj2k-rmse": 3.0}
NAIVE_GAIN = 8.0


def main() -> int:
    return Benchmark(
        name="decode",
        description=__doc__,
        short="2 rounds of a small image: shows that it runs",
        folder="scratch",
        rounds=7,
        run=lambda folder, short, rounds: _run(folder, short=short, rounds=rounds),
        show=_print,
    ).main()


def _run(folder: Path, *, short: bool, rounds: int) -> Report:
    cv2.setNumThreads(1)
    objects = _objects((500, 410) if short else (2500, 2048))
    candidates, missing, equal = _candidates(objects)
    preparing = _preparing(objects[uid.ExplicitVRLittleEndian])
    times: dict[str, list[float]] = defaultdict(list)
    with decoders(candidates) as decoding:
        pool = decoding | {name: lambda work=work: cpu_ms(work) for name, work in preparing.items()}
        for _ in range(rounds):
            for name in random.sample(sorted(pool), len(pool)):
                times[name].append(pool[name]())
    headline = _gains(times, list(equal)) | _half_errors(objects)
    report: Report = {
        "machine": machine(folder),
        "rounds": rounds,
        "short": short,
        "missing": missing,
        "cpu_ms": dict(times),
        "equal": equal,
        "headline": {name: round(value, 2) for name, value in headline.items()},
    }
    bars = LEAST | {"preprocess-gain": NAIVE_GAIN}
    missed = [name for name, bar in bars.items() if headline.get(name, 0.0) < bar]
    missed += [name for name, bar in MOST.items() if headline.get(name, bar + 1) > bar]
    report["missed"] = missed + [f"{name}-differs" for name, same in equal.items() if not same]
    return report


def _objects(size: tuple[int, int]) -> dict[str, bytes]:
    """Part 10 bytes by transfer syntax."""
    values = np.round(render(Subject(), Acquisition(), 5, size) * 4095).astype(np.uint16)
    dataset = radiograph_dataset(values, WindowCenter="2048", WindowWidth="4096")
    frames = {
        uid.JPEGLosslessSV1: imagecodecs.jpeg8_encode(values, bitspersample=12, lossless=True, predictor=1),
        uid.JPEGExtended12Bit: imagecodecs.jpeg8_encode(values, bitspersample=12, level=95),
        uid.JPEGLSLossless: imagecodecs.jpegls_encode(values),
        uid.JPEG2000Lossless: imagecodecs.jpeg2k_encode(values, bitspersample=12, codecformat="j2k", reversible=True),
        uid.HTJ2KLossless: imagecodecs.htj2k_encode(values),
    }
    native = {syntax: encode(dataset, syntax) for syntax in (uid.ExplicitVRLittleEndian,)}
    return native | {syntax: encode(dataset, syntax, bytes(frame)) for syntax, frame in frames.items()}


def _candidates(objects: dict[str, bytes]) -> tuple[dict[str, tuple[str, bytes]], list[str], dict[str, bool]]:
    """What decodes what; which plugin of pydicom's does not; whether each, in pydicom's order, gives our values."""
    candidates: dict[str, tuple[str, bytes]] = {}
    missing: list[str] = []
    equal: dict[str, bool] = {}
    for syntax, part10 in objects.items():
        dataset, name = dcmread(BytesIO(part10)), NAMES[uid.UID(syntax)]
        ours = stored_values(dataset, pixel_format(dataset))
        candidates[f"{name}|{OURS}"] = OURS, part10
        if syntax in (uid.JPEG2000Lossless, uid.HTJ2KLossless):
            candidates[f"{name}|{HALF}"] = HALF, part10
        plugins = get_decoder(syntax).available_plugins if uid.UID(syntax).is_compressed else (NATIVE,)
        for plugin in plugins:
            try:
                theirs = decode(plugin, part10)()
            except (RuntimeError, NotImplementedError, ValueError):
                missing.append(f"pydicom's {plugin} does not read {name}")
                continue
            nearly = 2 if syntax == uid.JPEGExtended12Bit else 0
            equal[f"{name}|{plugin}"] = int(np.abs(ours - theirs.astype(np.int32)).max()) <= nearly
            candidates[f"{name}|{plugin}"] = plugin, part10
    return candidates, missing, equal


def _preparing(part10: bytes) -> dict[str, Callable[[], object]]:
    """From stored values to the network's square: ours in its parts, and the naive chain at full size."""
    dataset = dcmread(BytesIO(part10))
    form = pixel_format(dataset)
    index = stored_index(dataset, form)
    table = display_table(dataset, form, histogram(index, form))[0]
    pixels = look_up(table, index)

    def naive() -> object:
        shown = apply_voi_lut(apply_modality_lut(index, dataset), dataset).astype(np.float64)
        scaled = ((shown - shown.min()) / (shown.max() - shown.min()) * 255).astype(np.uint8)
        small = cv2.resize(scaled, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
        return (small - small.mean()) / small.std()

    return {
        "preprocess|resize": lambda: prepare(pixels, SIDE),
        "preprocess|grey": lambda: look_up(display_table(dataset, form, histogram(index, form))[0], index),
        "preprocess|naive": naive,
    }


def _gains(times: dict[str, list[float]], plugins: list[str]) -> dict[str, float]:
    """Against the first plugin of a syntax, which pydicom picks by itself (decision 0014), and against the others."""
    gains: dict[str, float] = {}
    for key in plugins:
        name, _, plugin = key.partition("|")
        for ours, label in ((OURS, f"{name}-gain"), (HALF, f"{name}-half-gain")):
            if f"{name}|{ours}" in times:
                gain = _paired(times[key], times[f"{name}|{ours}"])
                gains[f"{label}-{plugin}" if label in gains else label] = gain
    gains["half-vs-own-j2k"] = _paired(times[f"j2k|{OURS}"], times[f"j2k|{HALF}"])
    gains["preprocess-ms"] = statistics.median(times["preprocess|resize"])
    gains["preprocess-gain"] = _paired(times["preprocess|naive"], times["preprocess|resize"])
    return gains


def _half_errors(objects: dict[str, bytes]) -> dict[str, float]:
    """Root mean square difference from the full decode, both resized to the network's side; levels of 4095."""
    errors = {}
    for syntax, name in ((uid.JPEG2000Lossless, "half-j2k-rmse"), (uid.HTJ2KLossless, "half-htj2k-rmse")):
        dataset = dcmread(BytesIO(objects[syntax]))
        form = pixel_format(dataset)
        scale = SIDE / form.rows
        size = SIDE, round(form.columns * scale)
        whole = (0, 0, form.rows, form.columns)
        full, half = (
            shrink(stored_index(dataset, form, half=half).astype(np.float32), whole, *size) for half in (False, True)
        )
        errors[name] = float(np.sqrt(np.mean((full - half) ** 2)))
    return errors


def _paired(theirs: list[float], ours: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(theirs, ours, strict=True))


def _print(report: Report) -> None:
    for name, values in sorted(report["cpu_ms"].items()):
        print(f"{name:50} {statistics.median(values):8.1f} ms  ({min(values):.1f} - {max(values):.1f})")
    for line in report["missing"]:
        print(line)


if __name__ == "__main__":
    sys.exit(main())
