"""What every report of this node has in common: the settings of site, report and delivery in the report's own terms."""

from __future__ import annotations

import datetime as dt
import hashlib

from config.report import Report
from config.settings import Settings
from dicom_io.results import BuiltObject, Companion, Installation, ReportContext
from dicom_io.versions import Amends
from dicom_io.words import Language
from node.case import ReportObject


def report_context(
    settings: Settings, installation: Installation, *, node_version: str, at: dt.datetime, amends: Amends | None
) -> ReportContext:
    """The context of one report made at `at`; a further version comes after the one before it."""
    report = settings.report
    return ReportContext(
        site_name=settings.site.name,
        zone=settings.site.zone,
        ae_title=settings.delivery.ae_title,
        installation=installation,
        node_version=node_version,
        at=at if amends is None else amends.not_before(at),
        with_page=report.page,
        companions=_companions(report),
        language=Language(report.language),
        attention_regions=report.attention_regions,
        content_qualification=report.content_qualification,
        product_reason=report.product_reason,
        inherit_charset=report.charset == "inherit",
        restore_raw_header=report.restore_raw_header,
        amends=amends,
    )


def summary(built: BuiltObject) -> ReportObject:
    """A finished object as the ledger lists it."""
    return ReportObject(
        kind=built.kind,
        sop_class_uid=built.sop_class_uid,
        sop_instance_uid=built.sop_instance_uid,
        sha256=hashlib.sha256(built.part10).hexdigest(),
    )


def _companions(report: Report) -> tuple[Companion, ...]:
    """In the order in which they are sent."""
    wanted = (
        (Companion.HEAT_MAP, report.heat_map),
        (Companion.GSPS, report.gsps),
        (Companion.PDF, report.pdf),
        (Companion.KOS, report.kos),
    )
    return tuple(companion for companion, on in wanted if on)
