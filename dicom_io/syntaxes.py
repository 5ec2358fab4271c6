"""Every transfer syntax the node reads, as names only: the listener negotiates them and never loads a decoder."""

from __future__ import annotations

from typing import Final

from pydicom import uid

NATIVE: Final = (
    uid.ImplicitVRLittleEndian,
    uid.ExplicitVRLittleEndian,
    uid.ExplicitVRBigEndian,
    uid.DeflatedExplicitVRLittleEndian,
)
ENCAPSULATED: Final = (
    uid.RLELossless,
    uid.JPEGBaseline8Bit,
    uid.JPEGExtended12Bit,
    uid.JPEGLossless,
    uid.JPEGLosslessSV1,
    uid.JPEGLSLossless,
    uid.JPEGLSNearLossless,
    uid.JPEG2000Lossless,
    uid.JPEG2000,
    uid.HTJ2KLossless,
    uid.HTJ2KLosslessRPCL,
    uid.HTJ2K,
)
TRANSFER_SYNTAXES: Final = (*NATIVE, *ENCAPSULATED)
"""All that the Storage SCP accepts; the worker decodes each (`decoding`)."""
