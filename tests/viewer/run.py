"""`make viewer`: what a radiologist's viewer makes of a report. Orthanc, the prebuilt OHIF and a headless Chromium.

A simulated film, its report and the amended report are stored by the node's own SCU; then the study is opened, the
newest page and the SR. Bars: each is listed and shown, the SR with its numbers, no error boundary and no script error.
Screenshots go to `demo-output/`. Absent tools are a skip with the reason, and a failure when CI is true.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime as dt
import os
import sys
import tempfile
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

from pydicom import dcmread
from support.chromium import Browser, chromium
from support.dicomweb import WebPacs
from support.ohif import ViewerServer, viewer_files
from support.report_cases import SIMULATED_MODEL, context, scored

from dicom_io.radiograph import read_radiograph
from dicom_io.results import BuiltObject, Companion, build_results
from dicom_io.versions import EarlierDocument, amends
from model.domain import Category
from node.demo.orthanc import orthanc_binary
from node.demo.phantoms import demo_patients, film

_NO_TOUR = "localStorage.setItem('shownTours', JSON.stringify(['basicViewerTour']));"
_WRONG = ("Something went wrong", "Error Details", "No spatial coordinates")
_NOISE = ("favicon", "manifest.json", "DevTools", "[Violation]")
_LABEL = (
    "[...document.querySelectorAll('[data-cy=series-description-label]')].find(e => e.innerText.includes({text!r}))"
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--short", action="store_true", help="only what the run needs: tools, study and archive, no browser"
    )
    parser.add_argument("--cache", type=Path, default=Path(".venv/npm-viewer"), help="where the viewer is unpacked")
    parser.add_argument("--out", type=Path, default=Path("demo-output"), help="folder of the screenshots")
    options = parser.parse_args()
    if (reason := _absent()) or isinstance(dist := viewer_files(options.cache.resolve()), str):
        print(f"RESULT viewer skipped=yes reason={reason or dist}")
        return int(os.environ.get("CI") == "true")
    with tempfile.TemporaryDirectory(prefix="osteon-viewer-") as folder:
        return _run(Path(folder), dist, options.out, browse=not options.short)


def _absent() -> str:
    if chromium() is None:
        return "chromium is not installed"
    return "" if orthanc_binary() else "Orthanc is not installed"


def _run(folder: Path, dist: Path, out: Path, *, browse: bool) -> int:
    study, objects = _study(folder)
    with WebPacs(folder) as pacs:
        pacs.store(*objects)
        found = len(pacs.qido(f"studies/{study}/series"))
        if not browse:
            print(f"RESULT viewer short=yes series={found}")
            return int(found != len({dcmread(BytesIO(o.part10)).SeriesInstanceUID for o in objects}))
        archive = f"http://127.0.0.1:{pacs.http_port}"
        with ViewerServer(dist, archive) as viewer, Browser(folder / "profile") as browser:
            missed = _look(browser, f"{viewer.url}/viewer?StudyInstanceUIDs={study}", out)
    for one in missed:
        print(f"missed: {one}")
    print(f"RESULT viewer series={found} opened={3 - len(missed)} problems={len(browser.problems)} out={out}")
    return int(bool(missed))


def _study(folder: Path) -> tuple[str, Sequence[BuiltObject]]:
    """A simulated film, its report, and the amended report."""
    now = dt.datetime.now(dt.UTC)
    made = film(demo_patients(1, 5)[0], number=1, taken_at=now, rows=900, seed=5)
    path = folder / "film.dcm"
    path.write_bytes(made.object.part10)
    radiograph, header = read_radiograph(path), dcmread(path, stop_before_pixels=True)
    rows, columns = radiograph.pixels.shape
    first = scored(analysed_region=(0, 0, rows, columns), model=SIMULATED_MODEL)
    second = dataclasses.replace(first, category=Category.BELOW, p_fused=0.112)
    told = context(at=now, companions=(Companion.HEAT_MAP, Companion.PDF))
    reported = build_results(header, radiograph, first, told)
    taken = amends(2, [EarlierDocument(part10=reported[-1].part10, released=True)])
    again = dataclasses.replace(told, companions=(), amends=taken, at=taken.not_before(now))
    amended = build_results(header, radiograph, second, again)
    image = BuiltObject(
        kind="image",
        sop_class_uid=str(header.SOPClassUID),
        sop_instance_uid=str(header.SOPInstanceUID),
        part10=made.object.part10,
    )
    return str(header.StudyInstanceUID), (image, *reported, *amended)


def _look(browser: Browser, url: str, out: Path) -> list[str]:
    """Open the study, its page and its SR; what did not go well."""
    out.mkdir(parents=True, exist_ok=True)
    browser.call("Page.addScriptToEvaluateOnNewDocument", source=_NO_TOUR)
    browser.open(url)
    steps = (
        ("study", "", "document.body.textContent.includes('1/1')"),
        ("page", "v2 AI page", "document.querySelectorAll('canvas').length > 0"),
        ("sr", "AI screen", "document.body.textContent.includes('Osteoporosis prob')"),
    )
    missed = []
    for name, series, ready in steps:
        try:
            browser.await_true(_LABEL.format(text=series), f"{name}: series listed")
            if series:
                _open_series(browser, series)
            browser.await_true(ready, f"{name}: shown")
            browser.await_true("!document.body.innerText.includes('Loading')", f"{name}: loaded")
        except TimeoutError as error:
            missed.append(str(error))
        browser.screenshot(out / f"viewer-{name}.png")
        missed += [f"{name}: {word}" for word in _WRONG if word in browser.text()]
    browser.problems = [p for p in browser.problems if not any(noise in p for noise in _NOISE)]
    return missed + browser.problems


def _open_series(browser: Browser, text: str) -> None:
    """Double click on its entry in the study list."""
    label = _LABEL.format(text=text)
    browser.evaluate(f"{label}.scrollIntoView({{block: 'nearest'}})")
    box = browser.evaluate(f"(r => [r.x + r.width / 2, r.y + r.height / 2])({label}.getBoundingClientRect())")
    browser.click(*box, times=2)


if __name__ == "__main__":
    sys.exit(main())
