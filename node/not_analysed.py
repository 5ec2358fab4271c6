"""Whether and how an image that ended without a score is reported: as "not analysed", and never as anything more.

Silence would be read as "nothing found", so a site may want a word about each film that is meant for the model and
could not be assessed. Of what the model is not meant for (a hand, a lateral view, our own page) nothing is said.
"""

from __future__ import annotations

from typing import Final

from dicom_io.header import Header
from dicom_io.results import BuiltObject, ReportContext, ReportInvalid, build_not_analysed
from model.domain import ModelFacts, Reason
from node.case import NotApplicable
from node.errors import FailureCode, GiveUp

NOT_MEANT: Final = frozenset(
    (
        Reason.OWN_RESULT,
        Reason.MODALITY,
        Reason.MULTIFRAME,
        Reason.NO_PIXELS,
        Reason.FOR_PROCESSING,
        Reason.BODY_PART,
        Reason.VIEW_LATERAL,
        Reason.NOT_HUMAN,
        Reason.AGE_UNDER,
    )
)
"""The image, or the person, is none the model is meant for."""


def statement(
    case: NotApplicable, header: Header, model: ModelFacts, context: ReportContext
) -> tuple[BuiltObject, ...]:
    """The objects that say the image was not analysed; none where nothing is to be said.

    Raises:
        GiveUp: REPORT_INVALID, they would break a rule.

    """
    sized = header.get("Rows") and header.get("Columns")
    if not case.reasons or NOT_MEANT.intersection(case.reasons) or not sized:
        return ()
    try:
        return build_not_analysed(header, case.reasons, model, context)
    except ReportInvalid as error:
        raise GiveUp(FailureCode.REPORT_INVALID, str(error)) from error
