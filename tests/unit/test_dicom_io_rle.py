"""RLE Lossless as two independent decoders read it."""

import subprocess
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pydicom import dcmread
from support.report_cases import MODEL, context, header
from support.tools import require_tool

from dicom_io import rle
from dicom_io.envelope import part10
from dicom_io.reference_header import reference_header
from dicom_io.secondary_capture import Capture, secondary_capture

CAPTURE = Capture(kind="page", series_number=9902, description="AI page - NOT FOR DIAGNOSIS", derivation="A test")


def stored(pixels: np.ndarray) -> bytes:
    clean = reference_header(header()).dataset
    return part10(secondary_capture(clean, pixels, CAPTURE, context(), model=MODEL, digest="d"))


@settings(max_examples=40, deadline=None)
@given(
    arrays(
        np.uint8,
        st.tuples(st.integers(1, 9), st.integers(1, 300), st.just(3)),
        elements=st.sampled_from([0, 1, 128, 255]),
        fill=st.just(255),
    )
)
def test_any_picture_comes_back(pixels: np.ndarray) -> None:
    assert (dcmread(BytesIO(stored(pixels))).pixel_array == pixels).all()


@pytest.mark.parametrize("width", [1, 127, 128, 129, 130, 255])
def test_runs_end_with_each_row(width: int) -> None:
    """PS3.5 G.3.1: each row of the image is encoded separately."""
    one, three = (rle.encoded(np.full((rows, width, 3), 7, np.uint8)) for rows in (1, 3))
    assert dcmread(BytesIO(stored(np.full((3, width, 3), 7, np.uint8)))).pixel_array.shape == (3, width, 3)
    segment = one[64 : 64 + (2 if width <= 128 else 4)]
    assert three[64:].startswith(segment * 3)


def test_dcmtk_decodes_the_same_pixels(tmp_path: Path) -> None:
    require_tool("dcmdrle")
    pixels = np.random.default_rng(3).integers(0, 4, (61, 83, 3), np.uint8) * 60
    (tmp_path / "page.dcm").write_bytes(stored(pixels))
    subprocess.run(["dcmdrle", tmp_path / "page.dcm", tmp_path / "plain.dcm"], check=True, timeout=60)
    plain = dcmread(tmp_path / "plain.dcm")
    assert (plain.pixel_array == pixels).all()


def test_a_page_of_text_shrinks_to_a_fraction() -> None:
    pixels = np.full((1300, 1000, 3), 255, np.uint8)
    assert len(rle.encoded(pixels)) < pixels.size / 50
