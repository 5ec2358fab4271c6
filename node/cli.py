"""The command line: reads arguments and the environment, calls one function, prints what it gives.

Exit status: 0 done, 1 `doctor` found a failure or the file of `screen` failed, 2 the command or the configuration
cannot be used (one line says what and how to mend it). Every subcommand imports what it needs when it runs, so that
`osteon listen` never loads the networks.
"""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from config.settings import SettingsError, load
from node.commands import alerts, csv, deliveries, inbox, model, persons, results, train
from node.commands.ablation import ablation
from node.commands.arguments import MOST, Number
from node.commands.codes import codes
from node.commands.conformance import conformance
from node.commands.drift import drift
from node.commands.evaluate import evaluate
from node.commands.literature import literature
from node.commands.phantom import phantom
from node.commands.reconcile import reconcile
from node.commands.retention import retention
from node.commands.review import review
from node.commands.withdraw import withdraw

app = typer.Typer(
    name="osteon",
    help="Opportunistic osteoporosis screening of chest radiographs, between the PACS and the PACS.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.add_typer(train.app, name="train")
train.app.command()(ablation)
app.add_typer(inbox.app, name="inbox")
app.add_typer(alerts.app, name="alerts")
app.add_typer(deliveries.app, name="deliveries")
app.add_typer(results.app, name="results")
app.add_typer(persons.app, name="person")
app.add_typer(csv.app, name="csv")
app.add_typer(model.app, name="model")
app.command()(literature)
app.command()(phantom)
app.command()(codes)
app.command()(conformance)
app.command()(review)
app.command()(withdraw)
app.command()(retention)
app.command()(reconcile)
app.command()(evaluate)
app.command()(drift)

USAGE_ERROR = 2
_NOT_OURS = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST)
"""A file or folder that this account may not use as it must be used; after a restore, for example."""
ConfigOption = Annotated[Path | None, typer.Option("--config", "-c", help="TOML file; without it every default holds.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


def run() -> None:
    """Do what the arguments say; what an operator can mend is one line and exit status 2."""
    try:
        app()
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _NOT_OURS and error.filename is not None:
            said = f"{error.filename}: {error.strerror}; let the account that runs this own it, or name another place"
        elif isinstance(error, _operator_errors()):
            said = str(error)
        else:
            raise
        typer.echo(f"osteon: {said}", err=True)
        sys.exit(USAGE_ERROR)


@app.callback()
def _prepare() -> None:
    from node.process import configure_logging  # noqa: PLC0415 - see the module docstring

    configure_logging()


@app.command()
def serve(config: ConfigOption = None) -> None:
    """Run the node: reception, clinical feeds, delivery, and the workers as child processes."""
    from node.serve import serve as run  # noqa: PLC0415

    sys.exit(run(load(config)))


@app.command()
def listen(config: ConfigOption = None) -> None:
    """Run reception, clinical feeds and delivery only; start workers with `osteon work`."""
    from node.listener import listen as run  # noqa: PLC0415

    run(load(config))


@app.command()
def work(config: ConfigOption = None) -> None:
    """Run one worker: it screens what the ledger holds, one image at a time, in one thread."""
    from node.worker import work as run  # noqa: PLC0415

    if run(load(config)):
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 - this very command, anew


@app.command()
def cases(
    *,
    state: Annotated[str, typer.Option(help="Only cases in this state, e.g. failed, not-applicable, delivered.")] = "",
    review_only: Annotated[
        bool, typer.Option("--review", help="Only those whose report a person must look at.")
    ] = False,
    limit: Annotated[int, typer.Option(min=1, max=MOST, help="At most so many, newest first.")] = 50,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """List the cases: one for every radiograph that was ever accepted. `osteon alerts` lists what needs a person."""
    from node.case_views import show_cases  # noqa: PLC0415

    show_cases(load(config), state=state, review=review_only, limit=limit, as_json=as_json)


@app.command()
def case(case_id: Number, *, as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """Show one case with its history: when each state was entered, why, and what was used."""
    from node.case_views import show_case  # noqa: PLC0415

    show_case(load(config), case_id, as_json=as_json)


@app.command()
def retry(case_id: Number, *, config: ConfigOption = None) -> None:
    """Take a failed case up again, or what an archive or HL7 receiver refused of it or is still to take."""
    from node.case_decisions import retry_case  # noqa: PLC0415

    typer.echo(retry_case(load(config), case_id))


@app.command()
def peers(
    *,
    trouble: Annotated[bool, typer.Option("--trouble", help="Only those that were refused or dropped.")] = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """List who came to the DICOM port, what was wrong with those refused, and what to write to mend it."""
    from node.peer_views import show_peers  # noqa: PLC0415

    show_peers(load(config), trouble=trouble, as_json=as_json)


@app.command()
def doctor(config: ConfigOption = None) -> None:
    """Check what the node needs, and explain the latest rejections; exit status 1 if something fails."""
    from node.doctor import run_doctor  # noqa: PLC0415

    sys.exit(run_doctor(load(config)))


@app.command()
def screen(
    file: Annotated[
        Path, typer.Argument(exists=True, readable=True, help="A DICOM file, or a folder or manifest (.csv) of many.")
    ],
    *,
    clinical: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="CSV in the feed's `observations` form.")
    ] = None,
    age: Annotated[float | None, typer.Option(min=0, max=120, help="Age in years, where the header has none.")] = None,
    sex: Annotated[str, typer.Option(help="F or M, where the header has none.")] = "",
    out: Annotated[
        Path | None, typer.Option(help="Folder for report and page; of many files, the results table [results.csv].")
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Of many files: processes. Every core by default.")] = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Screen one file and write SR and page; or all of a folder or manifest, over all cores, into one table.

    A manifest has the column `file` and may have `age_years`, `sex` and `weight_kg`. A run that was stopped goes on.
    The exit status is 1 where the one file failed; of many, each row says what became of its file.
    """
    if file.is_dir() or file.suffix.lower() == ".csv":
        from node.archive_views import screen_archive  # noqa: PLC0415

        if clinical is not None or age is not None or sex or as_json:
            raise typer.BadParameter("not for many files; state age, sex and weight in a manifest")  # noqa: EM101, TRY003
        typer.echo(screen_archive(load(config), file, out or Path("results.csv"), workers=workers))
        return
    if sex not in ("", "F", "M"):
        raise typer.BadParameter("write F or M", param_hint="--sex")  # noqa: EM101, TRY003
    from node.screen_file import screen_file  # noqa: PLC0415 - loads the model; of many files, their processes do

    outcome = screen_file(load(config), file, clinical=clinical, age=age, sex=sex, out=out or Path())
    typer.echo(outcome.as_json() if as_json else outcome.as_text())
    raise typer.Exit(int(outcome.state == "failed"))


@app.command()
def demo(
    *,
    out: Annotated[Path, typer.Option(file_okay=False, help="Folder for what the demo leaves.")] = Path("demo-output"),
    without_orthanc: Annotated[
        bool, typer.Option("--without-orthanc", help="Use the small receiving AE although Orthanc is installed.")
    ] = False,
) -> None:
    """Run the main job on six simulated patients and show what comes back."""
    from node.demo.run import run_demo  # noqa: PLC0415

    sys.exit(run_demo(out, with_orthanc=not without_orthanc))


@app.command()
def settings() -> None:
    """Print every setting with its default and its meaning."""
    from config.reference import defaults_toml  # noqa: PLC0415

    typer.echo(defaults_toml(), nl=False)


def _operator_errors() -> tuple[type[Exception], ...]:
    """Errors whose message is the one line an operator needs; asked for only once something was raised."""
    from config.codes import CodeTableError  # noqa: PLC0415
    from model.bundle import BundleError  # noqa: PLC0415 - imports torch
    from node.crew import NeverReady  # noqa: PLC0415
    from node.store.errors import LedgerError, LedgerUnavailable, NoSuchCase, NoSuchFile  # noqa: PLC0415

    return (
        SettingsError,
        NeverReady,
        CodeTableError,
        BundleError,
        LedgerError,
        LedgerUnavailable,
        NoSuchCase,
        NoSuchFile,
    )
