"""Pixel Data -> stored values, for every transfer syntax of `syntaxes`.

Runs in workers only, never in the listener (performance.md D3). imagecodecs decodes, because it releases the GIL and is
bit-exact on every lossless syntax; pydicom's own decoders take what imagecodecs refuses. Stored values are as PS3.5 8.1
has them: overlay bits masked, sign extended, nothing rescaled.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import imagecodecs
import numpy as np
import numpy.typing as npt
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.encaps import get_frame
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.utils import pixel_array

from dicom_io import half_size, htj2k
from dicom_io.element import integer, text, value
from dicom_io.errors import PixelDecodeError
from dicom_io.frame_check import check_frame
from dicom_io.syntaxes import NATIVE

Raw = npt.NDArray[Any]
Index = npt.NDArray[np.uint16]

MAX_PIXELS: Final = 1 << 26
"""Rows x columns of the largest image decoded: several times the largest detector made."""

LOSSY: Final = (uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit, uid.JPEGLSNearLossless)
MAYBE_LOSSY: Final = (uid.JPEG2000, uid.HTJ2K)
"""Reversible or not, by encoder's choice; the object says which in (0028,2110)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelFormat:
    """The Image Pixel Module (PS3.3 C.7.6.3) as far as decoding needs it; checked, so the numbers can be trusted."""

    rows: int
    columns: int
    allocated: int
    stored: int
    high_bit: int
    signed: bool

    @property
    def lowest(self) -> int:
        """Smallest value that can be stored."""
        return -(1 << (self.stored - 1)) if self.signed else 0

    @property
    def highest(self) -> int:
        """Largest value that can be stored."""
        return self.lowest + (1 << self.stored) - 1


def pixel_format(dataset: Dataset) -> PixelFormat:
    """Read and check the Image Pixel Module.

    Raises:
        PixelDecodeError: no single-sample monochrome image of 8 or 16 bits allocated.

    """
    rows, columns = integer(dataset, "Rows") or 0, integer(dataset, "Columns") or 0
    if rows <= 0 or columns <= 0 or rows * columns > MAX_PIXELS:
        msg = f"impossible size {rows}x{columns}"
        raise PixelDecodeError(msg)
    if (integer(dataset, "SamplesPerPixel") or 1) != 1 or text(dataset, "PhotometricInterpretation") not in _MONOCHROME:
        msg = "not a monochrome image"
        raise PixelDecodeError(msg)
    allocated = integer(dataset, "BitsAllocated") or 0
    stored = integer(dataset, "BitsStored") or allocated
    high_bit = integer(dataset, "HighBit")
    high_bit = stored - 1 if high_bit is None else high_bit
    if allocated not in _DTYPES or not 1 <= stored <= high_bit + 1 <= allocated:
        msg = f"impossible bit depth: {allocated} allocated, {stored} stored, high bit {high_bit}"
        raise PixelDecodeError(msg)
    return PixelFormat(
        rows=rows,
        columns=columns,
        allocated=allocated,
        stored=stored,
        high_bit=high_bit,
        signed=integer(dataset, "PixelRepresentation") == 1,
    )


def stored_values(dataset: Dataset, form: PixelFormat) -> npt.NDArray[np.int32]:
    """Decode the (first) frame: int32 (rows, columns), each in [form.lowest, form.highest].

    Raises:
        PixelDecodeError: no pixel data, an unknown transfer syntax, or not the image the header claims.

    """
    return stored_index(dataset, form).astype(np.int32) + form.lowest


def stored_index(dataset: Dataset, form: PixelFormat, *, half: bool = False) -> Index:
    """Decode the (first) frame: uint16 (rows, columns), stored values minus `form.lowest`; may be read-only.

    `half` allows decoding at half resolution where `halves` agrees; the result has the full size all the same.

    Raises:
        PixelDecodeError: no pixel data, an unknown transfer syntax, or not the image the header claims.

    """
    if not value(dataset, "PixelData"):
        msg = "no pixel data"
        raise PixelDecodeError(msg)
    syntax = transfer_syntax(dataset)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            raw = _native(dataset, form) if syntax in NATIVE else _encapsulated(dataset, form, syntax, half=half)
    except PixelDecodeError:
        raise
    except Exception as error:  # decoders raise whatever damaged data provoke; here it gets one name
        msg = f"{syntax.name}: cannot be decoded ({type(error).__name__})"
        raise PixelDecodeError(msg) from error
    if raw.shape != (form.rows, form.columns) or raw.dtype.kind not in "ui":
        msg = f"{syntax.name}: decoded to {raw.shape} {raw.dtype}, header says {form.rows}x{form.columns}"
        raise PixelDecodeError(msg)
    return _index(raw, form, clip=syntax in LOSSY or syntax in MAYBE_LOSSY)


def halves(dataset: Dataset, form: PixelFormat) -> bool:
    """Whether this image has a half-resolution level that can be decoded alone: JPEG 2000 and HTJ2K, unsigned."""
    plain = not form.signed and form.high_bit == form.stored - 1 and form.stored <= half_size.MOST_BITS
    return transfer_syntax(dataset) in half_size.SYNTAXES and plain


def transfer_syntax(dataset: Dataset) -> uid.UID:
    """The transfer syntax as stated, else as the parser found the dataset to be encoded."""
    stated = text(getattr(dataset, "file_meta", Dataset()), "TransferSyntaxUID")
    if stated:
        return uid.UID(stated)
    implicit, little = dataset.original_encoding
    if little is False:
        return uid.ExplicitVRBigEndian
    return uid.ImplicitVRLittleEndian if implicit else uid.ExplicitVRLittleEndian


