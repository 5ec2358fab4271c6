"""The command line: reads arguments and the environment, calls one function, prints what it gives.

Exit status: 0 done, 1 `doctor` found a failure, 2 the command or the configuration cannot be used (one line says what
and how to mend it). Every subcommand imports what it needs when it runs, so that `osteon listen` never loads the
networks.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from config.settings import SettingsError, load
from node.commands import alerts, csv, inbox, persons
from node.commands.codes import codes
from node.commands.evaluate import evaluate
from node.commands.literature import literature
from node.commands.review import review

app = typer.Typer(
    name="osteon",
    help="Opportunistic osteoporosis screening of chest radiographs, between the PACS and the PACS.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
train_app = typer.Typer(help="Train model bundles (offline work; needs the `train` extra).", no_args_is_help=True)
app.add_typer(train_app, name="train")
app.add_typer(inbox.app, name="inbox")
app.add_typer(alerts.app, name="alerts")
app.add_typer(persons.app, name="person")
app.add_typer(csv.app, name="csv")
app.command()(literature)
app.command()(codes)
app.command()(review)
app.command()(evaluate)

USAGE_ERROR = 2
ConfigOption = Annotated[Path | None, typer.Option("--config", "-c", help="TOML file; without it every default holds.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


def main() -> None:
    """Entry point of the `osteon` script."""
    try:
        app()
    except Exception as error:
        if not isinstance(error, _operator_errors()):
            raise
        typer.echo(f"osteon: {error}", err=True)
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

    run(load(config))


@app.command()
def cases(
    *,
    state: Annotated[str, typer.Option(help="Only cases in this state, e.g. failed, not-applicable, delivered.")] = "",
    review_only: Annotated[
        bool, typer.Option("--review", help="Only those whose report a person must look at.")
    ] = False,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, newest first.")] = 50,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """List the cases: one for every radiograph that was ever accepted. `osteon alerts` lists what needs a person."""
    from node.case_views import show_cases  # noqa: PLC0415

    show_cases(load(config), state=state, review=review_only, limit=limit, as_json=as_json)


@app.command()
def case(case_id: int, *, as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """Show one case with its history: when each state was entered, why, and what was used."""
    from node.case_views import show_case  # noqa: PLC0415

    show_case(load(config), case_id, as_json=as_json)


@app.command()
def retry(case_id: int, *, config: ConfigOption = None) -> None:
    """Take a failed case up again, or a delivery that an archive refused."""
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
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True, help="A DICOM file (CR or DX).")],
    *,
    clinical: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="CSV in the feed's `observations` form.")
    ] = None,
    age: Annotated[float | None, typer.Option(min=0, max=120, help="Age in years, where the header has none.")] = None,
    sex: Annotated[str, typer.Option(help="F or M, where the header has none.")] = "",
    out: Annotated[Path, typer.Option(file_okay=False, help="Folder for the report and the page.")] = Path(),
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Screen one file without the network part and write the SR and the page."""
    from node.screen_file import screen_file  # noqa: PLC0415

    if sex not in ("", "F", "M"):
        raise typer.BadParameter("write F or M", param_hint="--sex")  # noqa: EM101, TRY003
    outcome = screen_file(load(config), file, clinical=clinical, age=age, sex=sex, out=out)
    typer.echo(outcome.as_json() if as_json else outcome.as_text())


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


@app.command()
def phantom(
    *,
    count: Annotated[int, typer.Option("--n", min=1, help="How many simulated patients.")] = 10,
    out: Annotated[Path, typer.Option(file_okay=False, help="Folder for the DICOM files and the truth.")],
    rows: Annotated[int, typer.Option(min=64, max=4096, help="Height of the images in pixels.")] = 1240,
    seed: Annotated[int, typer.Option(help="Same seed, same files.")] = 1,
) -> None:
    """Write simulated chest radiographs as DX objects, with truth.csv beside them."""
    from node.demo.phantoms import write_phantoms  # noqa: PLC0415

    write_phantoms(out, count=count, rows=rows, seed=seed)


@train_app.command("demo")
def train_demo(
    *,
    out: Annotated[Path, typer.Option(file_okay=False, help="Folder of the new bundle.")],
    table: Annotated[Path, typer.Option(exists=True, dir_okay=False, help="bonequality.csv, the real DXA table.")],
    films: Annotated[Path, typer.Option(exists=True, file_okay=False, help="Real films (NIH) for the gate.")],
    images: Annotated[int, typer.Option(min=24, help="Simulated radiographs in all three splits.")] = 3200,
    seed: Annotated[int, typer.Option(help="Same seed, same bundle up to float noise.")] = 7,
) -> None:
    """Train the demonstration bundle on simulated radiographs."""
    from model.train.demo import train_demo as run  # noqa: PLC0415

    metrics = run(out, table=table, films=films, seed=seed, images=images)
    typer.echo("RESULT train-demo " + " ".join(f"{key}={value}" for key, value in metrics.items()))


def _operator_errors() -> tuple[type[Exception], ...]:
    """Errors whose message is the one line an operator needs; asked for only once something was raised."""
    from config.codes import CodeTableError  # noqa: PLC0415
    from model.bundle import BundleError  # noqa: PLC0415 - imports torch
    from node.store.errors import LedgerError, LedgerUnavailable, NoSuchCase, NoSuchFile  # noqa: PLC0415

    return (SettingsError, CodeTableError, BundleError, LedgerError, LedgerUnavailable, NoSuchCase, NoSuchFile)
