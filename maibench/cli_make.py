"""The commands of `maibench data` that make data sets: flags; no logic of their own. Everything heavy is imported where
it is used."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from maibench.exit_codes import NOT_CLEAN, exit_codes

make_app = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode=None)

SOURCE = (
    "demo (built in, offline), wild (once imported), a folder, a .csv or .parquet manifest, Parquet files with images, "
    "hf:OWNER/NAME[:CONFIG][@REV], wds:PATTERN."
)
COLUMNS = (
    "Which of the data's columns mean what, where they have other names: image=img,label=is_ai,generator='sdxl' (in "
    "quotes: for all rows)."
)
GOES_ON = "interrupted; what was written is kept, the same command goes on from there"


@make_app.command()
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
    columns: Annotated[str, typer.Option(help=COLUMNS)] = "",
    fresh: Annotated[bool, typer.Option("--fresh/--resume", help="Make all afresh, or only what is missing.")] = False,
) -> None:
    """Make pairs of real photographs and their reconstructions through autoencoders, to train on; the same command
    goes on where it stopped."""
    with exit_codes(GOES_ON):
        from maibench.datasets.reconstruct import Request, make_pairs
        from maibench.terminal import TerminalProgress

        request = Request(vae, data, out, each, most, shrink, size, split, batch_size, device, store, columns)
        made = make_pairs(request, fresh, TerminalProgress("reconstructing", "photographs"))
        _say(f"{made.described()}; they are in {out}" if made.computed else f"nothing was missing: {made.described()}")
        _say(f"train on them: maibench finetune configs/finetune/bailu.yaml --data {out} --out runs/bailu")


@make_app.command()
def pairs(
    data: Annotated[str, typer.Option(help=f"A SOURCE with real photographs: {SOURCE}")],
    generators: Annotated[
        str,
        typer.Option(
            help="[NAME=]SPEC, comma-separated: sd3.5-large, sdxl, sd1.5, flux.1-schnell (naming one downloads it); a "
            "folder in diffusers' layout; OWNER/NAME[@REV] of the Hub. A NAME of these brings its settings."
        ),
    ],
    captioner: Annotated[
        str,
        typer.Option(
            help="moondream (the full model, downloaded); moondream:FOLDER; moondream-nano (bundled, to try things "
            "out); a folder or OWNER/NAME[@REV] of an image-to-text model of transformers."
        ),
    ],
    clip: Annotated[
        str, typer.Option(help="A folder or OWNER/NAME[@REV] of a CLIP or SigLIP: openai/clip-vit-large-patch14.")
    ],
    out: Annotated[Path, typer.Option(help="The folder that receives Parquet files with the images in them.")],
    most: Annotated[int, typer.Option(min=1, help="Photographs at most.")] = 1000,
    candidates: Annotated[int, typer.Option(min=1, help="Images that are tried for a twin; the first to pass.")] = 2,
    size: Annotated[int, typer.Option(help="Pixels a side of the stored images, both sides alike.")] = 512,
    smallest: Annotated[
        int, typer.Option(help="Pixels of the shorter side that a photograph needs; never less than --size.")
    ] = 0,
    licences: Annotated[
        str, typer.Option(help="Only photographs with one of these, as in CC0-1.0,CC-BY-4.0. [any]")
    ] = "",
    shares: Annotated[
        str,
        typer.Option(help="Splits: own; train,validation,test as in 0.8,0.1,0.1; auto: own where there are several."),
    ] = "auto",
    store: Annotated[str, typer.Option(help="Both sides as png (uncompressed) or jpeg:QUALITY.")] = "png",
    alignment: Annotated[float, typer.Option(help="The least cosine of image and caption.")] = 0.2,
    photo: Annotated[float, typer.Option(help="The least probability of a photograph, not a drawing.")] = 0.55,
    unsafe: Annotated[float, typer.Option(help="The greatest probability of unsafe content.")] = 0.35,
    seed: Annotated[int, typer.Option(help="Of the order, the splits and the candidates.")] = 0,
    presets: Annotated[Path | None, typer.Option(help="A YAML file with more generators, or other settings.")] = None,
    columns: Annotated[str, typer.Option(help=COLUMNS)] = "",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say how much work and download it means.")] = False,
    fresh: Annotated[bool, typer.Option("--fresh/--resume", help="Make all afresh, or only what is missing.")] = False,
) -> None:
    """Make twins of real photographs: caption each, generate from the caption, keep what passes the same gates; the
    same command goes on where it stopped."""
    with exit_codes(GOES_ON):
        from maibench.datasets.twins.gates import Limits
        from maibench.datasets.twins.request import Request

        request = Request(
            data, generators, captioner, clip, out, most, candidates, size, smallest, licences, shares, store,
            Limits(alignment, photo, unsafe), seed, presets, columns, device,
        )  # fmt: skip
        if dry_run:
            from maibench.datasets.twins.plan import effort_of

            print("\n".join(effort_of(request).described()))
            return
        from maibench.datasets.twins.build import make_twins
        from maibench.terminal import TerminalProgress

        made = make_twins(request, fresh, TerminalProgress("making twins", "photographs"))
        _say(f"{made.described()}; they are in {out}" if made.computed else f"nothing was missing: {made.described()}")
        _say(f"{out / 'quarantine.json'} says why photographs were left out; use it with --data {out}")


@make_app.command()
def match(
    source: Annotated[str, typer.Argument(help=SOURCE)],
    out: Annotated[Path, typer.Option(help="The folder that receives images/, manifest.csv and audit/.")],
    size: Annotated[int, typer.Option(help="Pixels a side, from the middle; smaller images are left out.")] = 256,
    store: Annotated[str, typer.Option(help="jpeg, or png (uncompressed: not even content shows in bytes).")] = "jpeg",
    quality: Annotated[str, typer.Option(help="Of JPEG: lowest-highest, drawn alike for both classes.")] = "75-95",
    subsampling: Annotated[str, typer.Option(help="Of JPEG: some of 4:4:4, 4:2:2, 4:2:0.")] = "4:2:0,4:4:4",
    balance: Annotated[
        bool, typer.Option("--balance", help="As many real as synthetic images in every split.", show_default=False)
    ] = False,
    columns: Annotated[str, typer.Option(help=COLUMNS)] = "",
    workers: Annotated[int | None, typer.Option(min=1, help="Threads. [one a core]")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of all draws.")] = 0,
    fresh: Annotated[bool, typer.Option("--fresh/--resume", help="Make all afresh, or only what is missing.")] = False,
) -> None:
    """Derive a data set in which labels cannot be told from format, size and quality; with the audit before and after.
    The same command goes on where it stopped."""
    with exit_codes(GOES_ON):
        from maibench.config import split_list
        from maibench.cores import cores
        from maibench.datasets.match import Recipe, parse_quality
        from maibench.datasets.match import match as make
        from maibench.datasets.readers import open_data
        from maibench.evaluation.audit.before_after import audit_both
        from maibench.evaluation.tables.formats import markdown_table
        from maibench.terminal import TerminalProgress

        recipe = Recipe(size, store, parse_quality(quality), tuple(split_list(subsampling)), balance, seed)
        manifest = open_data(source, columns)
        progress = TerminalProgress("matching", "images")
        threads = workers or cores()
        made = make(manifest, out, recipe, threads, fresh, progress)
        _say(f"{made.described()}; they are in {out}" if made.computed else f"nothing was missing: {made.described()}")
        auditing = TerminalProgress("auditing", "images")
        print(markdown_table(audit_both(manifest, open_data(str(out)), out, seed, threads, sys.argv, auditing)))


@make_app.command()
def split(
    source: Annotated[str, typer.Argument(help=SOURCE)],
    out: Annotated[Path, typer.Option(help="The new manifest, .csv or .parquet, in the data's folder or above it.")],
    shares: Annotated[str, typer.Option(help="Of train, validation and test.")] = "0.7,0.15,0.15",
    hold_out: Annotated[str, typer.Option(help="Generators that come in the test split alone, with a comma.")] = "",
    near: Annotated[
        bool, typer.Option("--near", help="Read all images; keep near-duplicates on one side.", show_default=False)
    ] = False,
    keep: Annotated[
        Path | None, typer.Option(help="A manifest whose sources keep their splits: for data that grew in the middle.")
    ] = None,
    columns: Annotated[str, typer.Option(help=COLUMNS)] = "",
    seed: Annotated[int, typer.Option(min=0, help="Other seeds, other splits.")] = 0,
    fresh: Annotated[bool, typer.Option("--fresh", help="Replace a manifest that is there.")] = False,
) -> None:
    """Split a data set by source, every generator in the same shares; a source keeps its split when images are
    added at the end of the list (--keep: anywhere)."""
    with exit_codes(GOES_ON):
        from maibench.config import split_list
        from maibench.datasets.readers import open_data
        from maibench.datasets.split import parse_shares, write_split
        from maibench.terminal import TerminalProgress

        manifest, progress = open_data(source, columns), TerminalProgress("comparing", "images")
        made = write_split(manifest, out, parse_shares(shares), seed, split_list(hold_out), near, keep, fresh, progress)
        print(made.counts.to_string())
        for line in made.described():
            _say(line)
        _say(f"use it with --data {out}")


@make_app.command()
def pack(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help=SOURCE)],
    out: Annotated[Path, typer.Option(help="The folder that receives the shards and README.md, the data card.")],
    format: Annotated[str, typer.Option(help="parquet (images in it) or wds (WebDataset .tar).")] = "parquet",
    shard_mb: Annotated[float, typer.Option(help="A shard is full at so many millions of bytes of images.")] = 500,
    columns: Annotated[str, typer.Option(help=COLUMNS)] = "",
    licence: Annotated[str, typer.Option(help="Of the whole, for the data card; else as the rows say.")] = "",
    fresh: Annotated[bool, typer.Option("--fresh/--resume", help="Write all afresh, or only what is missing.")] = False,
) -> None:
    """Put a data set into a few large files, each image's bytes as they are and no source in two of them; exit code 1
    when images could not be read."""
    with exit_codes(GOES_ON):
        from maibench.datasets.packing.pack import Request
        from maibench.datasets.packing.pack import pack as pack_data
        from maibench.terminal import TerminalProgress

        request = Request(source, out, format, shard_mb, columns, licence)
        packed = pack_data(request, fresh, TerminalProgress("packing", "images"))
        told = packed.described()
        _say(f"{told}; they are in {out}" if packed.computed else f"nothing was missing: {told}")
        for path, reason in list(packed.left_out.items())[:10]:
            _say(f"left out: {path}: {reason}")
        if len(packed.left_out) > 10:
            _say(f"... and {len(packed.left_out) - 10:,} more, in {out / 'pack.json'}")
        _say(f"read it with --data {out}; publish it: maibench data publish {out} --to OWNER/NAME")
        if packed.left_out:
            raise typer.Exit(NOT_CLEAN)


@make_app.command()
def publish(
    folder: Annotated[Path, typer.Argument(help="A folder with a data card, such as 'maibench data pack' writes.")],
    to: Annotated[str, typer.Option(help="OWNER/NAME on the Hub; needs 'hf auth login'.")],
    private: Annotated[bool, typer.Option("--private", help="Only you and your organisation can see it.")] = False,
    anyway: Annotated[bool, typer.Option("--anyway", help="Also where the audit in the folder is red.")] = False,
) -> None:
    """Send a data set to the Hub of Hugging Face; it needs a data card with a licence, and no red audit."""
    with exit_codes("interrupted; the same command sends what is missing"):
        from maibench.datasets.packing.publish import publish as publish_data

        _say(f"published: {publish_data(folder, to, private, anyway)}")


def _say(text: str) -> None:
    print(text, file=sys.stderr)
