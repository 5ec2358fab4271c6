"""`dsr2html` golden text per outcome: what a plain renderer shows, word for word, and nothing it must not say.

The texts lie in tests/support/report_html, from the first visible item on; a change there is a change of what is said.
"""

from pathlib import Path

import pytest
from support import report_judges
from support.report_cases import MODEL, context, header, limited, radiograph
from support.report_matrix import OUTCOMES, REASONS, WITHDRAWN_BECAUSE
from support.tools import require_tool

from dicom_io import wording
from dicom_io.results import build_not_analysed, build_results, build_withdrawal
from dicom_io.versions import EarlierDocument, amends

GOLDEN = Path(__file__).parents[1] / "support" / "report_html"
BARE = context(with_page=False)


def report(name: str) -> bytes:
    if name == "not-analysed":
        return build_not_analysed(header(), REASONS, MODEL, BARE)[-1].part10
    if name == "withdrawn":
        first = build_results(header(), radiograph(), limited(), BARE)[-1].part10
        after = amends(2, [EarlierDocument(part10=first, released=True)])
        return build_withdrawal(first, WITHDRAWN_BECAUSE, context(with_page=False, amends=after))[-1].part10
    return build_results(header(), radiograph(), OUTCOMES[name], BARE)[-1].part10


@pytest.mark.parametrize("name", [*OUTCOMES, "not-analysed", "withdrawn"])
def test_dsr2html_golden_text_per_outcome(name: str, tmp_path: Path) -> None:
    require_tool("dsr2html")
    path = tmp_path / "sr.dcm"
    path.write_bytes(report(name))
    shown = report_judges.html(path)
    spoken = shown[shown.index("Comment: ") : shown.index(" Annex Annex 1")]
    assert spoken == " ".join((GOLDEN / f"{name}.txt").read_text(encoding="utf-8").split())
    assert wording.forbidden(shown) == ()
