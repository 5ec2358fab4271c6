"""Decoders against all plugins of pydicom's, half resolution against full: traps D4 of performance.md, with tests."""

import functools
from io import BytesIO
from pathlib import Path

import cv2
import imagecodecs
import numpy as np
import pytest
from pydicom import dcmread, uid
from pydicom.dataset import Dataset
from pydicom.pixels import get_decoder
from pydicom.pixels.utils import pixel_array
from support.dicom_objects import encode, radiograph_dataset
from support.encoded_films import LOSSLESS, LOSSY
from support.shared_data import DICOM, needs_dicom

from dicom_io import half_size, htj2k
from dicom_io.decoding import halves, pixel_format, stored_index, stored_values
from dicom_io.grayscale import histogram, look_up
from dicom_io.half_check import round_trip
from dicom_io.radiograph import read_radiograph
from model.area import shrink
from model.parity import rmse_after_resizing
from model.phantom.cohort import sample
from model.phantom.render import render
from model.phantom.scenario import draw_acquisition

SIZES = ((96, 80), (97, 81))
SIDE = 64
HARD = 0.1
"""Slope, in grey scales a pixel (over two): no anatomy has such an edge."""
REDUCIBLE = {
    uid.JPEG2000Lossless: lambda values: imagecodecs.jpeg2k_encode(
        values, bitspersample=12, codecformat="j2k", reversible=True
    ),
    uid.HTJ2KLossless: imagecodecs.htj2k_encode,
}
ROUNDING = {uid.JPEGExtended12Bit: 1}
"""Inverse cosine transforms may round apart (ISO/IEC 10918-1 A.3.3 leaves their precision open)."""
REFUSERS = {("gdcm", uid.JPEGExtended12Bit), ("pillow", uid.JPEGExtended12Bit)}
DAMAGED = "hip_jpeg_extended_12bit__RG2"
"""Its scan header is no sequential one, which libjpeg refuses (-1038); its repaired twin is among the others."""
WITHOUT_PIXELS = ("header_japanese_iso2022__pydicom", "header_korean_iso2022__pydicom")
EXACT = (uid.ExplicitVRLittleEndian, uid.JPEGLosslessSV1, uid.JPEGLSLossless, *REDUCIBLE)
DEPTHS = [(one, bits) for one in EXACT for bits in (8, 10, 12, 14, 16) if (one, bits) != (uid.JPEGLosslessSV1, 8)]
"""Without what the encoder takes in 8-bit cells only."""
STREAMS = {**LOSSLESS, **{syntax: encoder for syntax, (encoder, _) in LOSSY.items()}}
FILMS = sorted(path for path in DICOM.glob("*.dcm") if path.stem not in (DAMAGED, *WITHOUT_PIXELS))


@functools.cache
def film(size, seed=1):
    patient = sample(1, seed)[0]
    return render(patient.subject, draw_acquisition(np.random.default_rng(seed)), seed, size=size)


def words(size, bits=12, seed=1):
    return np.round(film(size, seed) * ((1 << bits) - 1)).astype(np.uint16)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("syntax", "bits"), DEPTHS, ids=lambda one: getattr(one, "name", one))
def test_decoder_parity_bit_equal_to_pydicoms_default(syntax, bits, size):
    values = words(size, bits)
    frames = {
        uid.JPEGLosslessSV1: lambda: imagecodecs.jpeg8_encode(values, bitspersample=bits, lossless=True, predictor=1),
        uid.JPEGLSLossless: lambda: imagecodecs.jpegls_encode(values),
        uid.JPEG2000Lossless: lambda: imagecodecs.jpeg2k_encode(
            values, bitspersample=bits, codecformat="j2k", reversible=True
        ),
        uid.HTJ2KLossless: lambda: imagecodecs.htj2k_encode(values),
    }
    frame = frames[syntax]() if syntax in frames else None
    dataset = dcmread(BytesIO(encode(radiograph_dataset(values, BitsStored=bits, HighBit=bits - 1), syntax, frame)))
    ours = stored_values(dataset, pixel_format(dataset))
    assert np.array_equal(ours, values)
    if syntax == uid.HTJ2KLossless and bits == 8:
        return  # pydicom's decoder keeps 8 bit in 8-bit cells there
    assert np.array_equal(ours, pixel_array(dataset, index=0, raw=True))


def expect_parity(dataset: Dataset) -> None:
    syntax = dataset.file_meta.TransferSyntaxUID
    ours = stored_values(dataset, pixel_format(dataset))
    asked = [one for one in get_decoder(syntax).available_plugins if (one, syntax) not in REFUSERS]
    assert asked, f"no plugin of pydicom's reads {syntax.name}"
    for plugin in asked:
        theirs = pixel_array(dataset, index=0, raw=True, decoding_plugin=plugin).astype(np.int32)
        assert np.abs(ours - theirs).max() <= ROUNDING.get(syntax, 0), plugin


@pytest.mark.parametrize("syntax", STREAMS, ids=lambda one: one.name)
def test_parity_of_encoded_films(syntax: uid.UID) -> None:
    expect_parity(dcmread(BytesIO(encode(radiograph_dataset(), syntax, STREAMS[syntax]()))))


@needs_dicom
@pytest.mark.parametrize("path", FILMS, ids=lambda path: path.stem)
def test_parity_of_real_films(path: Path) -> None:
    dataset = dcmread(path)
    if not dataset.file_meta.TransferSyntaxUID.is_compressed:
        assert np.array_equal(stored_values(dataset, pixel_format(dataset)), pixel_array(dataset, raw=True))
        return
    expect_parity(dataset)


