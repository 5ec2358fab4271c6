"""`osteon listen` with durability switched off, for one fair look at receivers that have none. Never a product mode."""

import os
from typing import Any

import sqlalchemy as sa

from dicom_io import part
from node.entry import main


def _unsynced(connection: Any, *_: object) -> None:
    connection.execute("PRAGMA synchronous = OFF")


if __name__ == "__main__":
    os.fsync = lambda _descriptor: None
    part.begin_writeback = lambda *_: None
    sa.event.listen(sa.pool.Pool, "checkout", _unsynced)
    main()
