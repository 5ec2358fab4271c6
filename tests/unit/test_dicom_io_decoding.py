"""Every transfer syntax the node accepts, from an independent encoder back to the stored values, bit for bit."""

import struct
import subprocess
from io import BytesIO
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import dcmread, uid
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from support.dicom_objects import encode, radiograph_dataset
from support.encoded_films import LOSSLESS, LOSSY, PIXELS, rle
from support.shared_data import DICOM, needs_dicom
from support.tools import require_tool

from dicom_io.decoding import pixel_format, stored_index, stored_values
from dicom_io.errors import DicomIoError, PixelDecodeError
from dicom_io.syntaxes import NATIVE, TRANSFER_SYNTAXES

EIGHT = radiograph_dataset(BitsAllocated=8, BitsStored=8, HighBit=7)
FRAMES = {
    **{syntax: (bytes(encoder()), radiograph_dataset()) for syntax, encoder in LOSSLESS.items()},
    **{syntax: (bytes(encoder()), radiograph_dataset()) for syntax, (encoder, _) in LOSSY.items()},
    uid.JPEGBaseline8Bit: (bytes(imagecodecs.jpeg8_encode((PIXELS >> 4).astype(np.uint8), level=98)), EIGHT),
}
"""A whole frame in every encapsulated transfer syntax, and the header it belongs to."""


def decoded(part10: bytes) -> np.ndarray:
    dataset = dcmread(BytesIO(part10))
    return stored_values(dataset, pixel_format(dataset))


def image(header: Dataset, syntax: str, frame: bytes, *, half: bool = False) -> np.ndarray:
    dataset = dcmread(BytesIO(encode(header, syntax, frame)))
    return stored_index(dataset, pixel_format(dataset), half=half)


@pytest.mark.parametrize("syntax", NATIVE, ids=lambda one: one.name)
def test_native(syntax: uid.UID) -> None:
    assert np.array_equal(decoded(encode(radiograph_dataset(), syntax)), PIXELS)


@pytest.mark.parametrize("syntax", LOSSLESS, ids=lambda one: one.name)
def test_lossless_is_bit_exact(syntax: uid.UID) -> None:
    assert np.array_equal(decoded(encode(radiograph_dataset(), syntax, LOSSLESS[syntax]())), PIXELS)


@pytest.mark.parametrize("syntax", LOSSY, ids=lambda one: one.name)
def test_lossy_is_near(syntax: uid.UID) -> None:
    encoder, tolerance = LOSSY[syntax]
    values = decoded(encode(radiograph_dataset(), syntax, encoder()))
    assert np.abs(values - PIXELS).max() <= tolerance


def test_jpeg_baseline_8_bit() -> None:
    eight = (PIXELS >> 4).astype(np.uint8)
    dataset = radiograph_dataset(BitsAllocated=8, BitsStored=8, HighBit=7)
    values = decoded(encode(dataset, uid.JPEGBaseline8Bit, imagecodecs.jpeg8_encode(eight, level=98)))
    assert np.abs(values - eight).max() <= 12


def test_every_accepted_transfer_syntax_is_tested_here() -> None:
    assert set(TRANSFER_SYNTAXES) == {*NATIVE, *LOSSLESS, *LOSSY, uid.JPEGBaseline8Bit}


@pytest.mark.parametrize(
    ("tool", "options", "syntax"),
    [
        ("dcmcjpeg", ["+e1"], uid.JPEGLosslessSV1),
        ("dcmcjpeg", ["+el"], uid.JPEGLossless),
        ("dcmcjpls", [], uid.JPEGLSLossless),
        ("dcmcrle", [], uid.RLELossless),
        ("dcmconv", ["+td"], uid.DeflatedExplicitVRLittleEndian),
        ("dcmconv", ["+tb"], uid.ExplicitVRBigEndian),
    ],
)
def test_what_dcmtk_encoded(tmp_path: Path, tool: str, options: list[str], syntax: str) -> None:
    require_tool(tool)
    source, target = tmp_path / "in.dcm", tmp_path / "out.dcm"
    source.write_bytes(encode(radiograph_dataset()))
    subprocess.run([tool, *options, source, target], check=True, capture_output=True)
    dataset = dcmread(target)
    assert dataset.file_meta.TransferSyntaxUID == syntax
    assert np.array_equal(stored_values(dataset, pixel_format(dataset)), PIXELS)