@pytest.mark.parametrize("bits", [10, 12, 16])
def test_signed_values_keep_their_sign_in_every_depth(bits):
    signed = words(SIZES[0], bits).astype(np.int32) - (1 << (bits - 1))
    cells = (signed & ((1 << bits) - 1)).astype(np.uint16)
    changes = {"BitsStored": bits, "HighBit": bits - 1, "PixelRepresentation": 1}
    dataset = dcmread(BytesIO(encode(radiograph_dataset(cells, **changes))))
    form = pixel_format(dataset)
    assert np.array_equal(stored_values(dataset, form), signed)
    assert stored_index(dataset, form).min() == signed.min() - form.lowest


def test_the_fast_table_and_histogram_are_the_plain_ones():
    index = words((200, 160), 16)
    form = pixel_format(radiograph_dataset(index, BitsStored=16, HighBit=15))
    table = np.random.default_rng(0).random(1 << 16, dtype=np.float32)
    assert np.array_equal(look_up(table, index), table[index])
    assert np.array_equal(histogram(index, form), np.bincount(index.ravel(), minlength=1 << 16))


@pytest.mark.parametrize("high_throughput", [False, True], ids=["J2K", "HTJ2K"])
def test_decoder_parity_half_level_differs_by_at_most_3_of_4095_away_from_hard_edges(high_throughput):
    """The bar of 3 for a whole film is missed where a shutter or marker was burnt in; `verdict_on_decoding` says so.

    There the low level overshoots and is clipped: up to 14 of 4095 over the film. Elsewhere the bar holds.
    """
    whole, cells = (0, 0, 640, 520), (64, 52)
    for seed in range(20):
        full, half = round_trip(film((640, 520), seed), high_throughput=high_throughput)
        steps = np.zeros_like(full)
        for axis in (0, 1):
            steps += np.abs(np.gradient(full, axis=axis)) > HARD
        away = cv2.dilate(shrink(steps, whole, *cells), np.ones((3, 3))) == 0
        difference = shrink(full, whole, *cells) - shrink(half, whole, *cells)
        assert away.mean() > 0.5
        assert 4095 * np.sqrt(np.mean(difference[away] ** 2)) <= 3.0


def test_a_removed_phase_correction_is_seen():
    """Each sample spread over both its pixels instead: the picture moves by half a pixel."""
    values = words((480, 400))
    frame = REDUCIBLE[uid.HTJ2KLossless](values)
    small = np.clip(htj2k.decode(bytes(frame), skip=1).view(np.int16), 0, 4095).astype(np.uint16)
    right = half_size.full_size(small, 480, 400).astype(np.float32) / 4095
    wrong = cv2.resize(small, (400, 480), interpolation=cv2.INTER_NEAREST).astype(np.float32) / 4095
    full = values.astype(np.float32) / 4095
    assert rmse_after_resizing(full, right, 160) < 0.5 * rmse_after_resizing(full, wrong, 160)


def test_negative_overshoot_does_not_wrap_to_white():
    checks = np.where((np.add.outer(np.arange(120), np.arange(96)) // 7) % 2, 4095, 0).astype(np.uint16)
    frame = bytes(REDUCIBLE[uid.HTJ2KLossless](checks))
    assert htj2k.decode(frame, skip=1).max() == 65535 or htj2k.decode(frame, skip=1).max() > 60000
    half = half_size.decode(frame, 120, 96, 12, uid.HTJ2KLossless)
    assert half.max() <= 4095
    assert half[checks == 0].mean() < half[checks == 4095].mean()


@pytest.mark.parametrize("syntax", REDUCIBLE, ids=lambda s: s.name)
@pytest.mark.parametrize("size", SIZES)
def test_the_grey_scale_of_12_bits_is_kept_and_the_size_is_the_full_one(syntax, size):
    values = words(size)
    dataset = dcmread(BytesIO(encode(radiograph_dataset(values), syntax, bytes(REDUCIBLE[syntax](values)))))
    half = stored_index(dataset, pixel_format(dataset), half=True)
    assert half.shape == size
    assert not np.array_equal(half, values)
    assert abs(float(half.mean()) - float(values.mean())) < 8


def test_signed_16_bit_and_other_syntaxes_are_never_halved():
    values = words(SIZES[0])
    signed = radiograph_dataset(values, PixelRepresentation=1)
    deep = radiograph_dataset(values, BitsStored=16, HighBit=15)
    for dataset in (signed, deep):
        read = dcmread(BytesIO(encode(dataset, uid.JPEG2000Lossless, bytes(REDUCIBLE[uid.JPEG2000Lossless](values)))))
        assert not halves(read, pixel_format(read))
    plain = dcmread(BytesIO(encode(radiograph_dataset(values))))
    assert not halves(plain, pixel_format(plain))


def test_only_large_films_are_halved_and_the_radiograph_says_so(tmp_path):
    values = words((240, 200))
    part10 = encode(radiograph_dataset(values), uid.JPEG2000Lossless, bytes(REDUCIBLE[uid.JPEG2000Lossless](values)))
    (tmp_path / "a.dcm").write_bytes(part10)
    full, small, half = (read_radiograph(tmp_path / "a.dcm", half_from=at) for at in (None, 201, 200))
    assert np.array_equal(full.pixels, small.pixels)
    assert half.pixels.shape == full.pixels.shape
    assert half.warnings == (*full.warnings, "DECODED_AT_HALF_RESOLUTION")
    whole = (0, 0, 240, 200)
    assert np.abs(shrink(full.pixels, whole, 60, 50) - shrink(half.pixels, whole, 60, 50)).max() < 0.05
