"""A spool of 25 MB: what fits is stored, what does not is answered 0xA700, and reception resumes by itself."""

import os
import subprocess
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread, uid
from pynetdicom import AE
from structlog.testing import capture_logs
from support.dicom_objects import encode, radiograph_dataset
from support.reception import RawAssociation, files, serving

from dicom_io.storage_scp import StorageScp

ROWS, COLUMNS = 2500, 2040
"""10.2 MB of pixels."""


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A tmpfs of 25 MB; mounting takes root, so elsewhere the test is skipped, but never in CI."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=25m", "tmpfs", str(folder)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode:
        reason = f"a tmpfs cannot be mounted here: {mounted.stderr.strip()}"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def film(number: int) -> bytes:
    pixels = np.random.default_rng(number).integers(0, 4096, (ROWS, COLUMNS), dtype=np.uint16)
    return encode(radiograph_dataset(pixels, number=number))


def send(scp: StorageScp, *films: bytes) -> list[int]:
    """The status of each, over one association."""
    ae = AE("MODALITY")
    ae.add_requested_context(uid.DigitalXRayImageStorageForPresentation, uid.ExplicitVRLittleEndian)
    association = ae.associate("127.0.0.1", scp.port, ae_title="OSTEON")
    statuses = [int(association.send_c_store(dcmread(BytesIO(one))).Status) for one in films]
    association.release()
    return statuses


@pytest.mark.parametrize("fast_path", ["auto", "off"])
def test_four_films_on_a_disk_for_two(small_disk: Path, fast_path: str) -> None:
    films = [film(number) for number in range(1, 5)]
    with serving(small_disk, fast_path=fast_path) as (scp, memory), capture_logs() as logs:
        assert send(scp, *films) == [0x0000, 0x0000, 0xA700, 0xA700]
        assert memory.words == ["accepted", "store_a700_no_space", "store_a700_no_space"]
        whole = files(small_disk)
        assert [path.suffix for path in whole] == [".dcm", ".dcm"]
        assert all(path.stat().st_size > ROWS * COLUMNS * 2 for path in whole)
        whole[0].unlink()
        assert send(scp, films[2]) == [0x0000]
        assert len(files(small_disk)) == 2
    assert [one for one in logs if one["event"] == "store.no_space"]


@pytest.mark.parametrize("fast_path", ["auto", "off"])
def test_above_the_marks_senders_are_told_to_come_again(small_disk: Path, fast_path: str) -> None:
    ballast, image = small_disk / "ballast", film(1)
    with serving(small_disk, fast_path=fast_path) as (scp, memory), capture_logs() as logs:
        ballast.write_bytes(bytes(22_500_000))  # 86 %
        assert RawAssociation(scp).rejection == (2, 3, 2)
        ballast.unlink()
        assert send(scp, image) == [0x0000]
    assert memory.words == ["disk_low", "accepted"]
    assert [one["level"] for one in logs if one["event"] == "reception.disk"] == ["low", "ok"]
