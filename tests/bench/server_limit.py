"""The limit: the least Python that takes C-STORE on a socket and makes it durable (file and directory fsync).

It looks at nothing but PDU headers, keeps no ledger, and names files by number. With `blake3` as third argument it
also computes the hash every receiver needs that wants to recognise content.
"""

import itertools
import os
import socket
import struct
import sys
import threading
from pathlib import Path

from blake3 import blake3
from support.raw_dicom import COMMAND, LAST, command_set, item, pdu, value

MAX_PDU = 1 << 20
HASHED = "blake3" in sys.argv[3:]
ANSWER = pdu(4, value(1, COMMAND | LAST, command_set(
    (0x0100, struct.pack("<H", 0x8001)), (0x0120, struct.pack("<H", 1)),
    (0x0800, struct.pack("<H", 0x0101)), (0x0900, struct.pack("<H", 0)),
)))  # fmt: skip


def accept(request: bytes) -> bytes:
    contexts, at = b"", 68
    while at < len(request):
        kind, length = struct.unpack_from(">BxH", request, at)
        if kind == 0x20:
            syntax = b"1.2.840.10008.1.2.1"
            contexts += item(0x21, bytes([request[at + 4], 0, 0, 0]) + item(0x40, syntax))
        at += 4 + length
    return pdu(2, request[:68] + item(0x10, b"1.2.840.10008.3.1.1.1") + contexts
               + item(0x50, item(0x51, struct.pack(">I", MAX_PDU))))  # fmt: skip


def serve(connection: socket.socket, folder: Path, numbers: "itertools.count[int]") -> None:
    buffer = bytearray(MAX_PDU + 64)
    view = memoryview(buffer)
    descriptor = -1
    directory = os.open(folder, os.O_RDONLY)
    with connection:
        while connection.recv_into(view, 6, socket.MSG_WAITALL) == 6:
            kind, length = struct.unpack_from(">BxI", buffer)
            connection.recv_into(view, length, socket.MSG_WAITALL)
            if kind == 1:
                connection.sendall(accept(bytes(view[:length])))
            elif kind == 5:
                connection.sendall(pdu(6, bytes(4)))
            elif kind == 4 and buffer[5] & COMMAND:
                path = folder / f"{next(numbers)}.part"
                descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
                digest = blake3()
            elif kind == 4:
                os.write(descriptor, view[6:length])
                if HASHED:
                    digest.update(view[6:length])
                if buffer[5] & LAST:
                    os.fsync(descriptor)
                    os.close(descriptor)
                    path.rename(path.with_suffix(".dcm"))
                    os.fsync(directory)
                    connection.sendall(ANSWER)
    os.close(directory)


def main() -> None:
    port, folder = int(sys.argv[1]), Path(sys.argv[2])
    numbers = itertools.count()
    with socket.create_server(("127.0.0.1", port), backlog=128) as server:
        while True:
            connection, _ = server.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=serve, args=(connection, folder, numbers), daemon=True).start()


if __name__ == "__main__":
    main()
