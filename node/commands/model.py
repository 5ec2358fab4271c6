"""`osteon model`: the bundles of this node."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from config.settings import load

app = typer.Typer(help="The model bundles of this node: which there are, and which one serves.", no_args_is_help=True)

ConfigOption = Annotated[Path | None, typer.Option("--config", "-c", help="TOML file; without it every default holds.")]
NameArgument = Annotated[str, typer.Argument(help="`demo`, or a folder below <data_dir>/bundles.")]


@app.command("list")
def listing(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
    config: ConfigOption = None,
) -> None:
    """List the bundles, which one serves, and what this site found when it measured them."""
    from node.model_views import show_bundles  # noqa: PLC0415 - torch is loaded only when asked for

    show_bundles(load(config), as_json=as_json)


@app.command()
def verify(name: NameArgument = "demo", *, config: ConfigOption = None) -> None:
    """Hash every file of a bundle and run its golden set; exit status 2 if anything is not as it was."""
    from node.model_views import verify_bundle  # noqa: PLC0415

    typer.echo(verify_bundle(load(config), name))


@app.command()
def activate(
    name: NameArgument,
    *,
    by: Annotated[str, typer.Option(help="Who decides; stands in the audit trail.")],
    config: ConfigOption = None,
) -> None:
    """Let a bundle serve from the workers' next idle moment on. One that does not verify is refused."""
    from node.model_views import activate_bundle  # noqa: PLC0415

    typer.echo(activate_bundle(load(config), name, by=by))


@app.command()
def parity(
    *,
    decode: Annotated[
        bool, typer.Option("--decode", help="Judge decoding at half resolution (model.decode_reduce) instead.")
    ] = False,
    count: Annotated[
        int | None, typer.Option("--phantoms", min=4, help="Virtual patients; 500 (with --decode 200) make a verdict.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Other seeds, other patients.")] = 4711,
    config: ConfigOption = None,
) -> None:
    """Hold the faster ways of computing against the reference for the active bundle, on this CPU; keep the verdict."""
    from node.parity_views import decoding_parity, engine_parity  # noqa: PLC0415

    settings = load(config)
    if decode:
        kept = decoding_parity(settings, count=200 if count is None else count, seed=seed)
    else:
        kept = engine_parity(settings, count=500 if count is None else count, seed=seed)
    if not kept:
        raise typer.Exit(1)


@app.command()
def card(
    *,
    bundle: Annotated[str, typer.Option(help="`demo`, or the folder of a bundle.")] = "demo",
    evaluation: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="evaluation.json of a full `osteon evaluate`.")
    ] = None,
    ablation: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="ablation.json of a full `osteon train ablation`.")
    ] = None,
    out: Annotated[Path, typer.Option(dir_okay=False, help="The Markdown file.")] = Path("deploy/docs/model-card.md"),
) -> None:
    """Write the model card with the items of TRIPOD+AI, CLAIM and STARD-AI."""
    from node.model_views import write_card  # noqa: PLC0415

    typer.echo(write_card(bundle, evaluation, ablation, out))
