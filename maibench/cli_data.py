"""`maibench data ...`: commands and flags; no logic of its own. Everything heavy is imported where it is used."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from maibench.exit_codes import NOT_CLEAN, exit_codes

data_app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None)

SOURCE = (
    "demo (built in, offline), wild (once imported), a folder, a .csv or .parquet manifest, Parquet files with images, "
    "hf:OWNER/NAME[:CONFIG][@REV], wds:PATTERN."
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


@data_app.command()
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
    licences: Annotated[str, typer.Option(help="Only photographs with one of these, as in CC0-1.0,CC-BY-4.0.")] = "",
    shares: Annotated[
        str, typer.Option(help="Splits: own; train,validation,test as in 0.8,0.1,0.1; auto: own where there are any.")
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


@data_app.command()
def audit(
    source: Annotated[str | None, typer.Argument(help=SOURCE)] = None,
    data: Annotated[str | None, typer.Option(help="The same as SOURCE.")] = None,
    out: Annotated[Path | None, typer.Option(help="Receives audit.html and the rest. [results/audit-<data>]")] = None,
    split: Annotated[str, typer.Option(help="all, train, validation or test.")] = "all",
    parts: Annotated[
        str, typer.Option(help="files (format, size, compression), leaks (between splits), history, balance.")
    ] = "files,leaks,history,balance",
    limit: Annotated[int | None, typer.Option(min=1, help="At most N images, drawn at random.")] = None,
    embed: Annotated[
        str, typer.Option(help="Look-alikes by features too: timm:ARCH, siglip:NAME or a folder with weights.")
    ] = "",
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit code 1 where labels leak, or splits share images.")
    ] = False,
    limit_auc: Annotated[
        float, typer.Option(min=0.5, max=1, help="Of --strict: what metadata may tell, by the interval's lower end.")
    ] = 0.65,
    columns: Annotated[str, typer.Option(help=COLUMNS)] = "",
    workers: Annotated[int | None, typer.Option(min=1, help="Threads that read images. [one a core]")] = None,
    device: Annotated[str, typer.Option(help="Of --embed: auto, cpu or cuda.")] = "auto",
    seed: Annotated[int, typer.Option(min=0, help="Of the draw and the folds.")] = 0,
) -> None:
    """What gives the labels of a data set away, what its splits share: lights, tables, pictures, what to do."""
    with exit_codes(GOES_ON):
        from rich.console import Console

        from maibench.evaluation.audit.audit import Request, parse_parts
        from maibench.evaluation.audit.command import audit_source
        from maibench.evaluation.audit.shown import terminal
        from maibench.terminal import TerminalProgress

        request = Request(parse_parts(parts), split, limit, seed, limit_auc, embed, device, workers)
        progress = TerminalProgress("auditing", "images")
        command = ["maibench", *sys.argv[1:]]
        found, folder = audit_source(source, data, request, out, columns, command, progress)
        Console().print(terminal(found))
        _say(f"the audit is in {folder} (open audit.html)")
    if strict and not found.strict.passed:
        raise typer.Exit(NOT_CLEAN)


@data_app.command("list")
def list_(pattern: Annotated[str, typer.Argument(help="Only names that match, as in 'open*'.")] = "*") -> None:
    """List the public data sets that are known here: what they are, how many images, licence, what they come as."""
    with exit_codes():
        from rich.console import Console

        from maibench.datasets.cards.listing import list_cards

        Console().print(list_cards(pattern))


@data_app.command()
def show(
    name: Annotated[str | None, typer.Argument(help="A name of `maibench data list`.")] = None,
    card: Annotated[Path | None, typer.Option(help="A card of your own, FILE.yaml.")] = None,
) -> None:
    """Print a data set's card: where it is, licence, folders, known problems, how to read it, how to cite it."""
    with exit_codes():
        from rich.console import Console

        from maibench.datasets.cards.card import find_card
        from maibench.datasets.cards.listing import show_card

        Console().print(show_card(find_card(name, card)))


