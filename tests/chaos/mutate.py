"""Wrong datasets: bytes that were right before, and structures no honest writer makes. All from one `random.Random`."""

from __future__ import annotations

import random
import struct
import zlib
from functools import cache
from typing import Final

import imagecodecs
from chaos import films
from chaos.wire import BIG_ENDIAN, DEFLATED, EXPLICIT, IMPLICIT
from pydicom import uid
from support.dicom_objects import dataset_of, encode, film, radiograph_dataset

_MOST_CHANGES = 8
_LONG_FORM = (b"OB", b"OW", b"UT", b"UN", b"SQ", b"UC")
_CHARSET_SHARE: Final = 0.15
_HOSTILE_LENGTHS = (0, 1, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFE, 0xFFFFFFFF, 0x80000000)
_PLACEHOLDER = films.uid_of(0, 0, 0)


def sound(transfer: str, instance: str) -> bytes:
    """A sound DX dataset in this transfer syntax, under this UID."""
    if transfer == DEFLATED:
        return _deflate(sound(EXPLICIT, instance))
    return _base(transfer).replace(_PLACEHOLDER.encode(), instance.encode())


SYNTAXES = (
    IMPLICIT,
    EXPLICIT,
    BIG_ENDIAN,
    DEFLATED,
    uid.RLELossless,
    uid.JPEGLSLossless,
    uid.JPEG2000Lossless,
    uid.JPEGBaseline8Bit,
)


def scramble(rng: random.Random, data: bytes, changes: int = _MOST_CHANGES) -> bytes:
    """A few bytes flipped, lengthened, cut, doubled, moved or overwritten by a hostile length."""
    changed = bytearray(data)
    for _ in range(rng.randint(1, changes)):
        if not changed:
            break
        at = rng.randrange(len(changed))
        span = min(len(changed) - at, rng.choice((1, 2, 4, 8, 64, 1000)))
        match rng.randrange(7):
            case 0:
                changed[at] ^= 1 << rng.randrange(8)
            case 1:
                changed[at] = rng.choice((0, 0xFF, 0x7F, 0x80, 0x5C, 0x1B))
            case 2:
                del changed[at : at + span]
            case 3:
                changed[at:at] = rng.randbytes(span)
            case 4:
                changed[at:at] = changed[at : at + span]
            case 5:
                changed[at : at + 4] = struct.pack(rng.choice("<>") + "I", rng.choice(_HOSTILE_LENGTHS))
            case _:
                del changed[at:]
    return bytes(changed)


def scrambled(rng: random.Random, transfer: str, instance: str) -> bytes:
    """A dataset that was sound; the part that names it is left alone most of the time, so that it is stored."""
    data = sound(transfer, instance)
    if transfer == DEFLATED and rng.random() < 0.7:
        return _deflate(scrambled(rng, EXPLICIT, instance))
    keep = 0 if rng.random() < 0.3 else min(len(data), data.find(instance.encode()) + 400)
    return data[:keep] + scramble(rng, data[keep:])


def hostile(rng: random.Random, instance: str) -> bytes:
    """An explicit little endian dataset, rightly named, whose structure or values are an attack."""
    return rng.choice(_HOSTILE)(rng, instance)


def bomb(instance: str) -> bytes:
    """A deflated dataset of 30 kB that unfolds to 30 MB (PS3.5 A.5)."""
    return _deflate(_head(instance) + _long(0x7FE0, 0x10, b"OW", b"\0" * (30 << 20), 30 << 20))


def _nested_deeply(rng: random.Random, instance: str) -> bytes:
    return _head(instance) + _nested(rng.choice((50, 500, 3000, 20_000)), closed=rng.random() < 0.5)


def _lying_pixels(rng: random.Random, instance: str) -> bytes:
    return _head(instance) + _long(0x7FE0, 0x10, b"OW", b"\0" * 64, rng.choice(_HOSTILE_LENGTHS))


def _lying_fragments(rng: random.Random, instance: str) -> bytes:
    return _head(instance) + _encapsulated(rng)


def _random_elements(rng: random.Random, instance: str) -> bytes:
    group = rng.choice((0x0010, 0x0018, 0x0020, 0x0028, 0x0040))
    elements = (_short(group, rng.randrange(0x10000), rng.randbytes(2), rng.randbytes(20)) for _ in range(30))
    return _head(instance) + b"".join(elements)


def _many_elements(_rng: random.Random, instance: str) -> bytes:
    return _head(instance) + b"".join(_short(0x0021, number, b"LO", b"x" * 40) for number in range(0x1000, 0x3000))


def _random_tail(rng: random.Random, instance: str) -> bytes:
    return _head(instance) + rng.randbytes(rng.choice((1, 7, 100, 5000)))


def _twice(_rng: random.Random, instance: str) -> bytes:
    return sound(EXPLICIT, instance) * 2


def _endless_table(rng: random.Random, instance: str) -> bytes:
    return _head(instance) + _long(0x0028, 0x3006, b"OW", b"", 0xFFFFFFFF) + rng.randbytes(50)


