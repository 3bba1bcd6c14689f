"""`maibench attribute`: which generator made each image; flags, no logic of its own."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from maibench.cli_make import COLUMNS, SOURCE
from maibench.exit_codes import exit_codes


def attribute(
    model: Annotated[
        str,
        typer.Argument(help="attribution-demo, attribution-wild, or a folder of configs/finetune/attribution.yaml"),
    ],
    data: Annotated[str, typer.Option(help=SOURCE)] = "demo",
    out: Annotated[Path | None, typer.Option(help="The folder of tables and pictures. [results/MODEL]")] = None,
    split: Annotated[str, typer.Option(help="train, validation or test.")] = "test",
    columns: Annotated[str, typer.Option(help=COLUMNS)] = "",
    perturb: Annotated[str, typer.Option(help="What is done to the images first, as jpeg:75.")] = "none",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    workers: Annotated[int | None, typer.Option(min=1, help="Cores that read and compute. [all]")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most N images, drawn at random.")] = None,
    resamples: Annotated[int, typer.Option(min=2, help="Of the bootstrap.")] = 1000,
    seed: Annotated[int, typer.Option(help="Of the draw and the bootstrap.")] = 0,
) -> None:
    """Say which generator made each image, or that it is unknown: a table, a confusion matrix, a row an image."""
    with exit_codes():
        from maibench.evaluation.attribution import attribute as run
        from maibench.terminal import TerminalProgress

        out = out or Path("results") / Path(model).name
        run(
            model, data, out, split=split, columns=columns, perturb=perturb, device=device, workers=workers,
            limit=limit, resamples=resamples, seed=seed, progress=TerminalProgress("attributing", "images"),
        )  # fmt: skip
        print((out / "table.md").read_text(encoding="utf-8"), end="")
        print(f"attribution.csv, confusion.csv and the pictures are in {out}", file=sys.stderr)