@pytest.mark.parametrize(
    ("tool", "options", "syntax", "bits", "tolerance"),
    [
        ("dcmcjpeg", ["+eb", "+q", "98"], uid.JPEGBaseline8Bit, 8, 12),
        ("dcmcjpeg", ["+ee", "+q", "98"], uid.JPEGExtended12Bit, 12, 150),
        ("dcmcjpls", ["+en", "+md", "3"], uid.JPEGLSNearLossless, 12, 3),
    ],
)
def test_what_dcmtk_encoded_with_loss(
    tmp_path: Path, tool: str, options: list[str], syntax: str, bits: int, tolerance: int
) -> None:
    require_tool(tool)
    original = PIXELS if bits == 12 else PIXELS >> 4
    dataset = radiograph_dataset(original, BitsStored=bits, HighBit=bits - 1, BitsAllocated=8 if bits == 8 else 16)
    if bits == 8:
        dataset.PixelData = original.astype(np.uint8).tobytes()
    source, target = tmp_path / "in.dcm", tmp_path / "out.dcm"
    source.write_bytes(encode(dataset))
    subprocess.run([tool, *options, source, target], check=True, capture_output=True)
    found = dcmread(target)
    assert found.file_meta.TransferSyntaxUID == syntax
    values = stored_values(found, pixel_format(found))
    assert np.abs(values - original.astype(np.int32)).max() <= tolerance
    if tool == "dcmcjpeg":
        subprocess.run(["dcmdjpeg", target, source], check=True, capture_output=True)
        theirs = dcmread(source)
        assert np.abs(values - stored_values(theirs, pixel_format(theirs))).max() <= 2  # inverse DCTs may round apart


@pytest.mark.parametrize("syntax", [uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL, uid.HTJ2K])
def test_high_throughput_streams_mean_the_same_to_another_decoder(syntax: str) -> None:
    """OpenJPH wrote them; OpenJPEG, which shares no code with it, reads the same values."""
    frame = LOSSLESS[syntax]()
    assert np.array_equal(imagecodecs.jpeg2k_decode(frame), PIXELS)
    assert np.array_equal(decoded(encode(radiograph_dataset(), syntax, frame)), PIXELS)


@needs_dicom
@pytest.mark.parametrize(
    ("name", "syntax"),
    [
        ("hand_cr_j2k_lossless__Kakadu44", uid.JPEG2000Lossless),
        ("lowerleg_mono1_j2k_lossless__RG3", uid.JPEG2000Lossless),
        ("chest_pa_f_mono1_15bit_j2k_lossy__RG1", uid.JPEG2000),
        ("chest_pa_f_mono1_15bit_jpegls_near__RG1", uid.JPEGLSNearLossless),
        ("hip_jpeg_lossless_sv1__RG2", uid.JPEGLosslessSV1),
        ("hip_jpegls_lossless__RG2", uid.JPEGLSLossless),
        ("hip_jpeg_extended_12bit__RG2", uid.JPEGExtended12Bit),
        ("chest_pa_mono1_10bit_implicit__CR-MONO1-10", uid.ImplicitVRLittleEndian),
    ],
)
def test_real_films_decode(name: str, syntax: str) -> None:
    dataset = dcmread(DICOM / f"{name}.dcm")
    values = stored_values(dataset, form := pixel_format(dataset))
    assert dataset.file_meta.TransferSyntaxUID == syntax
    assert values.shape == (dataset.Rows, dataset.Columns)
    assert np.unique(values).size > 200
    assert form.lowest <= values.min() < values.max() <= form.highest


@needs_dicom
def test_a_real_film_is_the_same_film_in_every_encoding() -> None:
    def read(name: str) -> np.ndarray:
        dataset = dcmread(DICOM / f"{name}.dcm")
        return stored_values(dataset, pixel_format(dataset)).astype(np.float64)

    assert np.array_equal(read("hip_jpeg_lossless_sv1__RG2"), read("hip_jpegls_lossless__RG2"))
    for lossy, reference in (
        ("lowerleg_mono1_j2k_lossy__RG3", "lowerleg_mono1_j2k_lossless__RG3"),
        ("chest_pa_f_mono1_15bit_j2k_lossy__RG1", "chest_pa_f_mono1_15bit_jpegls_near__RG1"),
    ):
        exact = read(reference)
        assert np.abs(read(lossy) - exact).mean() < 0.01 * (exact.max() - exact.min())


@pytest.mark.parametrize("syntax", [uid.ExplicitVRLittleEndian, uid.RLELossless, uid.JPEGLosslessSV1])
def test_overlay_bits_above_the_stored_bits_are_masked(syntax: str) -> None:
    dirty = PIXELS | np.uint16(0xA000)
    frames = {
        uid.RLELossless: rle(dirty),
        uid.JPEGLosslessSV1: imagecodecs.jpeg8_encode(dirty, bitspersample=16, lossless=True, predictor=1),
    }
    assert np.array_equal(decoded(encode(radiograph_dataset(dirty), syntax, frames.get(syntax))), PIXELS)