@data_app.command("import")
def import_(
    name: Annotated[str | None, typer.Argument(help="A name of `maibench data list`.")] = None,
    from_: Annotated[Path | None, typer.Option("--from", help="The folder that it was unpacked in.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="The manifest [FOLDER/manifest.parquet]; for wild or a set of the Hub a folder.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most N images of a generator in a split.")] = None,
    card: Annotated[Path | None, typer.Option(help="A card of your own, FILE.yaml.")] = None,
    copies: Annotated[
        list[Path] | None, typer.Option(help="wild: a folder with git copies of its repositories; may be repeated.")
    ] = None,
    fetch: Annotated[str | None, typer.Option(help="wild: download what is missing, by git or raw.")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Replace a manifest that is there.")] = False,
) -> None:
    """List a data set that lies here in its own folders, as its card says; collect the data set wild; pack one of the
    Hub."""
    with exit_codes(GOES_ON):
        from rich.console import Console

        from maibench.datasets.cards.card import find_card
        from maibench.datasets.cards.importing import check_request, hub_request, import_folder, is_collected
        from maibench.datasets.cards.listing import show_counts
        from maibench.terminal import TerminalProgress

        found = find_card(name, card)
        check_request(found, from_, bool(copies or fetch))
        clean = True
        if from_ is not None:
            done = import_folder(found, from_, out, limit, fresh)
            Console().print(show_counts(done))
            _say(f"{len(done.manifest.rows):,} images are listed in {done.file}; read them with --data {done.file}")
        elif is_collected(found):
            from maibench.datasets.wild.collect import import_wild

            collected = import_wild(copies or [], fetch, out, TerminalProgress("collecting", "images"))
            _say(collected.described())
            clean = collected.complete
        else:
            from maibench.datasets.packing.pack import pack

            packed = pack(hub_request(found, out), fresh, TerminalProgress("packing", "images"))
            _say(f"{packed.described()}; read them with --data {out}")
            clean = not packed.left_out
    if not clean:
        raise typer.Exit(NOT_CLEAN)


@data_app.command()
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
        import os

        from maibench.config import split_list
        from maibench.datasets.match import Recipe, parse_quality
        from maibench.datasets.match import match as make
        from maibench.datasets.readers import open_data
        from maibench.evaluation.audit.before_after import audit_both
        from maibench.evaluation.tables.formats import markdown_table
        from maibench.terminal import TerminalProgress

        recipe = Recipe(size, store, parse_quality(quality), tuple(split_list(subsampling)), balance, seed)
        manifest = open_data(source, columns)
        progress = TerminalProgress("matching", "images")
        threads = workers or os.cpu_count() or 1
        made = make(manifest, out, recipe, threads, fresh, shlex.join(["maibench", *sys.argv[1:]]), progress)
        _say(f"{made.described()}; they are in {out}" if made.computed else f"nothing was missing: {made.described()}")
        auditing = TerminalProgress("auditing", "images")
        print(markdown_table(audit_both(manifest, open_data(str(out)), out, seed, threads, sys.argv, auditing)))


@data_app.command()
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
) -> None:
    """Split a data set by source, every generator in the same shares; a source keeps its split when images are
    added at the end of the list (--keep: anywhere)."""
    with exit_codes(GOES_ON):
        from maibench.config import split_list
        from maibench.datasets.readers import open_data
        from maibench.datasets.split import parse_shares, write_split
        from maibench.terminal import TerminalProgress

        manifest, progress = open_data(source, columns), TerminalProgress("comparing", "images")
        made = write_split(manifest, out, parse_shares(shares), seed, split_list(hold_out), near, keep, progress)
        print(made.counts.to_string())
        for line in made.described():
            _say(line)
        _say(f"use it with --data {out}")


@data_app.command()
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


@data_app.command()
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
