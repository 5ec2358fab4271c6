"""What the store raises, named by what happens next.

    StoreError
    |-- LedgerError        the database cannot be used as it is: a person must act (wrong version, not a ledger)
    |-- LedgerUnavailable  not now: database down, locked or disk full; try again
    |   |-- Collision      rolled back for another transaction's sake: run it again at once
    |   `-- StillLocked    another transaction held for too long what this one needs: those beside it may go on
    |-- NotStorable        a value that the database cannot hold: it will not next time either, leave it out
    |-- LostLease          another worker took this task over: drop everything done for it
    |-- NoSuchCase         the caller named a case that is not there, or not in the state the call needs
    |-- OtherAlgorithm     what is known has a digest of another kind: come again with one of that kind
    |-- NoSuchFile         the same for a dropped file
    `-- DamagedObject      frozen bytes no longer have the digest they were frozen with: send nothing

Programming errors (a wrong statement, a broken constraint) stay what SQLAlchemy raises: nobody is meant to catch them.
"""

from __future__ import annotations


class StoreError(Exception):
    """Root of what the store raises on purpose."""


class LedgerError(StoreError):
    """The database cannot be used. The message is one line: what is wrong and what to do."""


class LedgerUnavailable(StoreError):
    """The database did not answer or could not write. Nothing of the transaction is known to be stored; try again."""


class Collision(LedgerUnavailable):
    """Two transactions were in each other's way and this one was rolled back, for certain; it may be run again now."""


class StillLocked(LedgerUnavailable):
    """A lock was waited for in vain; all of this transaction is rolled back, for certain. Try again later."""


class NotStorable(StoreError):
    """The database refused a value for what it is, e.g. a NUL in a text. Nothing of the transaction is stored."""


class LostLease(StoreError):
    """The fence of a task moved: somebody else works on it now."""

    def __init__(self, task_id: int) -> None:
        super().__init__(f"task {task_id} was taken over by another worker")
        self.task_id = task_id


class NoSuchCase(StoreError):
    """There is no such case, or it is not in a state in which this can be done."""


class OtherAlgorithm(StoreError):
    """A received file can be compared with what came first only by the digest of an older version."""

    def __init__(self, algorithm: str) -> None:
        super().__init__(f"the first file under this UID has a digest by {algorithm}")
        self.algorithm = algorithm


class NoSuchFile(StoreError):
    """There is no such dropped file, or it is not in a state in which this can be done."""


class DamagedObject(StoreError):
    """An object in the outbox is not what was frozen."""
