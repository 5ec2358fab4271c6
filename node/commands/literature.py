"""`osteon literature`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def literature(
    *,
    table: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="CSV with tp, fp, fn, tn, one study a row.")
    ] = None,
    by: Annotated[str, typer.Option(help="Column with the subgroup of each study.")] = "",
    site: Annotated[
        tuple[int, int, int, int] | None, typer.Option(metavar="TP FP FN TN", help="The site's own 2x2 table.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Pool published 2x2 tables (bivariate model, REML) and say what the next site may look like."""
    from node.literature_views import show_literature  # noqa: PLC0415 - scipy is loaded only when asked for

    show_literature(table=table, by=by, site=site, as_json=as_json)
