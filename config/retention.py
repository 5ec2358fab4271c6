"""Settings of retention: how long what the node holds is kept once nothing waits for it any more."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from config.fields import Group

Days = Annotated[float, Field(ge=0, le=36_525)]


class Retention(Group):
    """Periods in days. What is undelivered, unproved by its destination's rule, or waits for a person stays.

    HL7 messages have `clinical.mllp.keep_days`.
    """

    images: Days = 7.0
    """Received images, after their case has ended and an automatic amendment can no longer come; 0 allowed. The archive
    has them; storage commitment, where it is on, promises no longer than this."""
    failed_images: Days = 90.0
    """Images of cases that failed, and what no case could be made of (quarantine): so long `osteon retry` works."""
    reports: Days | None = None
    """Pages and other companions of delivered reports, after their case has ended; none keeps them. Case, result, UIDs,
    digests and the SRs, without which no report could be withdrawn, stay."""
    csv_files: Days = 90.0
    """Files in `done` and `rejected` of the drop folder."""
    audit: Days = 3650.0
    """Files of the audit trail."""
