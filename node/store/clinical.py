"""Facts of one message or row into the ledger, by a writer of their own. For many, keep one `clinical_writer.Writer`.

The caller owns the transaction. Identical content writes nothing, a correction inserts a version and closes the old
one; nothing is updated in place. Which person an image belongs to is decided in `node.matching`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import replace

import sqlalchemy as sa

from node.facts import Fact
from node.store.clinical_message import Applied
from node.store.clinical_writer import Writer


def apply(
    c: sa.Connection,
    facts: Iterable[Fact],
    recorded_at: dt.datetime,
    *,
    trusted: tuple[str, ...] = (),
    seq: int | None = None,
) -> Applied:
    """Write the facts of one message or row as known since `recorded_at` (aware). For many, keep one `Writer`.

    Args:
        c: a write transaction.
        facts: in the order of the message.
        recorded_at: when the node learned of them.
        trusted: assigning authorities (namespace or universal ID) that may be inserted; empty means all.
        seq: number of the inbox frame, if they came with one.

    """
    writer = Writer(c, trusted=trusted)
    applied = writer.apply(facts, recorded_at, seq=seq)
    return replace(applied, changes=(*applied.changes, *writer.flush()))
