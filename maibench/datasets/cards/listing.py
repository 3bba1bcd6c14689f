"""What `maibench data list`, `data show` and `data import` print."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from maibench.datasets.cards.card import DatasetCard, card_names, find_card
from maibench.datasets.cards.layout import Layout
from maibench.datasets.generators import release_date
from maibench.errors import MaibenchError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from maibench.datasets.cards.importing import Imported


def list_cards(pattern: str) -> RenderableType:
    """A table of the data sets whose names match a glob. Raises MaibenchError when none does."""
    from rich.markup import escape
    from rich.table import Table

    matching = fnmatch.filter(card_names(), pattern)
    if not matching:
        raise MaibenchError(f"no data set matches '{pattern}': there are {', '.join(card_names())}")
    table = Table("name", "what it is", "images", "licence", "comes as", box=None, pad_edge=False)
    for name in matching:
        card = find_card(name)
        table.add_row(*map(escape, (name, card.title, card.size, card.licence, card.read_as)))
    return table


def show_card(card: DatasetCard) -> RenderableType:
    """Every fact of a card, and the commands that read the data set."""
    from rich.table import Table
    from rich.text import Text

    table = Table(show_header=False, box=None, pad_edge=False)
    for fact in ("name", "title", "homepage", "licence", "size", "access"):
        if value := getattr(card, fact):
            table.add_row(fact, Text(value))
    layout = Layout(card)
    for place in layout.expected:
        table.add_row("folders", Text(place))
    if layout.generators:
        table.add_row("generators", Text("; ".join(_generators(card, layout.generators))))
    for hub in card.hub:
        table.add_row("hub", Text(hub.source + (f" ({hub.columns})" if hub.columns else "")))
    for problem in card.problems:
        table.add_row("problem", Text(problem.says + (f" ({problem.link})" if problem.link else "")))
    for line in how_to_read(card):
        table.add_row("read it", Text(line))
    table.add_row("cite", Text(card.cite))
    return table


def _generators(card: DatasetCard, folders: Mapping[str, list[str]]) -> Iterator[str]:
    for name, called in folders.items():
        others = [folder for folder in called if folder != name]
        month = card.released.get(name) or release_date(name)
        yield name + (f" ({', '.join(others)})" if others else "") + (f" {month}" if month else "")


def how_to_read(card: DatasetCard) -> list[str]:
    """The commands that read a data set, or make it readable."""
    folder = [f"maibench data import {card.name} --from FOLDER, then --data FOLDER"] if card.layout else []
    hub = [f"--data {hub.source} (downloads it; 'maibench data pack' keeps it)" for hub in card.hub]
    return [*folder, *hub] or [card.access]


def show_counts(done: Imported) -> RenderableType:
    """How many images of each generator a manifest lists, by split."""
    from rich.table import Table
    from rich.text import Text

    table = Table("generator", box=None, pad_edge=False)
    for split in done.counts:
        table.add_column(str(split), justify="right")
    for generator, counts in done.counts.iterrows():
        table.add_row(Text(str(generator)), *(f"{count:,}" for count in counts))
    return table
