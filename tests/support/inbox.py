"""The inbox beside a test's ledger, and messages through it as a running node takes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import sqlalchemy as sa

from config.settings import Settings
from node.clinical_feed import workplace
from node.feed_book import FeedBook
from node.feeds.mllp_committer import Arrived
from node.frame_reception import FrameReception
from node.inbox_consumer import InboxConsumer, Workplace
from node.store.engine import Ledger
from node.store.inbox import open_inbox
from node.store.metadata import metadata

CLINICAL = (
    "person",
    "person_identifier",
    "person_demographics",
    "person_alias",
    "order_link",
    "observation",
    "dxa_result",
)


class Ward:
    """Reception and consumer of one ledger, without a network."""

    def __init__(self, place: Workplace, wake: Callable[[], None] = lambda: None) -> None:
        self.place = place
        self.book = FeedBook(place.inbox)
        self.reception = FrameReception(place.inbox, place.settings.mllp, self.book, wake)
        self.consumer = InboxConsumer(place)

    def send(self, *frames: bytes) -> list[bytes | None]:
        """Commit frames, each alone; their acknowledgements."""
        return [self.reception.commit([Arrived(data=frame, peer="127.0.0.1")])[0] for frame in frames]

    def take(self, *frames: bytes) -> list[str]:
        """Commit and work off; MSA-1 of each."""
        answers = [msa(reply) for reply in self.send(*frames)]
        self.consumer.work_off()
        return answers


@contextmanager
def ward(ledger: Ledger, settings: Settings | None = None) -> Iterator[Ward]:
    """The inbox beside `ledger`, which is an open one."""
    inbox = open_inbox(ledger.url)
    try:
        yield Ward(workplace(ledger, inbox, settings or Settings()))
    finally:
        inbox.close()


def msa(reply: bytes | None) -> str:
    """MSA-1 of an acknowledgement."""
    return "" if reply is None else reply.split(b"\rMSA|")[1][:2].decode()


def tables(ledger: Ledger, names: Sequence[str] = CLINICAL) -> dict[str, list[tuple[object, ...]]]:
    """Every row of the clinical tables."""
    found = {}
    with ledger.read() as c:
        for name in names:
            table = metadata.tables[name]
            rows = c.execute(sa.select(table).order_by(*table.primary_key.columns)).all()
            found[name] = [tuple(row) for row in rows]
    return found
