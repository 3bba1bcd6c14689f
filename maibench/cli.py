"""Commands, flags and exit codes; no logic of its own. Everything heavy is imported where it is used."""

from __future__ import annotations

import functools
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from maibench.cli_attribute import attribute
from maibench.cli_data import data_app
from maibench.cli_make import COLUMNS, SOURCE
from maibench.cli_tools import tools_app
from maibench.exit_codes import NOT_CLEAN, exit_codes

app = typer.Typer(
    name="maibench",
    help="Compare detectors of AI-generated images on the same images.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
front_door = typer.Typer(name="compare.py", add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
app.add_typer(data_app, name="data", help="Read, check and make data sets.")
app.add_typer(tools_app)  # its commands stand beside these
app.command()(attribute)


@app.command()
@front_door.command()
def compare(
    models: Annotated[
        str | None,
        typer.Option(
            help="SPEC or LABEL=SPEC, comma-separated: a name of `maibench models`, a folder that "
            "finetuning wrote, or FILE.py:Class. Rows keep this order."
        ),
    ] = None,
    data: Annotated[str | None, typer.Option(help=f"{SOURCE} [demo]")] = None,
    columns: Annotated[str | None, typer.Option(help=COLUMNS)] = None,
    split: Annotated[str | None, typer.Option(help="train, validation or test. [test]")] = None,
    perturb: Annotated[
        str | None,
        typer.Option(
            help="jpeg:75, resize:0.5, blur:1, noise:5, crop:0.8, chains as resize:0.5+jpeg:75; suites social, codec, "
            "geometry, paper or FILE.yaml; attack:fgsm:2, attack:pgd:2 (in 255ths); none is always among them."
        ),
    ] = None,
    config: Annotated[Path | None, typer.Option(help="A YAML file with the same keys; flags override it.")] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="key=value for a configuration value, LABEL.option=value for a detector's."),
    ] = None,
    out: Annotated[
        str | None, typer.Option(help="The run's folder, not among the images. [results/<data>-<models>]")
    ] = None,
    engine: Annotated[str | None, typer.Option(help="local, or ray: on the machines of a cluster. [local]")] = None,
    address: Annotated[
        str | None, typer.Option(help="Of the Ray cluster, HOST:PORT. [RAY_ADDRESS, or one started here]")
    ] = None,
    backend: Annotated[
        str | None,
        typer.Option(
            help="What runs the networks: torch, torch-bf16, onnx, openvino, openvino-bf16; on a GPU also cudagraph, "
            "cudagraph-bf16; auto: the fastest that computes what torch does. [torch]"
        ),
    ] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda. [auto]")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images a batch. [32]")] = None,
    workers: Annotated[
        int | None, typer.Option(help="Cores that decode, preprocess and run networks. [all there are]")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(help="At most N images of a split, drawn at random, classes in their shares.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of the draw and the bootstrap. [0]")] = None,
    strict: Annotated[
        bool | None, typer.Option("--strict", help="Exit code 1 when an image failed.", show_default=False)
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh/--resume", help="Score all afresh, or only what is missing.")] = False,
) -> None:
    """Put detectors side by side on the same images: a table here, and in the run's folder the paper's tables, figures
    and a page. A value of --config or --set may be a list of values: a sweep, a row each in one table."""
    with exit_codes():
        from maibench.config import make_configs

        flags: dict[str, Any] = {
            "models": models, "data": data, "columns": columns, "split": split, "perturb": perturb, "out": out,
            "engine": engine, "address": address, "backend": backend, "device": device, "batch_size": batch_size,
            "workers": workers, "limit": limit, "seed": seed, "strict": strict,
        }  # fmt: skip
        settings = make_configs(config, flags, set_ or [])
        from maibench.evaluation.compare import run_comparison
        from maibench.evaluation.sweep import run_sweep
        from maibench.terminal import TerminalProgress

        progress = functools.partial(TerminalProgress, "scoring", "images")
        if len(settings) > 1:
            sweep = run_sweep(settings, fresh=fresh, command=sys.argv, progress=progress)
            _show_sweep(sweep.rows, sweep.folder, sweep.failures)
            scored, clean = sweep.scored, sweep.clean
        else:
            run = run_comparison(next(iter(settings.values())), fresh=fresh, command=sys.argv, progress=progress())
            _show_summary(run.folder, run.summary)
            scored, clean = run.scored, run.clean
        _say(f"scored {scored} batches" if scored else "nothing was missing: no image was scored")
    if not clean:
        raise typer.Exit(NOT_CLEAN)


