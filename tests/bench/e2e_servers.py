"""The candidates that `bench-e2e` puts beside the node, each the least program of its kind, with the same model.

`python -m bench.e2e_servers limit|handler|poller PORT SINK_PORT FOLDER`

limit    receives with fsync, then decodes, scores, reports and delivers in one loop: the physical limit of one core.
handler  inference inside pynetdicom's C-STORE handler: the answer waits for it.
poller   asks an Orthanc at PORT for changes every 0.1 s and fetches each new instance over REST.
"""

from __future__ import annotations

import itertools
import json
import os
import socket
import struct
import sys
import time
import urllib.request
from pathlib import Path

from bench.e2e_inference import Inference
from bench.server_limit import ANSWER, accept
from pynetdicom import AE, evt
from pynetdicom.events import Event
from pynetdicom.sop_class import DigitalXRayImageStorageForPresentation, Verification
from support.raw_dicom import COMMAND, LAST, pdu

POLL_SECONDS = 0.1
_FILE_META = (
    b"\0" * 128
    + b"DICM"
    + bytes.fromhex("02000000554c0400")
    + struct.pack("<I", 8 + 20)
    + bytes.fromhex("0200100055491400")
    + b"1.2.840.10008.1.2.1\0"
)
_LARGEST_PDU = (1 << 20) + 64


def limit(port: int, inference: Inference, folder: Path) -> None:
    """One association after the other, one thread: nothing overlaps, nothing is kept."""
    numbers = itertools.count()
    view = memoryview(bytearray(_LARGEST_PDU))
    with socket.create_server(("127.0.0.1", port), backlog=128) as server:
        while True:
            connection, _ = server.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with connection:
                _serve(connection, view, inference, folder, numbers)


def _serve(
    connection: socket.socket, view: memoryview, inference: Inference, folder: Path, numbers: itertools.count[int]
) -> None:
    path, descriptor = folder, -1
    while connection.recv_into(view, 6, socket.MSG_WAITALL) == 6:
        kind, length = struct.unpack_from(">BxI", view)
        connection.recv_into(view, length, socket.MSG_WAITALL)
        if kind == 1:
            connection.sendall(accept(bytes(view[:length])))
        elif kind == 5:
            connection.sendall(pdu(6, bytes(4)))
        elif kind == 4 and view[5] & COMMAND:
            path = folder / f"{next(numbers)}.dcm"
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
            os.write(descriptor, _FILE_META)
        elif kind == 4:
            os.write(descriptor, view[6:length])
            if view[5] & LAST:
                os.fsync(descriptor)
                os.close(descriptor)
                connection.sendall(ANSWER)
                inference.report(path)
                path.unlink()


def handler(port: int, inference: Inference, folder: Path) -> None:
    """Stock pynetdicom; the sender waits for the model."""
    numbers = itertools.count()

    def stored(event: Event) -> int:
        path = folder / f"{next(numbers)}.dcm"
        path.write_bytes(event.encoded_dataset())
        inference.report(path)
        path.unlink()
        return 0x0000

    ae = AE("OSTEON")
    ae.maximum_pdu_size = 131_072
    for sop_class in (DigitalXRayImageStorageForPresentation, Verification):
        ae.add_supported_context(sop_class, "1.2.840.10008.1.2.1")
    ae.start_server(("127.0.0.1", port), evt_handlers=[(evt.EVT_C_STORE, stored)])


def poller(http_port: int, inference: Inference, folder: Path) -> None:
    """What an integrator writes beside Orthanc, with a warm model."""
    since = 0
    while True:
        changes = json.loads(_get(http_port, f"/changes?since={since}&limit=100"))
        since = changes["Last"]
        for change in changes["Changes"]:
            if change["ChangeType"] == "NewInstance":
                path = folder / "instance.dcm"
                path.write_bytes(_get(http_port, f"/instances/{change['ID']}/file"))
                inference.report(path)
        if changes["Done"]:
            time.sleep(POLL_SECONDS)


def _get(port: int, path: str) -> bytes:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=30) as answer:
        return bytes(answer.read())


def main() -> None:
    kind, port, sink, folder = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])
    folder.mkdir(parents=True, exist_ok=True)
    inference = Inference(sink)
    print("ready", flush=True)
    {"limit": limit, "handler": handler, "poller": poller}[kind](port, inference, folder)


if __name__ == "__main__":
    main()
