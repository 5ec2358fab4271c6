"""Which cases look again when a feed has told something: those that wait, at once; reported ones, when a burst is over.

And when a code table comes into force: what was told while none was confirmed could not be used.

It is called in the transaction that writes the facts, so that nothing is told without being weighed. A case that comes
after the look for cases and before the commit is not woken; its worker waits for the commit (`store.clinical_lock`). It
only wakes: whether the news matters for a case is found out by the case's own task.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from config.clinical import Clinical
from config.code_file import code_table
from node.facts import Change
from node.store import clinical_persons as persons
from node.store import installation, jobs, report_versions, reviews
from node.store.engine import Connection
from node.tasks import ADVANCE, INFER_LANE, advance_key

LONGEST_BURST: Final = 12
"""A sender that never pauses delays an amendment by at most so many settling times."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Waking:
    """Wakes cases. `settle`: seconds without news after which a reported case is weighed (`clinical.amend_settle`)."""

    settle: float

    def by_changes(self, c: Connection, changes: Iterable[Change]) -> None:
        """Have every case look again that these changes could matter to."""
        changes = tuple(changes)
        keys = {change.person_key for change in changes}
        if not keys:
            return
        members = persons.groups(c, {*keys, *persons.roots(c, keys).values()})
        closed = {change.observation_id for change in changes if change.observation_id is not None}
        values = (identifier.value for identifier in persons.identifiers_of(c, members))
        found = report_versions.concerned(c, values, members, closed)
        self._wake(c, {one.case_id: self._delay(one.stirred_at) if one.reported else 0.0 for one in found})

    def by_code_table(self, c: Connection, clinical: Clinical) -> int:
        """Have the cases of the reprocess window look again if another code table is confirmed than before; how many.

        Call it when a worker starts, with the site's settings.
        """
        version = code_table(clinical.codes.file).version
        in_force = version if clinical.codes.confirmed(version) else ""
        if not installation.put_in_force(c, in_force) or not in_force:
            return 0
        since = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=clinical.reprocess_window)
        found = report_versions.first_reported_since(c, since)
        self._wake(c, dict.fromkeys(found, self.settle))
        return len(found)

    def _wake(self, c: Connection, delays: Mapping[int, float]) -> None:
        """Wake cases, in the order of their numbers, each after so many seconds."""
        # The tasks first and then the cases, as workers lock them: the other way round PostgreSQL meets a deadlock.
        # touch, never poke: a task that completes at this moment must come back, or the news would be lost.
        keys = {advance_key(case_id): delay for case_id, delay in delays.items()}
        jobs.touch_all(c, ADVANCE, keys, lane=INFER_LANE)
        reviews.stir(c, *delays)

    def _delay(self, since: dt.datetime | None) -> float:
        so_far = 0.0 if since is None else (dt.datetime.now(dt.UTC) - since).total_seconds()
        return max(0.0, min(self.settle, LONGEST_BURST * self.settle - so_far))
