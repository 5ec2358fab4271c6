"""Settings of what is sent: SR, page and companions, their language and their header."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from config.fields import Group


class Report(Group):
    """What is sent."""

    report_on: tuple[Literal["above", "between", "below"], ...] = ("above", "between", "below")
    """Screening categories that make a report. A missing result looks like a failure, so all by default."""
    page: bool = True
    """Send the one-page Secondary Capture beside the SR: viewers that draw no SR show it."""
    language: Literal["en", "de"] = "en"
    """Language of all sentences in SR, page and companions; codes stay as they are, so programs read both alike."""
    send_not_analysed: bool = False
    """Report films that could not be assessed too, as "not analysed"; otherwise they are only in the ledger. Nothing is
    ever sent for what the model is not meant for: other body parts, lateral views, patients under the age."""
    heat_map: bool = False
    """Send the attention map over the film as a Secondary Capture of its own series (about 2.5 MB)."""
    gsps: bool = False
    """Send a presentation state with analysed field and attention outline, for viewers that draw it on the image."""
    pdf: bool = False
    """Send the page as Encapsulated PDF too, with text that can be searched (about 0.1 MB)."""
    kos: bool = False
    """Send a Key Object Selection that points at image and page, for worklists that read such notes (3 kB)."""
    attention_regions: bool = False
    """Add the regions of high model attention to the SR, for programs that draw them. They mark no finding."""
    sr_classes: Annotated[tuple[Literal["enhanced", "comprehensive", "comprehensive3d"], ...], Field(min_length=1)] = (
        "enhanced",
        "comprehensive",
        "comprehensive3d",
    )
    """SR classes offered to a destination without `sr_class`, the preferred one first. IHE AI Results names
    `comprehensive3d`."""
    charset: Literal["utf8", "inherit"] = "utf8"
    """Character set of what is sent. `inherit` (archives without Unicode): the image's, where it holds all texts."""
    restore_raw_header: bool = False
    """Put invalid patient and study strings of the image back as they came, for archives that compare exactly; the
    objects then have the image's own errors."""
    content_qualification: Literal["RESEARCH", "PRODUCT"] = "RESEARCH"
    """Content Qualification (0018,9004) of all objects. PRODUCT only where the model may be used so: say why below.
    With a bundle trained on simulated images the node then does not start."""
    product_reason: str = ""
    """Written reason for PRODUCT, e.g. the registration of the model in use; without one the node does not start."""

    @model_validator(mode="after")
    def _product_has_a_reason(self) -> Self:
        if self.content_qualification == "PRODUCT" and not self.product_reason.strip():
            msg = "PRODUCT needs product_reason: who allowed the model's use, and by what"
            raise ValueError(msg)
        return self
