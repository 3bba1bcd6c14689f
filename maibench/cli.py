"""Commands, flags and exit codes; no logic of its own. Everything heavy is imported where it is used."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from maibench.evaluation.compare import Progress

DONE, NOT_CLEAN, WRONG_REQUEST, INTERRUPTED = 0, 1, 2, 130

app = typer.Typer(
    name="maibench",
    help="Compare detectors of AI-generated images on the same images.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
front_door = typer.Typer(name="compare.py", add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@contextlib.contextmanager
def exit_codes() -> Iterator[None]:
    """Turn the project's exceptions into one line on stderr and an exit code."""
    from maibench.errors import MaibenchError

    try:
        yield
    except MaibenchError as error:
        print(f"maibench: {' '.join(str(error).split())}", file=sys.stderr)
        raise typer.Exit(WRONG_REQUEST) from None
    except KeyboardInterrupt:
        print("maibench: interrupted; what was scored is kept, the same command goes on from there", file=sys.stderr)
        raise typer.Exit(INTERRUPTED) from None


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
    data: Annotated[
        str | None, typer.Option(help="demo (built in, offline), a folder, or a .csv / .parquet manifest. [demo]")
    ] = None,
    split: Annotated[str | None, typer.Option(help="train, validation or test. [test]")] = None,
    perturb: Annotated[
        str | None,
        typer.Option(
            help="jpeg:75, webp:80, resize:0.5, blur:1, noise:5, crop:0.8, chains with +; comma-separated; "
            "none is always among them."
        ),
    ] = None,
    config: Annotated[Path | None, typer.Option(help="A YAML file with the same keys; flags override it.")] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="key=value for a configuration value, LABEL.option=value for a detector's."),
    ] = None,
    out: Annotated[str | None, typer.Option(help="The run's folder. [results/<data>-<models>]")] = None,
    engine: Annotated[str | None, typer.Option(help="local. [local]")] = None,
    backend: Annotated[str | None, typer.Option(help="torch. [torch]")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda. [auto]")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images a batch. [32]")] = None,
    workers: Annotated[int | None, typer.Option(help="Threads that decode and preprocess. [one a core]")] = None,
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
    and a page."""
    with exit_codes():
        from maibench.config import make_config

        flags: dict[str, Any] = {
            "models": models, "data": data, "split": split, "perturb": perturb, "out": out, "engine": engine,
            "backend": backend, "device": device, "batch_size": batch_size, "workers": workers, "limit": limit,
            "seed": seed, "strict": strict,
        }  # fmt: skip
        settings = make_config(config, flags, set_ or [])
        from maibench.evaluation.compare import run_comparison

        run = run_comparison(settings, fresh=fresh, command=sys.argv, progress=_terminal_progress())
        _show_summary(run.folder, run.summary)
        _say(f"scored {run.scored} batches" if run.scored else "nothing was missing: no image was scored")
    if not run.clean:
        raise typer.Exit(NOT_CLEAN)


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(help="A run's folder; one that holds only predictions/ is enough.")],
    resamples: Annotated[int | None, typer.Option(min=2, help="Of the bootstrap. [as the run asked, or 1,000]")] = None,
) -> None:
    """Make every table, figure and page again from the predictions alone; needs no torch."""
    with exit_codes():
        from maibench.evaluation.report import write_report

        _show_summary(folder, write_report(folder, resamples))


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
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
) -> None:
    """Train a detector from a recipe; the same command goes on from the last checkpoint."""
    with exit_codes():
        from maibench.datasets.readers import open_data
        from maibench.finetune.recipe import read_recipe
        from maibench.finetune.trainer import train

        train(read_recipe(recipe), [open_data(source) for source in data], out, device, say=_say)
        _say(f"done; compare it with --models {out}")


def main() -> None:
    """The `maibench` command."""
    app()


def compare_main() -> None:
    """`python compare.py`: the compare command by itself."""
    front_door()


def _show_summary(folder: Path, summary: Any) -> None:
    from rich.console import Console

    from maibench.evaluation.run import read_run
    from maibench.evaluation.tables import terminal

    Console().print(terminal(summary, read_run(folder)))
    _say(f"tables, figures and the page are in {folder} (open report.html)")


def _say(text: str) -> None:
    print(text, file=sys.stderr)


def _terminal_progress() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    from maibench.evaluation.compare import Progress

    class Terminal(Progress):
        def __init__(self) -> None:
            self.bar = Bar(
                TextColumn("scoring"), BarColumn(), MofNCompleteColumn(), TextColumn("images"), TimeRemainingColumn(),
                console=Console(stderr=True), transient=True,
            )  # fmt: skip

        def say(self, text: str) -> None:
            _say(text)

        def start(self, images: int) -> None:
            self.task = self.bar.add_task("", total=images)
            self.bar.start()

        def advance(self, images: int) -> None:
            self.bar.advance(self.task, images)

        def stop(self) -> None:
            self.bar.stop()

    return Terminal()
