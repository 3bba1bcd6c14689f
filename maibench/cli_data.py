"""`maibench data ...`: the commands that read data sets and check them, beside those of cli_make.py; flags, no logic of
their own. Everything heavy is imported where it is used."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from maibench.cli_make import COLUMNS, GOES_ON, SOURCE, make_app
from maibench.exit_codes import NOT_CLEAN, exit_codes

data_app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None)


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

        Console().print(show_card(find_card(name, card)), crop=False)


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


data_app.add_typer(make_app)  # its commands stand beside these


def _say(text: str) -> None:
    print(text, file=sys.stderr)
