"""A film in every compressed transfer syntax the node accepts, as encoders independent of its decoders write it."""

import imagecodecs
import numpy as np
from pydicom import uid
from pydicom.pixels.encoders.base import EncodeRunner
from pydicom.pixels.encoders.native import _encode_frame
from support.dicom_objects import film

PIXELS = film()


def rle(pixels: np.ndarray) -> bytes:
    runner = EncodeRunner(uid.RLELossless)
    rows, columns = pixels.shape
    runner.set_options(
        rows=rows,
        columns=columns,
        bits_allocated=8 * pixels.itemsize,
        bits_stored=8 * pixels.itemsize,
        samples_per_pixel=1,
        pixel_representation=0,
        photometric_interpretation="MONOCHROME2",
        number_of_frames=1,
    )
    return bytes(_encode_frame(pixels.tobytes(), runner))


LOSSLESS = {
    uid.RLELossless: lambda: rle(PIXELS),
    uid.JPEGLossless: lambda: imagecodecs.jpeg8_encode(PIXELS, bitspersample=12, lossless=True, predictor=4),
    uid.JPEGLosslessSV1: lambda: imagecodecs.jpeg8_encode(PIXELS, bitspersample=12, lossless=True, predictor=1),
    uid.JPEGLSLossless: lambda: imagecodecs.jpegls_encode(PIXELS),
    uid.JPEGLSNearLossless: lambda: imagecodecs.jpegls_encode(PIXELS),
    uid.JPEG2000Lossless: lambda: imagecodecs.jpeg2k_encode(
        PIXELS, bitspersample=12, codecformat="j2k", reversible=True
    ),
    uid.JPEG2000: lambda: imagecodecs.jpeg2k_encode(PIXELS, bitspersample=12, codecformat="j2k", reversible=True),
    uid.HTJ2KLossless: lambda: imagecodecs.htj2k_encode(PIXELS),
    uid.HTJ2KLosslessRPCL: lambda: imagecodecs.htj2k_encode(PIXELS),
    uid.HTJ2K: lambda: imagecodecs.htj2k_encode(PIXELS),
}
LOSSY = {
    uid.JPEGExtended12Bit: (lambda: imagecodecs.jpeg8_encode(PIXELS, bitspersample=12, level=98), 120),
    uid.JPEG2000: (lambda: imagecodecs.jpeg2k_encode(PIXELS, bitspersample=12, codecformat="j2k", level=60), 120),
    uid.JPEGLSNearLossless: (lambda: imagecodecs.jpegls_encode(PIXELS, level=3), 3),
}
