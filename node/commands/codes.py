"""`osteon codes`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from config.settings import load


def codes(
    *,
    site_file: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="A site's table, instead of clinical.codes.file.")
    ] = None,
    seen: Annotated[
        bool, typer.Option("--seen", help="Instead list the codes and units that came by HL7, and what they mean.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="TOML file; without it every default holds.")
    ] = None,
) -> None:
    """Print the clinical code table for signing: what each code and unit means, and the version to confirm."""
    from node.code_views import show_codes, show_seen  # noqa: PLC0415 - see node.cli

    show = show_seen if seen else show_codes
    show(load(config), site_file=site_file, as_json=as_json)
