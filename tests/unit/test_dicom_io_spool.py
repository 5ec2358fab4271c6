"""The spool: durable, idempotent, and empty-handed after every failure."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st
from pydicom import dcmread, uid
from support.dicom_objects import encode, film, radiograph_dataset
from support.reception import files

from dicom_io.errors import HeaderInvalid, SpoolFull
from dicom_io.spool import Spool, Spooled
from dicom_io.uid_grammar import is_uid


def dataset_bytes() -> bytes:
    part10 = encode(radiograph_dataset())
    return part10[part10.index(b"\x08\x00\x05\x00CS") :]


def store(spool: Spool, dataset: bytes, instance: str = "1.2.3.4") -> Spooled:
    return spool.store(
        sop_class_uid=uid.ComputedRadiographyImageStorage,
        sop_instance_uid=instance,
        transfer_syntax_uid=uid.ExplicitVRLittleEndian,
        dataset=dataset,
    )


def test_a_stored_file_is_part_10_with_the_dataset_byte_for_byte(tmp_path: Path) -> None:
    spool, received = Spool(tmp_path), dataset_bytes()
    spooled = store(spool, received)
    content = spool.path(spooled.file).read_bytes()
    assert content.endswith(received)
    assert content[128:132] == b"DICM"
    assert (spooled.digest, spooled.size) == (f"blake3:{blake3(content).hexdigest()}", len(content))
    read = dcmread(spool.path(spooled.file))
    assert read.file_meta.TransferSyntaxUID == uid.ExplicitVRLittleEndian
    assert read.PixelData == film().tobytes()


def test_the_same_bytes_meet_their_own_file_and_other_bytes_get_another(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    first, again, other = store(spool, b"one"), store(spool, b"one"), store(spool, b"two")
    assert first == again
    assert first.file != other.file
    assert len(files(tmp_path)) == 2


@pytest.mark.parametrize(
    "instance", ["../../etc/passwd", "1.2/3", "", "1", "1..2", "1.2.", "1.2\0", "1." + "2" * 63, "\uff11.2"]
)
def test_what_is_no_uid_never_becomes_a_file_name(tmp_path: Path, instance: str) -> None:
    with pytest.raises(HeaderInvalid):
        store(Spool(tmp_path), b"x", instance)
    assert files(tmp_path) == []


@given(st.text(max_size=70))
def test_an_accepted_uid_is_harmless_as_a_file_name(text: str) -> None:
    if is_uid(text):
        assert set(text) <= set("0123456789.")
        assert len(text) <= 64
        assert ".." not in text


def test_every_folder_is_durable_before_the_first_object(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No thread meets a folder of another one that is not durable yet."""
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_ino))
    spool = Spool(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {f"{n:02x}" for n in range(256)} | {"quarantine"}
    assert synced == [tmp_path.stat().st_ino]
    spool.path("ab").rmdir()
    Spool(tmp_path)
    assert spool.path("ab").is_dir()
    assert synced == [tmp_path.stat().st_ino] * 2


def test_a_spool_on_a_full_disk_opens_and_makes_a_folder_when_there_is_room(tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "mkdir", _no_room_for_folders)
        spool = Spool(tmp_path)
        with pytest.raises(SpoolFull):
            store(spool, b"x")
    assert list(tmp_path.iterdir()) == []
    assert spool.path(store(spool, b"x").file).is_file()


_mkdir = Path.mkdir


def _no_room_for_folders(path: Path, *, parents: bool = False, exist_ok: bool = False) -> None:
    if not path.is_dir():
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    _mkdir(path, parents=parents, exist_ok=exist_ok)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_full_disk_is_spool_full_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, step: str
) -> None:
    spool = Spool(tmp_path)

    def full(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(*((os, "fsync", full) if step == "fsync" else (Path, "replace", full)))
    with pytest.raises(SpoolFull):
        store(spool, b"x")
    assert files(tmp_path) == []


def test_a_really_full_file_system(tmp_path: Path) -> None:
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "none", tmp_path], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("may not mount a small file system here")
    try:
        spool = Spool(tmp_path)
        small = store(spool, b"x" * 10_000)
        with pytest.raises(SpoolFull):
            store(spool, b"y" * 200_000)
        assert files(tmp_path) == [spool.path(small.file)]
        assert spool.used_percent() < 50
    finally:
        subprocess.run(["umount", tmp_path], check=True)


def test_the_block_of_storing_decides_whether_the_file_stays(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    request = {"sop_class_uid": "1.2.3", "sop_instance_uid": "1.2.4", "transfer_syntax_uid": "1.2.5", "dataset": b"x"}
    with pytest.raises(RuntimeError), spool.storing(**request):
        raise RuntimeError
    assert files(tmp_path) == []
    kept = spool.store(**request)
    with pytest.raises(RuntimeError), spool.storing(**request):
        raise RuntimeError
    assert files(tmp_path) == [spool.path(kept.file)], "an acknowledged file must survive a later failed re-send"


def test_sweep_and_orphans(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    known, orphan = store(spool, b"known"), store(spool, b"orphan")
    spool.path(known.file).with_name("0123.part").write_bytes(b"half")
    (tmp_path / "zz.part").write_bytes(b"")
    assert spool.sweep() == 2
    spool.quarantine(b"nonsense")
    assert list(spool.orphans([known.file])) == [orphan.file]
    spool.remove(orphan.file)
    spool.remove(orphan.file)
    assert list(spool.orphans([known.file])) == []


def test_a_killed_writer_leaves_no_file_under_a_final_name(tmp_path: Path) -> None:
    program = (
        "import os, sys; from pathlib import Path; from dicom_io.spool import Spool\n"
        "spool = Spool(Path(sys.argv[1])); os.fsync = lambda fd: os.kill(os.getpid(), 9)\n"
        "spool.store(sop_class_uid='1.2', sop_instance_uid='1.3', "
        "transfer_syntax_uid='1.4', dataset=b'x')"
    )
    spool = Spool(tmp_path)
    assert subprocess.run([sys.executable, "-c", program, tmp_path], check=False).returncode == -9
    assert list(spool.orphans([])) == []
    assert spool.sweep() <= 1
    assert files(tmp_path) == []
