"""What a step of the pipeline may raise on purpose, named by what happens next.

    StepError
    |-- Retry     not yet: look again later; not a failure, holds no thread
    `-- GiveUp    will never work: the case is Failed with this code

Anything else that a step raises is unexpected: recorded, retried within bounds, then parked for a person.
"An image that is not assessed" is no error at all: it is the state `NotApplicable`.
"""

from __future__ import annotations

import enum


class FailureCode(enum.StrEnum):
    """Why a case ended as Failed. Shown in the ledger, the log and `osteon cases`."""

    PIXEL_DECODE = "PIXEL-DECODE"
    """The pixel data cannot be decoded."""
    HEADER_INVALID = "HEADER-INVALID"
    """The object lacks what every radiograph must have (Study or SOP Instance UID, rows, columns)."""
    IMAGE_LIMIT = "IMAGE-LIMIT"
    """Reading the image would take more memory than `model.image_memory_mb`."""
    SPOOL_MISSING = "SPOOL-MISSING"
    """The stored file is gone or is not what was received."""
    REPORT_INVALID = "REPORT-INVALID"
    """The report that was built broke one of its own rules; nothing was sent."""
    WORKER_DIED = "WORKER-DIED"
    """The worker process died in this case again and again."""
    NOT_DELIVERED = "NOT-DELIVERED"
    """A person gave up every destination of its report: nobody has it."""
    UNEXPECTED = "UNEXPECTED"
    """An error nobody foresaw, after all retries; the log has it."""


class StepError(Exception):
    """Root of what a pipeline step raises on purpose."""


class Retry(StepError):
    """Try again `after` seconds. `reason` is a short sentence without patient data."""

    def __init__(self, after: float, reason: str) -> None:
        super().__init__(reason)
        self.after = after
        self.reason = reason


class GiveUp(StepError):
    """This case cannot be finished. `detail` is a short sentence without patient data."""

    def __init__(self, code: FailureCode, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail
