"""`make viewer`: what a radiologist's viewer makes of a report. Orthanc, the prebuilt OHIF and a headless Chromium.

A simulated film, its report and the amended report are stored by the node's own SCU; then the study is opened, the
newest page and the SR. Bars: film and page stand in the viewport as they were sent (correlation of the screenshot with
the pixels), the SR is the newest one and every number of it is legible inside the viewport, no error boundary and no
script error. Screenshots go to `demo-output/`. Absent tools are a skip with the reason, a failure when CI is true.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime as dt
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
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
_BOX = (
    "JSON.stringify((e => e ? (r => [r.left, r.top, r.right, r.bottom])(e.getBoundingClientRect()) : null)({element}))"
)
_CANVAS = "document.querySelector('canvas.cornerstone-canvas')"
_LINES = (
    "JSON.stringify([...document.querySelectorAll('svg.svg-layer tspan')].map("
    "e => [e.textContent, (r => [r.left, r.top, r.right, r.bottom])(e.getBoundingClientRect())]))"
)
LIMIT = 300.0
"""Seconds for one view; a busy machine draws slowly."""
AGAIN = 20.0
"""Seconds after which a person touches the picture, or opens the series again."""
TOUCH = 12.0
"""Pixels; by fewer than four it is a click."""
ALIKE = 0.85
"""Correlation from which the viewport shows the picture: overlays and buttons cover some of it (0.93 for the page, 1.00
for the film); the page of the version before has 0.54."""
SEEN = (48, 64)
"""Columns and rows at which pictures are compared, so that a viewer's half pixel does not count."""
Pixels = npt.NDArray[np.float32]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """What was stored, and what of it must be seen."""

    study_uid: str
    objects: tuple[BuiltObject, ...]
    film: Pixels
    """(rows, columns), bone bright."""
    page: Pixels
    """(rows, columns), the newest page in grey."""
    numbers: tuple[str, ...]
    """Lines of the newest SR as OHIF prints them."""


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
    sent = _sent(folder)
    with WebPacs(folder) as pacs:
        pacs.store(*sent.objects)
        found = len(pacs.qido(f"studies/{sent.study_uid}/series"))
        if not browse:
            print(f"RESULT viewer short=yes series={found}")
            return int(found != len({dcmread(BytesIO(o.part10)).SeriesInstanceUID for o in sent.objects}))
        archive = f"http://127.0.0.1:{pacs.http_port}"
        with ViewerServer(dist, archive) as viewer, Browser(folder / "profile") as browser:
            missed = _look(browser, f"{viewer.url}/viewer?StudyInstanceUIDs={sent.study_uid}", sent, out)
    for one in missed:
        print(f"missed: {one}")
    print(f"RESULT viewer series={found} missed={len(missed)} problems={len(browser.problems)} out={out}")
    return int(bool(missed))


def _sent(folder: Path) -> Sent:
    """A simulated film, its report, and the amended report."""
    now = dt.datetime.now(dt.UTC)
    made = film(demo_patients(1, 5)[0], number=1, taken_at=now, rows=900, seed=5)
    path = folder / "film.dcm"
    path.write_bytes(made.object.part10)
    radiograph, header = read_radiograph(path), dcmread(path, stop_before_pixels=True)
    rows, columns = radiograph.pixels.shape
    first = scored(analysed_region=(0, 0, rows, columns), model=SIMULATED_MODEL)
    second = dataclasses.replace(first, category=Category.BELOW, p_image=0.148, p_clinical=0.087, p_fused=0.112)
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
    return Sent(
        study_uid=str(header.StudyInstanceUID),
        objects=(image, *reported, *amended),
        film=radiograph.pixels,
        page=dcmread(BytesIO(amended[0].part10)).pixel_array.mean(axis=2, dtype=np.float32),
        numbers=(
            "Osteoporosis prob. (fused): 11.20 %",
            "Threshold Value: 32.00 %",
            "Osteoporosis prob. (image): 14.80 %",
            "Osteoporosis prob. (clinical): 8.70 %",
        ),
    )


