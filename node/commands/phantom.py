"""`osteon phantom`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from node.demo.phantom_order import PhantomOrder, PhantomView


def phantom(
    *,
    count: Annotated[int, typer.Option("--n", min=1, help="How many simulated patients.")] = 10,
    out: Annotated[Path, typer.Option(file_okay=False, help="Folder for the DICOM files and the truth.")],
    rows: Annotated[int, typer.Option(min=64, max=4096, help="Height of the images in pixels.")] = 1240,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same files.")] = 1,
    view: Annotated[list[PhantomView] | None, typer.Option(help="Repeatable; frontal alone by default.")] = None,
) -> None:
    """Write simulated chest radiographs as DX objects, with their truth (truth.csv) and a training manifest."""
    from rich.progress import Progress  # noqa: PLC0415 - pydicom and rich are loaded only when asked for

    from node.demo.phantom_folder import write_phantoms  # noqa: PLC0415

    views = tuple(dict.fromkeys(view or [PhantomView.FRONTAL]))
    order = PhantomOrder(count=count, seed=seed, rows=rows, views=views)
    with Progress() as bar:
        task = bar.add_task("phantoms", total=count * len(views))
        films = write_phantoms(out, order, progress=lambda done, _total: bar.update(task, completed=done))
    typer.echo(f"{films} simulated films of {count} patients, truth.csv, training.csv and manifest.json in {out}")