def _native(dataset: Dataset, form: PixelFormat) -> Raw:
    data = dataset.PixelData
    count = form.rows * form.columns
    if len(data) < count * form.allocated // 8:
        msg = f"{len(data)} bytes of pixel data are too few for {form.rows}x{form.columns}"
        raise PixelDecodeError(msg)
    big = transfer_syntax(dataset) == uid.ExplicitVRBigEndian
    if big and form.allocated == _BYTE and dataset["PixelData"].VR == "OW":
        data = np.frombuffer(data[: len(data) // 2 * 2], "<u2").byteswap().tobytes()  # PS3.5 8.1.1: words are swapped
    dtype = np.dtype(_DTYPES[form.allocated]).newbyteorder(">" if big else "<")
    return np.frombuffer(data, dtype, count).reshape(form.rows, form.columns)


def _encapsulated(dataset: Dataset, form: PixelFormat, syntax: uid.UID, *, half: bool) -> Raw:
    decoder = _DECODERS.get(syntax)
    if decoder is None:
        msg = f"transfer syntax {syntax} is not supported"
        raise PixelDecodeError(msg)
    frame = get_frame(dataset.PixelData, 0, number_of_frames=1)
    check_frame(frame, syntax, rows=form.rows, columns=form.columns, allocated=form.allocated)
    if half and halves(dataset, form):
        with contextlib.suppress(Exception):  # whatever the short way does not like, the full decode may try
            return half_size.decode(frame, form.rows, form.columns, form.stored, syntax)
    try:
        return decoder(frame, form)
    except Exception:  # noqa: BLE001 - whatever imagecodecs does not like, pydicom's decoders may try
        return _by_pydicom(dataset, syntax)


def _by_pydicom(dataset: Dataset, syntax: uid.UID) -> Raw:
    """What the first of pydicom's installed decoders makes of it that does not refuse; gdcm is never asked."""
    for name in get_decoder(syntax).available_plugins:
        if name in _END_THE_PROCESS:
            continue
        try:
            return pixel_array(dataset, index=0, raw=True, decoding_plugin=name)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException:  # noqa: BLE001, S112 - as above; pylibjpeg-rle panics, which is no Exception (2.2.0)
            continue
    msg = f"{syntax.name}: no decoder reads this frame"
    raise PixelDecodeError(msg)


def _index(raw: Raw, form: PixelFormat, *, clip: bool) -> Index:
    """PS3.5 8.1.1: keep the stored bits, extend the sign. Lossy decoders overshoot, which a mask would turn over."""
    mask, sign = (1 << form.stored) - 1, 1 << (form.stored - 1)
    if clip:
        low, high = (-sign, sign - 1) if raw.dtype.kind == "i" else (0, mask)
        if int(raw.min()) < low or int(raw.max()) > high:
            raw = np.clip(raw, low, high)
    cells = raw if raw.dtype == np.uint16 else (raw.astype(np.int32) & _WORD).astype(np.uint16)
    shift = 0 if clip else form.high_bit + 1 - form.stored
    if shift:
        cells = cells >> shift
    if int(cells.max()) > mask:
        cells = cells & mask
    # Two's complement with its sign bit turned over is the value minus the lowest.
    return np.ascontiguousarray(cells ^ sign if form.signed else cells, np.uint16)


def _jpeg(data: bytes, _form: PixelFormat) -> Raw:
    return np.asarray(imagecodecs.jpeg8_decode(data))


def _jpeg_ls(data: bytes, _form: PixelFormat) -> Raw:
    return np.asarray(imagecodecs.jpegls_decode(data))


def _jpeg_2000(data: bytes, _form: PixelFormat) -> Raw:
    return np.asarray(imagecodecs.jpeg2k_decode(data))


def _ht_jpeg_2000(data: bytes, _form: PixelFormat) -> Raw:
    return htj2k.decode(data)


def _rle(data: bytes, form: PixelFormat) -> Raw:
    """It must be exactly as long as the image: what a hostile frame unpacks to beyond that is never allocated."""
    dtype = np.dtype(_DTYPES[form.allocated])
    size = form.rows * form.columns * dtype.itemsize
    decoded = imagecodecs.dicomrle_decode(data, dtype=dtype, out=size)
    return np.frombuffer(decoded, dtype).reshape(form.rows, form.columns)


_END_THE_PROCESS: Final = frozenset(("gdcm",))
"""On a damaged lossless JPEG it calls std::terminate (3.2.6, measured): the worker would die with the image."""
_BYTE: Final = 8
_WORD: Final = 0xFFFF
_MONOCHROME: Final = ("MONOCHROME1", "MONOCHROME2")
_DTYPES: Final[dict[int, type[np.uint8 | np.uint16]]] = {_BYTE: np.uint8, 16: np.uint16}
_DECODERS: Final[dict[str, Callable[[bytes, PixelFormat], Raw]]] = {
    uid.RLELossless: _rle,
    uid.JPEGBaseline8Bit: _jpeg,
    uid.JPEGExtended12Bit: _jpeg,
    uid.JPEGLossless: _jpeg,
    uid.JPEGLosslessSV1: _jpeg,
    uid.JPEGLSLossless: _jpeg_ls,
    uid.JPEGLSNearLossless: _jpeg_ls,
    uid.JPEG2000Lossless: _jpeg_2000,
    uid.JPEG2000: _jpeg_2000,
    uid.HTJ2KLossless: _ht_jpeg_2000,
    uid.HTJ2KLosslessRPCL: _ht_jpeg_2000,
    uid.HTJ2K: _ht_jpeg_2000,
}
