"""For archives that take less than the standard: objects in the image's own character set, and its own strings back.

Every object is built clean and in ISO_IR 192 first; these are the last steps before its bytes. A character set that
does not hold all texts of an object is not used for it: a name is never turned into question marks.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from io import BytesIO

from pydicom import config, dcmread
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from dicom_io.envelope import ReportContext, part10
from dicom_io.reference_header import UTF8, ReferenceHeader


def finished(result_object: Dataset, reference: ReferenceHeader, context: ReportContext) -> bytes:
    """The Part 10 bytes of an object as the site's settings want it."""
    if context.restore_raw_header:
        _restore(result_object, reference.raw)
    if context.inherit_charset:
        return _in_set(result_object, reference.charset)
    return part10(result_object)


def _restore(result_object: Dataset, raw: Sequence[tuple[str, str]]) -> None:
    """Put strings back as they came. The object then has the source's own errors; such an archive wants just that."""
    for keyword, text in raw:
        tag = tag_for_keyword(keyword)
        if tag is None:
            continue
        value = text.split("\\") if "\\" in text else text
        result_object[tag] = DataElement(tag, dictionary_VR(tag), value, validation_mode=config.IGNORE)


def _in_set(result_object: Dataset, charset: Sequence[str]) -> bytes:
    """Encoded in `charset` where that loses nothing, else in ISO_IR 192."""
    plain = part10(result_object)
    if not charset or tuple(charset) == (UTF8,):
        return plain
    result_object.SpecificCharacterSet = list(charset) if len(charset) > 1 else charset[0]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            encoded = part10(result_object)
            same = _texts(encoded) == _texts(plain)
    except (UnicodeError, LookupError, ValueError):
        same = False
    if same:
        return encoded
    result_object.SpecificCharacterSet = UTF8
    return plain


def _texts(part10_bytes: bytes) -> Dataset:
    """The object as read back, all text decoded, without the one element that must differ."""
    dataset = dcmread(BytesIO(part10_bytes), stop_before_pixels=True)
    dataset.decode()
    del dataset.SpecificCharacterSet
    return dataset