@app.command()
def report(
    folders: Annotated[
        list[Path], typer.Argument(help="A run's folder; one that holds only predictions/ is enough. Several: merged.")
    ],
    out: Annotated[Path | None, typer.Option(help="Where the report of several goes. [results/merged]")] = None,
    resamples: Annotated[int | None, typer.Option(min=2, help="Of the bootstrap. [as the run asked, or 1,000]")] = None,
    interval: Annotated[
        str | None, typer.Option(help="bootstrap, bca, or analytic (Wilson, DeLong). [as the run asked, or bootstrap]")
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="table.columns=[...], table.order=auc, table.precision=2, ...")
    ] = None,
) -> None:
    """Make every table, figure and page again from the predictions alone; needs no torch. Of several folders, one
    report: repeats as mean and spread, data sets side by side."""
    with exit_codes():
        from maibench.config import report_settings

        settings = report_settings({"resamples": resamples, "interval": interval}, set_ or [])
        if len(folders) == 1 and out is None:
            from maibench.evaluation.report import write_report

            _show_summary(folders[0], write_report(folders[0], settings), settings.get("table"))
        else:
            from maibench.evaluation.merge import merge_reports

            _show_merged(merge_reports(folders, out or Path("results") / "merged", settings), settings.get("table"))


@app.command("app")
def serve(
    models: Annotated[str, typer.Option(help="SPEC or LABEL=SPEC, comma-separated.")] = "bailu,mai_cnn,moondream",
    set_: Annotated[list[str] | None, typer.Option("--set", help="LABEL.option=value for a detector's option.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    port: Annotated[int, typer.Option(help="0 for any that is free.")] = 7860,
    open_: Annotated[bool, typer.Option("--open", help="Open it in the browser.", show_default=False)] = False,
) -> None:
    """A page on this machine: drop images, see what every detector says of them. Nothing leaves the machine."""
    with exit_codes("stopped"):
        from maibench.app import run_app
        from maibench.config import parse_setting, split_list

        options: dict[str, dict[str, Any]] = {}
        for key, value in map(parse_setting, set_ or []):
            label, _, option = key.rpartition(".")
            options.setdefault(label, {})[option] = value
        run_app(split_list(models), options, device, port=port, open_browser=open_)


@app.command()
def models(pattern: Annotated[str, typer.Argument(help="Only names that match, as in 'mai*'.")] = "*") -> None:
    """List the detectors: parameters, weights, generators trained on, the authors' number."""
    with exit_codes():
        from rich.console import Console

        from maibench.models.listing import list_models

        Console().print(list_models(pattern))


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="A SPEC, as for --models.")],
    set_: Annotated[list[str] | None, typer.Option("--set", help="option=value, to load it with.")] = None,
) -> None:
    """Print a detector's card and its options; for a VLM also the prompt and the tokens that count as answers."""
    with exit_codes():
        from rich.console import Console

        from maibench.config import parse_setting
        from maibench.models.listing import show_card

        options = {key.removeprefix(f"{name}."): value for key, value in map(parse_setting, set_ or [])}
        Console().print(show_card(name, options))