def _look(browser: Browser, url: str, sent: Sent, out: Path) -> list[str]:
    """Open the study, its page and its SR; what did not go well."""
    out.mkdir(parents=True, exist_ok=True)
    browser.call("Page.addScriptToEvaluateOnNewDocument", source=_NO_TOUR)
    browser.open(url)
    steps: tuple[tuple[str, str, Callable[[], str]], ...] = (
        ("study", "", lambda: _unlike(browser, sent.film)),
        ("page", "v2 AI page", lambda: _unlike(browser, sent.page)),
        ("sr", "AI screen", lambda: _unlike(browser, sent.film) or _illegible(browser, sent.numbers)),
    )
    missed = []
    for name, series, lacking in steps:
        if found := _open(browser, series, lacking):
            missed.append(f"{name}: {found}")
        browser.screenshot(out / f"viewer-{name}.png")
        missed += [f"{name}: {word}" for word in _WRONG if word in browser.text()]
    browser.problems = [p for p in browser.problems if not any(noise in p for noise in _NOISE)]
    return missed + browser.problems


def _open(browser: Browser, series: str, lacking: Callable[[], str]) -> str:
    """Open a series and wait until nothing is lacking; what is, when the time is over.

    OHIF sets what of an SR is drawn without drawing anew: where it comes to that after the picture, region and numbers
    appear when the picture is touched.
    """
    deadline, due, turn = time.monotonic() + LIMIT, 0.0, 0
    while True:
        listed = browser.evaluate(f"Boolean({_LABEL.format(text=series)})")
        if listed and series and time.monotonic() > due:
            _touch(browser) if turn % 3 else _double_click(browser, series)
            due, turn = time.monotonic() + AGAIN, turn + 1
        lacks = lacking() if listed else f"not listed; the page says {browser.text()[:200]!r}"
        if not lacks or time.monotonic() > deadline:
            return lacks
        time.sleep(1.0)


def _touch(browser: Browser) -> None:
    """Drag a little in the middle of the viewport, as one does to change the window."""
    if place := _place(browser, _CANVAS):
        left, top, right, bottom = place
        browser.drag((left + right) / 2, (top + bottom) / 2, by=TOUCH)


def _double_click(browser: Browser, text: str) -> None:
    """On its entry in the study list."""
    label = _LABEL.format(text=text)
    browser.evaluate(f"{label}?.scrollIntoView({{block: 'nearest'}})")
    if place := _place(browser, label):
        left, top, right, bottom = place
        browser.click((left + right) / 2, (top + bottom) / 2, times=2)


def _place(browser: Browser, element: str) -> tuple[float, ...] | None:
    """Left, top, right and bottom of an element; None where it is not (any more): the viewer builds its page anew."""
    place = json.loads(browser.evaluate(_BOX.format(element=element)))
    return None if place is None else tuple(place)


def _unlike(browser: Browser, wanted: Pixels) -> str:
    """Empty where the viewport shows `wanted`, fitted to it; else how far it is from that."""
    if (place := _place(browser, _CANVAS)) is None:
        return "no viewport"
    left, top, right, bottom = map(round, place)
    shown = cv2.imdecode(np.frombuffer(browser.picture(), np.uint8), cv2.IMREAD_GRAYSCALE)
    shot = np.asarray(shown, np.float32)[top:bottom, left:right]
    scale = min(shot.shape[0] / wanted.shape[0], shot.shape[1] / wanted.shape[1])
    width, height = (round(v * scale) for v in wanted.shape[::-1])
    y, x = (shot.shape[0] - height) // 2, (shot.shape[1] - width) // 2
    there = shot[y : y + height, x : x + width]
    if not there.size or not there.std():
        return "the viewport is empty"
    seen, meant = (cv2.resize(one, SEEN, interpolation=cv2.INTER_AREA) for one in (there, wanted))
    alike = float(np.corrcoef(seen.ravel(), meant.ravel())[0, 1])
    return "" if alike >= ALIKE else f"the viewport shows something else (correlation {alike:.2f})"


def _illegible(browser: Browser, numbers: Sequence[str]) -> str:
    """Empty where every line stands in the viewport in full; else those that do not."""
    if (place := _place(browser, _CANVAS)) is None:
        return "no viewport"
    left, top, right, bottom = place
    inside = [
        text
        for text, box in json.loads(browser.evaluate(_LINES))
        if box[0] >= left and box[1] >= top and box[2] <= right and box[3] <= bottom
    ]
    absent = [number for number in numbers if number not in inside]
    return f"not legible in the viewport: {absent}, but {inside}" if absent else ""


if __name__ == "__main__":
    sys.exit(main())
