"""How `osteon train` reads a site's film: as a served one is read, and a file that holds none ends in a code.

Not allowed here: anything about patients; the code is all that training hears of such a file.
"""

from __future__ import annotations

from pathlib import Path
from zoneinfo import ZoneInfo

from dicom_io.errors import HeaderInvalid, PixelDecodeError
from dicom_io.radiograph import read_radiograph
from model.domain import Radiograph
from model.train.site_films import FilmUnreadable
from node.errors import FailureCode


def read_training_film(path: Path, *, zone: ZoneInfo) -> Radiograph:
    """Decode the object at `path`; `zone` is that of times without offset.

    Raises:
        FilmUnreadable: no DICOM object, or no image that can be decoded.
        OSError: the file cannot be read.

    """
    try:
        return read_radiograph(path, zone=zone)
    except HeaderInvalid as error:
        raise FilmUnreadable(FailureCode.HEADER_INVALID) from error
    except PixelDecodeError as error:
        raise FilmUnreadable(FailureCode.PIXEL_DECODE) from error