@app.command()
def finetune(
    recipe: Annotated[Path, typer.Argument(help="A YAML file, as in configs/finetune/.")],
    out: Annotated[Path, typer.Option(help="The folder that receives weights, card and checkpoints.")],
    data: Annotated[list[str], typer.Option(help="A SOURCE with train and validation splits; may be repeated.")],
    columns: Annotated[str, typer.Option(help=COLUMNS)] = "",
    set_: Annotated[list[str] | None, typer.Option("--set", help="key=value for a value of the recipe.")] = None,
    device: Annotated[
        str,
        typer.Option(help="auto, cpu or cuda; several: torchrun or accelerate launch (configs/accelerate/)."),
    ] = "auto",
) -> None:
    """Train a detector from a recipe; the same command goes on from the last checkpoint."""
    with exit_codes("interrupted; the last checkpoint is kept, the same command goes on from there"):
        from maibench.datasets.readers import open_data
        from maibench.finetune.recipe import read_recipe
        from maibench.finetune.trainer import train
        from maibench.terminal import TerminalProgress

        settings = read_recipe(recipe, set_ or [])
        manifests = [open_data(source, columns) for source in data]
        train(settings, manifests, out, device, TerminalProgress("training", "steps"))
        if os.environ.get("RANK", "0") == "0":
            _say(f"done; compare it with --models {out}")


@app.command()
def ablate(
    config: Annotated[Path, typer.Argument(help="A YAML file, as in configs/ablations/.")],
    data: Annotated[list[str] | None, typer.Option(help="A SOURCE to train on; may be repeated.")] = None,
    compare: Annotated[str | None, typer.Option(help="A SOURCE to compare on; the first --data by default.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="The folder of all points; results/ablation-NAME by default.")
    ] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="key=value for the recipe of every point.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    part: Annotated[str, typer.Option(help="I/N: only every N-th training, from the I-th, to share the work.")] = "1/1",
) -> None:
    """Finetune and compare every point of a grid with several seeds: one table and one figure."""
    with exit_codes("interrupted; what was trained is kept, the same command goes on from there"):
        from maibench.config import parse_setting
        from maibench.finetune.ablation import parse_part, run_ablation
        from maibench.terminal import TerminalProgress

        out = out or Path("results") / f"ablation-{config.stem}"
        clean = run_ablation(
            config, out, data, {"data": compare} if compare else {}, dict(map(parse_setting, set_ or [])), device,
            parse_part(part), _say, lambda: TerminalProgress("training", "steps"),
        )  # fmt: skip
        print((out / "table.md").read_text(), end="")
        _say(f"table and figure are in {out}")
        if not clean:
            raise typer.Exit(NOT_CLEAN)


def main() -> None:
    """The `maibench` command."""
    app()


def compare_main() -> None:
    """`python compare.py`: the compare command by itself."""
    front_door()


def _show_summary(folder: Path, summary: Any, table: Any = None) -> None:
    from rich.console import Console

    from maibench.evaluation.report import run_of
    from maibench.evaluation.tables.report_tables import style_of, terminal
    from maibench.evaluation.tables.sweep_table import failures_of, sweep_rows

    run = run_of(folder)
    rows = sweep_rows(summary, run)
    if len(rows):
        _show_sweep(rows, folder, failures_of(run))
    else:
        Console().print(terminal(summary, run, style_of(run, table)))
    _say(f"tables, figures and the page are in {folder} (open report.html)")


def _show_sweep(rows: Any, folder: Path, failures: list[str]) -> None:
    from rich.console import Console

    from maibench.evaluation.tables.sweep_table import terminal

    Console().print(terminal(rows, failures))
    _say(f"the sweep's table and figure are in {folder} (sweep.md, sweep.csv)")


def _show_merged(merged: Any, table: Any) -> None:
    from rich.console import Console

    from maibench.evaluation.tables.merged_tables import terminal

    Console().print(terminal(merged, table))
    _say(f"the merged tables are in {merged.folder}")


def _say(text: str) -> None:
    print(text, file=sys.stderr)
