"""`osteon model parity`: measure, show, and keep the verdicts that let another precision or half decoding serve."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from rich.console import Console
from rich.progress import track

from config.settings import Settings, SettingsError
from dicom_io.half_check import round_trip
from model import openvino_silent
from model.bundle import load_bundle
from model.engines import PARITY_BFLOAT16, Engines
from model.parity import (
    Comparison,
    Film,
    compare,
    phantoms,
    rmse_after_resizing,
    verdict_on_decoding,
    verdict_on_engine,
)
from model.preprocess import prepare
from model.proofs import Proofs, Verdict, digest_of
from model.screener import DEMO_BUNDLE
from node.active_model import active_bundle
from node.engine_choice import HALF, decoding_proofs, engines_directory, least_halved


def engine_parity(settings: Settings, *, count: int, seed: int) -> bool:
    """Hold OpenVINO in float32 and bfloat16 against torch; whether float32 keeps its bars.

    Raises:
        SettingsError: the `fast` extra is not installed, or OpenVINO did not prove itself at all.
        BundleError: the bundle cannot be used.

    """
    if not openvino_silent.installed():
        msg = "openvino is not installed; the extra `fast` brings it (install.md, Extras)"
        raise SettingsError(msg)
    from model.runtime_openvino import (  # noqa: PLC0415 - of the extra
        BFLOAT16,
        FLOAT32,
        IMAGE,
        compile_file,
        engine_name,
        has_bfloat16_units,
        openvino_engine,
    )

    folder = active_bundle(settings) or DEMO_BUNDLE
    opened = Engines(runtime="openvino", cache=engines_directory(settings)).open(folder)
    if opened.refused:
        raise SettingsError(opened.refused)
    reference = load_bundle(folder)
    proofs = Proofs(cache=engines_directory(settings), bundle=folder, engine=engine_name())
    name = compile_file(proofs.folder, IMAGE, BFLOAT16)
    spec = reference.manifest.image
    engines = {precision: openvino_engine(proofs.folder, spec, precision) for precision in (FLOAT32, BFLOAT16)}
    figures = compare(reference, engines, _shown(phantoms(reference, count, seed), count))
    figures[BFLOAT16]["gain_over_float32"] = figures[FLOAT32]["cpu_ms"] / figures[BFLOAT16]["cpu_ms"]
    exact = verdict_on_engine(figures[FLOAT32], exact=True)
    reduced = verdict_on_engine(figures[BFLOAT16], exact=False)
    files = {name: digest_of(proofs.folder / name)}
    _keep(proofs, PARITY_BFLOAT16, replace(reduced, files=files))
    _keep(proofs, "parity-float32", exact)
    _tell("float32", exact)
    _tell(f"bfloat16{'' if has_bfloat16_units() else ' (this CPU only emulates it)'}", reduced)
    return exact.accepted


def decoding_parity(settings: Settings, *, count: int, seed: int) -> bool:
    """Hold half-resolution decoding against full decoding, JPEG 2000 and HTJ2K in turn; whether it is admitted."""
    reference = load_bundle(active_bundle(settings) or DEMO_BUNDLE)
    comparison = Comparison(reference.fusion)
    worst = 0.0
    # The smallest films that would be halved in service: what they lose, larger ones lose less.
    films = phantoms(reference, count, seed, short=least_halved(reference))
    for number, film in enumerate(_shown(films, count)):
        full, half = round_trip(film.pixels, high_throughput=bool(number % 2))
        whole, coarse = prepare(full, reference.side), prepare(half, reference.side)
        worst = max(worst, rmse_after_resizing(full, half, reference.side))
        comparison.add(
            reference.runtime.infer(whole).logit,
            reference.runtime.infer(coarse).logit,
            osteoporosis=film.osteoporosis,
        )
        verdicts = [reference.gate.judge(pixels, reference.gate_features) for pixels in (full, half)]
        comparison.gate_changes += verdicts[0].reasons != verdicts[1].reasons
    verdict = verdict_on_decoding(comparison.figures() | {"rmse_of_4095": worst})
    _keep(decoding_proofs(settings, reference.folder), HALF, verdict)
    _tell("decode-half", verdict)
    return verdict.accepted


def _shown(films: Iterator[Film], count: int) -> Iterator[Film]:
    yield from track(films, total=count, description="comparing on phantoms", console=Console(stderr=True))


def _keep(proofs: Proofs, subject: str, verdict: Verdict) -> None:
    try:
        proofs.write(subject, verdict)
    except OSError as error:
        msg = f"{proofs.folder}: the verdict cannot be kept there ({error.strerror}); check storage.data_dir"
        raise SettingsError(msg) from error


def _tell(what: str, verdict: Verdict) -> None:
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"{what}: {'accepted' if verdict.accepted else f'NOT accepted ({verdict.reason})'}")
    figures = " ".join(f"{name}={value:.4g}" for name, value in verdict.figures.items())
    console.print(f"RESULT model-parity of={what.partition(' ')[0]} {figures} accepted={verdict.accepted}")
