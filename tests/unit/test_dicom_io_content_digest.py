from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from dicom_io.content_digest import ContentDigest, algorithm_of, digest_of, file_digest, hex_of, is_intact


@given(st.lists(st.binary(max_size=100)))
def test_a_digest_names_its_algorithm_and_takes_bytes_as_they_come(pieces: list[bytes]):
    digest = ContentDigest()
    for piece in pieces:
        digest.update(piece)
    assert digest.text() == f"blake3:{blake3(b''.join(pieces)).hexdigest()}" == digest_of(b"".join(pieces))
    assert (algorithm_of(digest.text()), len(hex_of(digest.text()))) == ("blake3", 64)


def test_the_published_vector_of_no_bytes():
    assert digest_of(b"") == "blake3:af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"


@pytest.mark.parametrize("size", [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 3_000_000])
def test_a_file_is_checked_by_the_algorithm_its_digest_names(tmp_path: Path, size: int):
    file, content = tmp_path / "film.dcm", bytes(range(256)) * (size // 256 + 1)
    file.write_bytes(content[:size])
    old = f"sha256:{hashlib.sha256(content[:size]).hexdigest()}"
    assert file_digest(file) == digest_of(content[:size])
    assert is_intact(file, digest_of(content[:size]))
    assert is_intact(file, old)
    file.write_bytes(content[:size] + b"x")
    assert not is_intact(file, digest_of(content[:size]))
    assert not is_intact(file, old)


def test_an_unknown_algorithm_is_a_mistake(tmp_path: Path):
    with pytest.raises(KeyError):
        is_intact(tmp_path, "md5:00")
