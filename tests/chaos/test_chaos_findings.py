"""What the campaigns found once, kept from coming back."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

from chaos import films, mutate, wire
from pydicom import dcmread

from config.settings import Reception
from dicom_io.header import patient_identity, read_header
from dicom_io.spool import Spool
from dicom_io.storage_scp import StorageScp

UID = films.uid_of(9, 0, 0)


def deflated_file(folder: Path, dataset: bytes) -> Path:
    spool = Spool(folder)
    stored = spool.store(
        sop_class_uid=wire.DX, sop_instance_uid=UID, transfer_syntax_uid=wire.DEFLATED, dataset=dataset
    )
    return spool.path(stored.file)


def test_a_context_without_transfer_syntax_ends_its_connection(tmp_path: Path) -> None:
    # PS3.8 9.3.2.2 demands one; pynetdicom's negotiation raised, and the socket stood for ever.
    scp = StorageScp(Reception(port=0), Spool(tmp_path), lambda _stored: None)
    scp.start()
    try:
        with wire.Wire(scp.port, limit=10.0) as connection:
            connection.send(wire.associate_rq([(1, wire.DX, ())]))
            assert all(answer.kind != wire.ASSOCIATE_AC for answer in connection.rest())
    finally:
        scp.stop(grace=1.0)


def test_the_header_of_a_deflate_bomb_costs_little_memory(tmp_path: Path) -> None:
    file = deflated_file(tmp_path, mutate.bomb(UID))
    tracemalloc.start()
    header = read_header(file)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert header.SOPInstanceUID == UID
    assert peak < 16 << 20  # it holds 30 MB


def test_the_header_of_a_deflated_film_is_read_as_pydicom_reads_it(tmp_path: Path) -> None:
    file = deflated_file(tmp_path, mutate.sound(wire.DEFLATED, UID))
    header, stock = read_header(file), dcmread(file, stop_before_pixels=True)
    assert header == stock
    assert header.file_meta.TransferSyntaxUID == stock.file_meta.TransferSyntaxUID
    assert patient_identity(header) == patient_identity(stock)
