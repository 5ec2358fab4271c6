"""Results for a person without a viewer: the SR as text, the page as a picture."""

from __future__ import annotations

import io

import numpy as np
import pydicom
from PIL import Image
from support.report_cases import context, header, radiograph, scored

from dicom_io.reading import page_png, report_text
from dicom_io.results import build_results
from model.domain import Category


def test_the_text_holds_every_value_and_the_picture_every_pixel():
    page, report = build_results(header(), radiograph(), scored(Category.ABOVE), context())
    text = report_text(report.part10)
    for line in ("Osteoporosis prob. (fused): 73.4 %", "Threshold Value: 32.0 %", "Finding: Osteoporosis"):
        assert line in text
    assert "Finding: Osteoporosis" not in report_text(
        build_results(header(), radiograph(), scored(Category.BELOW), context())[1].part10
    )
    picture = np.asarray(Image.open(io.BytesIO(page_png(page.part10))))
    assert np.array_equal(picture, pydicom.dcmread(io.BytesIO(page.part10)).pixel_array)
