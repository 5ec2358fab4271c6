"""`make bench-infer`: the shipped bundle by torch and by OpenVINO, cold starts, memory, and the archive run's yield.

Engines take turns in shuffled order within a round and are compared within it; figures are CPU milliseconds of one
thread for one image, both networks. Start and memory are those of fresh processes of the product. The exit status is 0
only if every target of issue 8 holds.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
from bench.facts import machine
from bench.frame import Benchmark, Report
from support.dicom_objects import dataset_of, encode, radiograph_dataset
from support.engines import proven_engines
from support.raw_dicom import UID_LENGTH, RawSender, fresh_uid

from model.bundle import Bundle, load_bundle
from model.engines import Engines
from model.gate import gate_input
from model.phantom.render import render
from model.phantom.scenario import Acquisition
from model.phantom.subject import Subject
from model.preprocess import prepare
from model.proofs import Proofs
from model.runtime import Engine
from model.runtime_openvino import (
    BFLOAT16,
    FLOAT32,
    IMAGE,
    compile_file,
    engine_name,
    has_bfloat16_units,
    openvino_engine,
)
from model.screener import DEMO_BUNDLE
from node.cores import cores

LEAST = {"float32-gain": 1.4, "bfloat16-gain": 2.5, "archive-yield": 0.85}
MOST = {
    "float32-difference": 1e-4,
    "listener-ready-s": 1.5,
    "worker-ready-s": 3.0,
    "listener-mb": 150.0,
    "worker-mb": 600.0,
}
_PLACE = "1." + "7" * (UID_LENGTH - 2)
BARE = """
import sys, time
from pathlib import Path
from config.settings import parse
from node.archive_jobs import Job
from node.archive_screening import begin
_, answer = begin(parse({"storage": {"data_dir": sys.argv[2]}}, origin="bench"), Path(sys.argv[1]))
files = sorted(Path(sys.argv[3]).glob("*.dcm"))
answer(Job(file="warm", path=files[0]))
print("ready", flush=True)
sys.stdin.readline()
began = time.monotonic()
for path in files[int(sys.argv[4])::int(sys.argv[5])]:
    answer(Job(file=path.name, path=path))
