"""The file meta information of a DICOM file (PS3.10 7.1), read alone: what is after it may be of any size."""

from __future__ import annotations

from io import BytesIO
from typing import BinaryIO, Final

from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset

from dicom_io.errors import HeaderInvalid

_PREAMBLE: Final = 128
_START: Final = _PREAMBLE + 16
"""Bytes up to and with the group length."""
_EXPLICIT, _LITTLE_ENDIAN = False, True


def file_meta(stream: BinaryIO) -> Dataset | None:
    """Read it from the start of a file; `stream` then stands at the dataset.

    None where there is none, and `stream` stands anywhere.

    Raises:
        HeaderInvalid: it is damaged.

    """
    head = stream.read(_START)
    if head[_PREAMBLE:-4] != b"DICM\x02\x00\x00\x00UL\x04\x00":
        return None
    elements = BytesIO(stream.read(int.from_bytes(head[-4:], "little")))
    try:
        return read_dataset(elements, _EXPLICIT, _LITTLE_ENDIAN)
    except Exception as error:  # pydicom raises whatever damaged elements provoke; here it gets one name
        msg = f"the file meta information cannot be parsed ({type(error).__name__})"
        raise HeaderInvalid(msg) from error
