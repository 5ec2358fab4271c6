"""What a person of the hospital does in a campaign: look at the dead letter, and take up again what lies there.

Work in hand when its process was killed four times in a row is in the dead letter, as it should be, and so is a report
that the archive declined three times in a row. The campaign counts how often a person was needed.
"""

from __future__ import annotations

import time
from collections import Counter

from chaos.hospital import Hospital

from node.amendment import ReviewCode
from node.case_decisions import amend_case, retry_case
from node.errors import FailureCode
from node.store.outbox import DeliveryState

DRAIN_LIMIT = 300.0
_QUIET_LOOKS = 4
"""So many looks without anything to do: what was told last is not yet work, it lies in the inbox."""


class Operator:
    """Sits before the node until nothing is left to do."""

    def __init__(self, here: Hospital) -> None:
        self._here = here
        self.retried = 0
        self.amended: Counter[int] = Counter()
        """By case: how often it was asked to be amended."""

    def drain(self) -> None:
        """Wait until every case has ended, or the limit: what is left then is the audit's to say."""
        deadline = time.monotonic() + DRAIN_LIMIT
        quiet = 0
        while quiet < _QUIET_LOOKS and time.monotonic() < deadline:
            self._here.attend()
            left = self._here.unfinished() + self._take_up()
            quiet = 0 if left else quiet + 1
            time.sleep(0.5)
        if left:
            self._here.say_where()
        print(f"chaos: drained, {left} left, {self.retried} taken up by the operator", flush=True)

    def _take_up(self) -> int:
        """Everything that waits for a person; how many cases."""
        failed = f"SELECT id FROM screening_case WHERE state = 'Failed' AND reason = '{FailureCode.WORKER_DIED}'"
        refused = f"SELECT case_id AS id FROM delivery WHERE state = '{DeliveryState.REFUSED}'"
        to_retry = self._here.look(f"{failed} UNION {refused}")
        for row in to_retry:
            retry_case(self._here.settings, row["id"])
            self.retried += 1
        flagged = f"SELECT id FROM screening_case WHERE review = '{ReviewCode.AMENDMENT_FAILED}'"
        to_amend = self._here.look(flagged)
        for row in to_amend:
            amend_case(self._here.settings, row["id"], reason="its work had died")
            self.amended[row["id"]] += 1
            self.retried += 1
        return len(to_retry) + len(to_amend)
