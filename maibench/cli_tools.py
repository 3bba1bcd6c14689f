"""The commands for those who bring a detector: flags; no logic of their own. Everything heavy is imported where it is
used."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from maibench.cli_make import COLUMNS, SOURCE
from maibench.exit_codes import NOT_CLEAN, exit_codes

tools_app = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode=None)


@tools_app.command("new-detector")
def new(
    name: Annotated[str, typer.Argument(help="What it is called, as in edge_counter.")],
    out: Annotated[Path, typer.Option(help="The folder that receives NAME.py and test_NAME.py.")] = Path(),
) -> None:
    """Write a detector that works, for you to change, and its test."""
    with exit_codes():
        from maibench.plugins.new_detector import class_name, new_detector

        detector, test = new_detector(name, out)
        spec = f"{'' if detector.is_absolute() else './'}{detector}:{class_name(detector.stem)}"
        print(f"{detector}\n{test}")
        print(f"change it, check it with 'maibench check {spec}', compare it with --models {spec}", file=sys.stderr)


@tools_app.command()
def check(
    name: Annotated[str, typer.Argument(help="A SPEC, as for --models.")],
    set_: Annotated[list[str] | None, typer.Option("--set", help="option=value, to load it with.")] = None,
    data: Annotated[
        str | None, typer.Option(help=f"Images to try it on, 32 of each split at most. {SOURCE} [textures]")
    ] = None,
    columns: Annotated[str, typer.Option(help=COLUMNS)] = "",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
) -> None:
    """Run a detector through what comparisons rely on: shapes, repeatable answers, batches, odd images, speed, ...

    Exit code 1 where something failed.
    """
    with exit_codes("stopped"):
        from rich.console import Console
        from rich.text import Text

        from maibench.config import parse_setting
        from maibench.evaluation.conformance import Finding, is_clean
        from maibench.evaluation.conformance import check as checked
        from maibench.evaluation.conformance.probes import probes_of
        from maibench.models.device import choose_device
        from maibench.models.loading import load_detector

        options = {key.removeprefix(f"{name}."): value for key, value in map(parse_setting, set_ or [])}
        images = probes_of(data, columns) if data else None
        device = str(options.pop("device", device))
        detector = load_detector(name, device=choose_device(device), **options)
        detector.check_ready()
        console, colours = Console(), {"ok": "green", "advice": "yellow", "failed": "red"}

        def show(finding: Finding) -> None:
            line = Text(f"{finding.outcome:<8}", style=colours[finding.outcome])
            console.print(line.append(f"{finding.what:<16}{finding.says}", style="default"), soft_wrap=True)

        clean = is_clean(checked(detector, images, told=show))
    if not clean:
        raise typer.Exit(NOT_CLEAN)
