"""HL7 frames in: checked, committed to the inbox together, answered. Nothing here writes to the ledger.

The same bytes again are answered as the first time and change nothing. The same control ID with other bytes is another
message: there are packages that stamp every message with the ID "ACK".
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence

import structlog

from config.hl7_feed import Mllp
from node.feed_book import FeedBook
from node.feeds.hl7_ack import acknowledge, answer_code
from node.feeds.hl7_check import IsPrior
from node.feeds.inbox import Accepted, accept
from node.feeds.mllp_committer import Arrived, NotStored
from node.feeds.outcome import Outcome
from node.store import inbox
from node.store.engine import Ledger
from node.store.errors import LedgerUnavailable
from node.store.inbox import NewFrame, Receipt

log = structlog.get_logger()


class FrameReception:
    """The `Commit` of the MLLP listener. `wake` is called when the inbox holds a new message.

    `is_prior` is given where messages about merged patients are to be refused (`clinical.mllp.prior_identifiers`).
    """

    def __init__(
        self,
        inbox_of: Ledger,
        settings: Mllp,
        book: FeedBook,
        wake: Callable[[], None],
        is_prior: IsPrior | None = None,
    ) -> None:
        self._inbox = inbox_of
        self._settings = settings
        self._book = book
        self._wake = wake
        self._is_prior = is_prior

    def commit(self, frames: Sequence[Arrived]) -> list[bytes | None]:
        """Store frames and return their acknowledgements.

        Raises:
            NotStored: the inbox cannot write now; nobody is answered, and the senders repeat.

        """
        at = dt.datetime.now(dt.UTC)
        try:
            judged = [accept(f.data, at=at, settings=self._settings, is_prior=self._is_prior) for f in frames]
            new = [_new_frame(frame, accepted) for frame, accepted in zip(frames, judged, strict=True)]
            with self._inbox.begin() as c:
                receipts = inbox.store(c, new, at)
        except LedgerUnavailable as error:
            raise NotStored(str(error)) from error
        if any(receipt.new and not receipt.refused for receipt in receipts):
            self._wake()
        return [self._answer(*item, at) for item in zip(frames, judged, receipts, strict=True)]

    def _answer(self, frame: Arrived, accepted: Accepted, receipt: Receipt, at: dt.datetime) -> bytes | None:
        ack, error = accepted.ack, accepted.error
        if error is not None and not receipt.refused:  # taken before, under other settings
            ack, error = acknowledge(accepted.header, None, at), None
        outcome = _outcome(accepted, receipt)
        meta = accepted.meta
        self._book.count(frame.peer, outcome, meta)
        report = log.info if outcome in (Outcome.STORED, Outcome.REPEATED) else log.warning
        report(
            "hl7_received",
            outcome=str(outcome),
            peer=frame.peer,
            app=meta.sending_app,
            facility=meta.sending_facility,
            type=meta.message_type,
            control=meta.control_id,
            size=len(frame.data),
            sha256=meta.sha256[:16],
            ack=answer_code(accepted.header, error),
        )
        return ack


def _outcome(accepted: Accepted, receipt: Receipt) -> str:
    if receipt.refused and accepted.error is not None:
        return f"{Outcome.REFUSED}-{accepted.error.code}"
    if not receipt.new:
        return Outcome.REPEATED
    return Outcome.CONTROL_ID_REUSED if receipt.control_id_reused else Outcome.STORED


def _new_frame(frame: Arrived, accepted: Accepted) -> NewFrame:
    meta, error = accepted.meta, accepted.error
    return NewFrame(
        peer=frame.peer,
        sending_app=meta.sending_app,
        sending_facility=meta.sending_facility,
        message_type=meta.message_type,
        control_id=meta.control_id,
        sha256=meta.sha256,
        body=frame.data,
        ack_code=accepted.ack_code,
        refusal="" if error is None else f"HL7-{error.code} {error.location}".strip(),
    )
