"""Where the real data of the developers' workspace lie. Never part of the product; tests skip without them."""

from __future__ import annotations

from pathlib import Path

import pytest

SHARED = Path(__file__).parents[3] / "shared" / "data"
BONE_QUALITY = SHARED / "tables" / "bonequality.csv"
FILMS = SHARED / "nih"
DICOM = SHARED / "dicom"

needs_table = pytest.mark.skipif(not BONE_QUALITY.is_file(), reason="the BoneQuality table is not here")
needs_films = pytest.mark.skipif(not (FILMS / "manifest.csv").is_file(), reason="the NIH films are not here")
needs_dicom = pytest.mark.skipif(not DICOM.is_dir(), reason="the DICOM samples are not here")