print(time.monotonic() - began, flush=True)
"""
"""The bare limit of the archive run: the same steps in one loop per core, without hand-out, table and progress bar."""


def main() -> int:
    return Benchmark(
        name="infer",
        description=__doc__,
        short="2 rounds, engines only: shows that it runs",
        folder="scratch",
        rounds=9,
        run=lambda folder, short, rounds: _run(folder, short=short, rounds=rounds),
        show=_print,
    ).main()


def _run(folder: Path, *, short: bool, rounds: int) -> Report:
    reference = load_bundle(DEMO_BUNDLE)
    cache = proven_engines() if short else folder / "data" / "engines"
    opened = Engines(runtime="openvino", cache=cache).open(DEMO_BUNDLE)
    if opened.refused:
        sys.exit(f"OpenVINO did not prove itself: {opened.refused}")
    engines = _engines(reference, cache)
    film = render(Subject(), Acquisition(), 5, (500, 410))
    shown, small = prepare(film, reference.side), gate_input(film)
    times: dict[str, list[float]] = defaultdict(list)
    for engine in engines.values():
        _both(engine, shown, small)
    for _ in range(rounds):
        for name in random.sample(sorted(engines), len(engines)):
            times[name].append(_cpu_ms(lambda one=engines[name]: _both(one, shown, small)))
    headline = {f"{name}-gain": _paired(times["torch"], times[name]) for name in (FLOAT32, BFLOAT16)}
    headline |= {f"{name}-difference": _difference(reference, engines[name]) for name in (FLOAT32, BFLOAT16)}
    if not short:
        headline |= _starts(folder, max(rounds // 3, 3)) | _archive(folder)
    units = has_bfloat16_units()
    return {
        "machine": machine(folder) | {"bfloat16_units": units, "openvino": engine_name()},
        "rounds": rounds,
        "short": short,
        "cpu_ms": dict(times),
        "headline": {name: float(f"{value:.3g}") for name, value in headline.items()} | {"bfloat16-units": units},
        "missed": _missed(headline, short=short, units=units),
    }


def _missed(headline: dict[str, float], *, short: bool, units: bool) -> list[str]:
    """The bars that do not hold. Without units bfloat16 is emulated: its bar is not shown, and that is a missed one."""
    least, most = (LEAST, MOST) if not short else ({}, {"float32-difference": 1e-4})
    missed = [f"{name}>={bar}" for name, bar in least.items() if headline[name] < bar]
    missed += [f"{name}<={bar}" for name, bar in most.items() if headline[name] > bar]
    return [f"{name}(no-units-on-this-CPU)" if not units and "bfloat16" in name else name for name in missed]


def _engines(reference: Bundle, cache: Path) -> dict[str, Engine]:
    folder = Proofs(cache=cache, bundle=DEMO_BUNDLE, engine=engine_name()).folder
    compile_file(folder, IMAGE, BFLOAT16)
    spec = reference.manifest.image
    torch = Engine(runtime=reference.runtime, features=reference.gate_features)
    return {"torch": torch} | {name: openvino_engine(folder, spec, name) for name in (FLOAT32, BFLOAT16)}


def _both(engine: Engine, shown: object, small: np.ndarray) -> None:
    engine.features(small)
    engine.runtime.infer(shown)


def _difference(reference: Bundle, engine: Engine) -> float:
    """Largest difference of the image probability over the golden pictures."""
    shown = [prepare(picture.pixels, reference.side) for picture in reference.golden]
    pairs = [(reference.runtime.infer(one).logit, engine.runtime.infer(one).logit) for one in shown]
    return max(abs(reference.fusion.image_only(a) - reference.fusion.image_only(b)) for a, b in pairs)


def _starts(folder: Path, times: int) -> dict[str, float]:
    """Seconds from start to the first C-STORE answered Success and to a ready worker, and what each process holds."""
    port = _free_port()
    config = folder / "site.toml"
    config.write_text(
        f'[storage]\ndata_dir = "{folder / "data"}"\n[reception]\nport = {port}\n[model]\nworkers = 1\n', "utf-8"
    )
    template = dataset_of(encode(radiograph_dataset(np.zeros((64, 64), np.uint16), SOPInstanceUID=_PLACE)))
    _start(config, port, template, defaultdict(list))  # a new installation makes its ledger and compiles its modules
    found: dict[str, list[float]] = defaultdict(list)
    for _ in range(times):
        _start(config, port, template, found)
    return {name: statistics.median(values) for name, values in found.items()}


def _start(config: Path, port: int, image: bytes, found: dict[str, list[float]]) -> None:
    command = [str(Path(sys.executable).with_name("osteon")), "serve", "--config", str(config)]
    began = time.monotonic()
    # An installed product's modules are compiled; where this is set, every start would compile them anew.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        found["listener-ready-s"].append(_first_store(port, image) - began)
        while "worker.ready" not in (line := process.stderr.readline()):
            if not line:
                sys.exit("the node ended before its worker was ready")
        found["worker-ready-s"].append(time.monotonic() - began)
        node = psutil.Process(process.pid)
        found["listener-mb"].append(node.memory_info().rss / 1e6)
        found["worker-mb"].append(max(child.memory_info().rss for child in node.children(recursive=True)) / 1e6)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)
        process.stderr.close()


def _first_store(port: int, image: bytes) -> float:
    """When the first C-STORE was answered with Success; the port is tried every few milliseconds."""
    instance = fresh_uid()
    dataset = image.replace(_PLACE.encode(), instance.encode())
    while True:
        try:
            with RawSender(port) as sender:
                if sender.store(dataset, instance) == 0:
                    stored = time.monotonic()
                    sender.release()
                    return stored
        except OSError:
            time.sleep(0.005)


def _archive(folder: Path, files: int = 1000) -> dict[str, float]:
    """Images per second of `osteon screen FOLDER` over those of the bare loop on every core."""
    films = folder / "films"
    films.mkdir()
    values = np.round(render(Subject(), Acquisition(), 5, (1250, 1024)) * 4095).astype(np.uint16)
    first = encode(radiograph_dataset(values, WindowCenter="2048", WindowWidth="4096"))
    (films / "0000.dcm").write_bytes(first)
    for number in range(1, files):
        os.link(films / "0000.dcm", films / f"{number:04d}.dcm")
    ratios = []
    for _ in range(2):
        bare = _bare(folder, films)
        out = folder / "results.csv"
        out.unlink(missing_ok=True)
        config = folder / "site.toml"
        began = time.monotonic()
        command = [str(Path(sys.executable).with_name("osteon")), "screen", str(films), "--out", str(out)]
        subprocess.run([*command, "--config", str(config)], check=True, capture_output=True)
        ratios.append(bare / (time.monotonic() - began))
    shutil.rmtree(films)
    return {"archive-yield": statistics.median(ratios)}


def _bare(folder: Path, films: Path) -> float:
    arguments = [str(DEMO_BUNDLE), str(folder / "data"), str(films)]
    loops = [
        subprocess.Popen(
            [sys.executable, "-c", BARE, *arguments, str(number), str(cores())],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for number in range(cores())
    ]  # fmt: skip
    for loop in loops:
        loop.stdout.readline()
    for loop in loops:
        loop.stdin.write("go\n")
        loop.stdin.flush()
    longest = max(float(loop.stdout.readline()) for loop in loops)
    for loop in loops:
        loop.wait()
        loop.stdin.close()
        loop.stdout.close()
    return longest


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _paired(theirs: list[float], ours: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(theirs, ours, strict=True))


def _cpu_ms(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return max((time.process_time() - began) * 1000, 1e-3)


def _print(report: Report) -> None:
    for name, values in sorted(report["cpu_ms"].items()):
        print(f"{name:10} {statistics.median(values):8.1f} ms CPU an image  ({min(values):.1f} - {max(values):.1f})")
    if not report["machine"]["bfloat16_units"]:
        print("this CPU has no bfloat16 units: it emulates them, and the bfloat16 target cannot be shown on it")


if __name__ == "__main__":
    sys.exit(main())
