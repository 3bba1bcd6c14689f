"""`maibench data ...`: commands and flags; no logic of its own. Everything heavy is imported where it is used."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from maibench.exit_codes import exit_codes

data_app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None)

SOURCE = (
    "demo (built in, offline), wild (once imported), a folder, a .csv or .parquet manifest, Parquet files with images in "
    "them, hf:OWNER/NAME[:CONFIG][@REV], wds:PATTERN."
)
COLUMNS = (
    "Which of the data's columns mean what, where they have other names: image=img,label=is_ai,generator='sdxl' (in "
    "quotes: for all rows)."
)
GOES_ON = "interrupted; what was written is kept, the same command goes on from there"


@data_app.command()
def reconstruct(
    vae: Annotated[
        str,
        typer.Option(
            help="[NAME=]SPEC, comma-separated: nano-sd1.5, nano-sdxl, nano-flux.1, nano-flux.2 (bundled); sd1.5, "
            "sdxl, flux.1, flux.2 (naming one downloads it); a folder in diffusers' layout; TAEF2's .safetensors file."
        ),
    ],
    data: Annotated[str, typer.Option(help="A SOURCE with real photographs in its train or validation split.")],
    out: Annotated[Path, typer.Option(help="The folder that receives images/ and manifest.csv.")],
    each: Annotated[int, typer.Option(min=1, help="Reconstructions of a photograph; the VAEs take turns.")] = 1,
    most: Annotated[int | None, typer.Option(min=1, help="At most N photographs, evenly spread over the list.")] = None,
    shrink: Annotated[bool, typer.Option("--shrink", help="Halve photographs first: no trace of JPEG stays.")] = False,
    size: Annotated[str, typer.Option(help="Pixels a side at most, from the middle; full: whole photographs.")] = "256",
    split: Annotated[str, typer.Option(help="train, validation, or both; test is never read.")] = "train,validation",
    batch_size: Annotated[int, typer.Option(min=1, help="Crops of 256 x 256 at once; fewer larger ones.")] = 8,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    store: Annotated[str, typer.Option(help="Both sides as png (uncompressed) or jpeg:QUALITY.")] = "png",
    fresh: Annotated[bool, typer.Option("--fresh/--resume", help="Make all afresh, or only what is missing.")] = False,
) -> None:
    """Make pairs of real photographs and their reconstructions through autoencoders, to train on; the same command
    goes on where it stopped."""
    with exit_codes(GOES_ON):
        from maibench.datasets.reconstruct import Request, make_pairs
        from maibench.terminal import TerminalProgress

        request = Request(vae, data, out, each, most, shrink, size, split, batch_size, device, store)
        made = make_pairs(request, fresh, TerminalProgress("reconstructing", "photographs"))
        _say(f"{made.described()}; they are in {out}" if made.computed else f"nothing was missing: {made.described()}")
        _say(f"train on them: maibench finetune configs/finetune/bailu.yaml --data {out} --out runs/bailu")


def _say(text: str) -> None:
    print(text, file=sys.stderr)
