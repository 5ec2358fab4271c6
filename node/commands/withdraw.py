"""`osteon withdraw`."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated

import typer

from config.settings import load
from node.commands.arguments import Number


class Kind(enum.StrEnum):
    """Title of the rejection note."""

    SAFETY = "safety"
    """Rejected for Patient Safety Reasons (113037,DCM): wrong patient joined, wrong model, fault of the software."""
    QUALITY = "quality"
    """Rejected for Quality Reasons (113001,DCM): the image is inadequate, or itself rejected."""


def withdraw(
    case_id: Number,
    *,
    reason: Annotated[str, typer.Option(help="Why, in one line; the archives get it. No patient data.")],
    by: Annotated[str, typer.Option(help="Who decides; written to the history and the audit trail.")],
    kind: Annotated[Kind, typer.Option(help="safety: a wrong result; quality: the image is inadequate.")] = Kind.SAFETY,
    wrong_patient: Annotated[
        bool, typer.Option("--wrong-patient", help="Tell HL7 receivers that it belonged to another patient.")
    ] = False,
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="TOML file; without it every default holds.")
    ] = None,
) -> None:
    """Take a wrong report back: rejection note and superseding report to every archive that has it. It is final."""
    from dicom_io.document_check import ReportInvalid  # noqa: PLC0415 - see node.cli
    from node.case_decisions import withdraw_case  # noqa: PLC0415

    try:
        said = withdraw_case(load(config), case_id, reason=reason, rejection=kind, by=by, wrong_patient=wrong_patient)
    except ReportInvalid as error:
        raise typer.BadParameter(str(error), param_hint="--reason") from error
    typer.echo(said)
