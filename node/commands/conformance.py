"""`osteon conformance`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from config.settings import load


def conformance(
    *,
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="TOML file; without it every default holds.")
    ] = None,
) -> None:
    """Print the DICOM conformance statement of this configuration (PS3.2), as Markdown."""
    from dicom_io.conformance import statement  # noqa: PLC0415 - see node.cli

    typer.echo(statement(load(config)), nl=False)