def test_stored_bits_at_the_upper_end_of_the_cell() -> None:
    dataset = radiograph_dataset((PIXELS << 4) | 5, HighBit=15)
    assert np.array_equal(decoded(encode(dataset)), PIXELS)


@pytest.mark.parametrize(
    "syntax", [uid.ExplicitVRLittleEndian, uid.RLELossless, uid.JPEG2000Lossless, uid.JPEGLSLossless]
)
def test_signed_values(syntax: str) -> None:
    signed = PIXELS.astype(np.int32) - 2048
    cell = (signed & 0xFFF).astype(np.uint16)
    frames = {
        uid.RLELossless: rle(cell),
        uid.JPEGLSLossless: imagecodecs.jpegls_encode(cell),
        uid.JPEG2000Lossless: imagecodecs.jpeg2k_encode(
            signed.astype(np.int16), bitspersample=12, codecformat="j2k", reversible=True
        ),
    }
    dataset = radiograph_dataset(cell, PixelRepresentation=1)
    assert np.array_equal(decoded(encode(dataset, syntax, frames.get(syntax))), signed)


def test_lossy_overshoot_is_clipped_not_turned_over() -> None:
    checks = np.where((np.add.outer(np.arange(48), np.arange(40)) // 3) % 2, 1023, 0).astype(np.uint16)
    frame = imagecodecs.jpeg8_encode(checks, bitspersample=12, level=40)
    dataset = radiograph_dataset(checks, BitsStored=10, HighBit=9)
    assert imagecodecs.jpeg8_decode(frame).max() > 1023
    values = decoded(encode(dataset, uid.JPEGExtended12Bit, frame))
    assert values[checks == 1023].min() > 500
    assert values[checks == 0].max() < 500


@pytest.mark.parametrize(
    "change",
    [
        {"Rows": 0}, {"Rows": 49}, {"Rows": 65535, "Columns": 65535}, {"BitsAllocated": 12}, {"BitsAllocated": 32},
        {"BitsStored": 17},
        {"HighBit": 5}, {"SamplesPerPixel": 3}, {"PhotometricInterpretation": "RGB"},
        {"PhotometricInterpretation": "PALETTE COLOR"},
        {"PixelData": b""},
    ],
)  # fmt: skip
@pytest.mark.parametrize("syntax", [uid.ExplicitVRLittleEndian, uid.JPEGLSLossless])
def test_a_header_that_does_not_fit_is_refused(change: dict[str, Any], syntax: str) -> None:
    frame = None if syntax == uid.ExplicitVRLittleEndian else LOSSLESS[syntax]()
    part10 = encode(radiograph_dataset(), syntax, frame)
    dataset = dcmread(BytesIO(part10))
    for keyword, value in change.items():
        setattr(dataset, keyword, value)
    with pytest.raises(PixelDecodeError):
        stored_values(dataset, pixel_format(dataset))


def test_absent_pixels_and_foreign_syntaxes_are_refused() -> None:
    dataset: Dataset = dcmread(BytesIO(encode(radiograph_dataset())))
    dataset.file_meta.TransferSyntaxUID = uid.MPEG2MPML
    with pytest.raises(PixelDecodeError, match="not supported"):
        stored_values(dataset, pixel_format(dataset))
    del dataset.PixelData
    with pytest.raises(PixelDecodeError, match="no pixel data"):
        stored_values(dataset, pixel_format(dataset))


def test_a_broken_htj2k_frame_is_not_half_an_image() -> None:
    frame = bytearray(LOSSLESS[uid.HTJ2KLossless]())
    frame[len(frame) // 2 :] = bytes(len(frame) - len(frame) // 2)
    with pytest.raises(PixelDecodeError):
        decoded(encode(radiograph_dataset(), uid.HTJ2KLossless, bytes(frame)))


@pytest.mark.parametrize("half", [False, True], ids=["full", "half"])
@pytest.mark.parametrize("syntax", sorted(FRAMES), ids=lambda one: uid.UID(one).name)
def test_a_frame_without_its_end_is_refused_however_little_is_missing(syntax: str, *, half: bool) -> None:
    """libjpeg and OpenJPH would fill the rest with grey and say nothing, CharLS would work on it for seconds."""
    frame, dataset = FRAMES[syntax]
    whole = image(dataset, syntax, frame, half=half)
    for zeros in (4, 400):
        assert np.array_equal(image(dataset, syntax, frame + b"\0" * (zeros - len(frame) % 2), half=half), whole)
    for kept in (len(frame) - 3, len(frame) * 99 // 100, len(frame) * 9 // 10, len(frame) // 2, 100):
        with pytest.raises(PixelDecodeError):
            image(dataset, syntax, frame[:kept], half=half)


def test_the_end_of_a_frame_in_many_fragments_is_the_end_of_the_last() -> None:
    frame = LOSSLESS[uid.JPEGLosslessSV1]()
    dataset = dcmread(BytesIO(encode(radiograph_dataset(), uid.JPEGLosslessSV1, frame)))
    dataset.PixelData = encapsulate([frame], fragments_per_frame=5)
    assert np.array_equal(stored_values(dataset, pixel_format(dataset)), PIXELS)
    dataset.PixelData = encapsulate([frame[: len(frame) * 4 // 5]], fragments_per_frame=4)
    with pytest.raises(PixelDecodeError, match="end-of-image"):
        stored_values(dataset, pixel_format(dataset))


@pytest.mark.parametrize("syntax", sorted(FRAMES), ids=lambda one: uid.UID(one).name)
def test_a_sound_frame_needs_none_of_pydicoms_decoders(syntax: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are many times slower; RLE in Python needs a third of a second for a film."""
    frame, dataset = FRAMES[syntax]
    monkeypatch.setattr("dicom_io.decoding.get_decoder", lambda one: pytest.fail(f"{one} went to pydicom"))
    image(dataset, syntax, frame)


@pytest.mark.parametrize("columns", [39, 40])
@pytest.mark.parametrize("bits", [8, 16])
def test_rle_in_cells_of_one_and_two_bytes(bits: int, columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(bits).integers(0, 1 << bits, (47, columns)).astype(f"uint{bits}")
    dataset = radiograph_dataset(values.astype(np.uint16), BitsAllocated=bits, BitsStored=bits, HighBit=bits - 1)
    monkeypatch.setattr("dicom_io.decoding.get_decoder", lambda one: pytest.fail(f"{one} went to pydicom"))
    assert np.array_equal(decoded(encode(dataset, uid.RLELossless, rle(values))), values)


@pytest.mark.parametrize(
    ("words", "fault"),
    [((1, 64), "1 RLE segments"), ((2, 64, 2**31), "outside"), ((2, 64, 64), "outside"), ((2, 0, 900), "outside")],
)
def test_an_rle_header_that_would_crash_the_decoder_is_refused(words: tuple[int, ...], fault: str) -> None:
    frame = struct.pack("<16L", *words, *[0] * (16 - len(words))) + LOSSLESS[uid.RLELossless]()[64:]
    with pytest.raises(PixelDecodeError, match=fault):
        decoded(encode(radiograph_dataset(), uid.RLELossless, frame))


def test_an_rle_frame_over_which_a_plugin_of_pydicoms_panics_is_refused() -> None:
    """A panic of Rust is no `Exception`, and would end the worker."""
    frame = bytearray(LOSSLESS[uid.RLELossless]())
    for at, byte in ((255, 107), (1246, 126), (2307, 167)):  # the last runs on beyond the end of the plane
        frame[at] = byte
    with pytest.raises(PixelDecodeError, match="no decoder reads"):
        decoded(encode(radiograph_dataset(), uid.RLELossless, bytes(frame)))


@pytest.mark.parametrize("syntax", [uid.JPEG2000Lossless, uid.HTJ2KLossless])
def test_tiles_beside_the_image_are_refused_before_a_decoder_looks_for_them_for_ever(syntax: uid.UID) -> None:
    frame = bytearray(LOSSLESS[syntax]())
    frame[39] = 34  # YTOsiz
    with pytest.raises(PixelDecodeError, match="tiles"):
        decoded(encode(radiograph_dataset(), syntax, bytes(frame)))


@pytest.mark.parametrize("syntax", sorted(FRAMES), ids=lambda one: uid.UID(one).name)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_frame_cut_anywhere_is_refused_or_all_there(syntax: str, data: st.DataObject) -> None:
    """All there: what was cut off is the byte that makes the length even."""
    frame, dataset = FRAMES[syntax]
    try:
        values = image(dataset, syntax, frame[: data.draw(st.integers(1, len(frame) - 1))])
    except DicomIoError:
        return
    assert np.array_equal(values, image(dataset, syntax, frame))


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(LOSSLESS)), st.data())
def test_a_damaged_frame_ends_in_pixel_decode_error_or_an_image(syntax: str, data: st.DataObject) -> None:
    frame = bytearray(LOSSLESS[uid.UID(syntax)]())
    for _ in range(data.draw(st.integers(1, 4))):
        frame[data.draw(st.integers(0, len(frame) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(frame)))
    try:
        values = decoded(encode(radiograph_dataset(), syntax, bytes(frame[: cut or None])))
    except DicomIoError:
        return
    assert values.shape == PIXELS.shape
    assert values.min() >= 0
    assert values.max() <= 4095