def _impossible_values(rng: random.Random, instance: str) -> bytes:
    """A sound film but for attributes whose values are impossible."""
    values: dict[str, object] = {
        "NumberOfFrames": rng.choice((999_999_999, 0, -1)),
        "Rows": rng.choice((65535, 0)),
        "Columns": rng.choice((65535, 0)),
        "BitsAllocated": rng.choice((0, 1, 7, 64, 65535)),
        "BitsStored": rng.choice((0, 17, 65535)),
        "HighBit": rng.choice((0, 15, 65535)),
        "PixelRepresentation": 7,
        "SamplesPerPixel": rng.choice((0, 3, 65535)),
        "PhotometricInterpretation": rng.choice(("", "PALETTE COLOR", "YBR_FULL_422", "NONSENSE")),
        "PatientBirthDate": "99999999",
        "PatientAge": "9999",
        "StudyDate": "00000000",
        "AcquisitionTime": "999999",
        "RescaleSlope": rng.choice(("0", "1E400", "-1E-400")),
        "RescaleIntercept": "1E300",
        "WindowCenter": "1E308",
        "WindowWidth": rng.choice(("0", "-5", "1E-300")),
        "ImagerPixelSpacing": rng.choice((["0", "0"], ["-1", "1"], ["1E-300", "1E300"])),
        "PatientName": "=" * 64 + "^" * 64,
    }
    chosen = rng.sample(sorted(values), rng.randint(1, 5))
    data = radiograph_dataset(film(16, 12), SOPInstanceUID=instance)
    for keyword in chosen:
        _set_raw(data, keyword, values[keyword])
    encoded = dataset_of(encode(data))
    charset = rng.choice((b"ISO 2022 IR 87\\ISO 2022 IR 149", b"NONSENSE", b"\\\\\\"))
    return _with_charset(encoded, charset) if rng.random() < _CHARSET_SHARE else encoded


def _with_charset(data: bytes, charset: bytes) -> bytes:
    """Give an encoded dataset another (0008,0005): written by pydicom, it would have to encode the names by it."""
    at = data.index(b"\x08\x00\x05\x00CS")
    end = at + 8 + int.from_bytes(data[at + 6 : at + 8], "little")
    return data[:at] + _short(0x0008, 0x0005, b"CS", charset + b" " * (len(charset) % 2)) + data[end:]


def _set_raw(data: object, keyword: str, value: object) -> None:
    from pydicom.config import settings  # noqa: PLC0415 - only here are invalid values written on purpose

    before = settings.writing_validation_mode, settings.reading_validation_mode
    settings.writing_validation_mode = settings.reading_validation_mode = 0
    try:
        setattr(data, keyword, value)
    except (ValueError, OverflowError, TypeError):
        pass  # pydicom cannot hold this one at all
    finally:
        settings.writing_validation_mode, settings.reading_validation_mode = before


def _head(instance: str) -> bytes:
    """Up to the Series Instance UID of a sound film: enough to be stored, nothing of an image."""
    data = sound(EXPLICIT, instance)
    at = data.find(b"\x20\x00\x0e\x00UI")
    return data[: at + 8 + int.from_bytes(data[at + 6 : at + 8], "little")]


def _nested(depth: int, *, closed: bool) -> bytes:
    sequence = struct.pack("<HH2sHI", 0x0040, 0x0275, b"SQ", 0, 0xFFFFFFFF)
    item = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
    ends = struct.pack("<HHIHHI", 0xFFFE, 0xE00D, 0, 0xFFFE, 0xE0DD, 0)
    return (sequence + item) * depth + (ends * depth if closed else b"")


def _encapsulated(rng: random.Random) -> bytes:
    """Undefined-length Pixel Data with lying fragments (PS3.5 A.4)."""
    fragments = b"".join(
        struct.pack("<HHI", 0xFFFE, 0xE000, rng.choice((4, 0, 0xFFFFFFFF, 100))) + rng.randbytes(4) for _ in range(3)
    )
    end = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0) if rng.random() < 0.5 else b""
    return struct.pack("<HH2sHI", 0x7FE0, 0x10, b"OB", 0, 0xFFFFFFFF) + fragments + end


def _short(group: int, number: int, vr: bytes, data: bytes) -> bytes:
    if vr in _LONG_FORM:
        return _long(group, number, vr, data, len(data))
    return struct.pack("<HH2sH", group, number, vr, len(data)) + data


def _long(group: int, number: int, vr: bytes, data: bytes, length: int) -> bytes:
    return struct.pack("<HH2sHI", group, number, vr, 0, length) + data


def _deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    packed = packer.compress(data) + packer.flush()
    return packed + b"\0" * (len(packed) % 2)


_HOSTILE: Final = (
    _nested_deeply,
    _lying_pixels,
    _lying_fragments,
    _impossible_values,
    _random_elements,
    _many_elements,
    _random_tail,
    _twice,
    _endless_table,
)


@cache
def _base(transfer: str) -> bytes:
    pixels = film(32, 24)
    attributes: dict[str, object] = {"SOPInstanceUID": _PLACEHOLDER}
    frame: bytes | None = None
    match transfer:
        case uid.RLELossless:
            data = radiograph_dataset(pixels, **attributes)
            data.file_meta = uid_meta(EXPLICIT)
            data.compress(uid.RLELossless, generate_instance_uid=False)
            return dataset_of(encode(data, uid.RLELossless))
        case uid.JPEGLSLossless:
            frame = imagecodecs.jpegls_encode(pixels)
        case uid.JPEG2000Lossless:
            frame = imagecodecs.jpeg2k_encode(pixels, codecformat="j2k")
        case uid.JPEGBaseline8Bit:
            pixels = (pixels >> 4).astype("uint8")
            attributes |= {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7}
            frame = imagecodecs.jpeg8_encode(pixels)
    return dataset_of(encode(radiograph_dataset(pixels, **attributes), transfer, frame))


def uid_meta(transfer: str) -> object:
    """File meta information that names a transfer syntax, as pydicom's `compress` asks for."""
    from pydicom.dataset import FileMetaDataset  # noqa: PLC0415

    meta = FileMetaDataset()
    meta.TransferSyntaxUID = uid.UID(transfer)
    return meta
