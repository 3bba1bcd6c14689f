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
    """The data sets whose names match a glob: of each what it is, its size, its licence, and what it comes as. Raises
    MaibenchError when there is none."""
    from rich.table import Table
    from rich.text import Text

    matching = fnmatch.filter(card_names(), pattern)
    if not matching:
        raise MaibenchError(f"no data set matches '{pattern}': there are {', '.join(card_names())}")
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for card in map(find_card, matching):
        said = Text.assemble((card.title, "bold"), f": {card.size}\n{card.licence}; {card.read_as}")
        table.add_row(Text(card.name), said)
    return table


def show_card(card: DatasetCard) -> RenderableType:
    """Every fact of a card, and the commands that read the data set."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
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
    # by itself, as it is to be copied: no line is broken
    return Group(table, Text(f"\n{card.cite}", no_wrap=True, overflow="ignore"))


def _generators(card: DatasetCard, folders: Mapping[str, list[str]]) -> Iterator[str]:
    for name, called in folders.items():
        others = [folder for folder in called if folder != name]
        month = card.released.get(name) or release_date(name)
        yield name + (f" ({', '.join(others)})" if others else "") + (f" {month}" if month else "")


def how_to_read(card: DatasetCard) -> list[str]:
    """The commands that read a data set, or make it readable."""
    folder = [f"maibench data import {card.name} --from FOLDER, then --data FOLDER"] if card.layout else []
    places = [hub.source for hub in card.hub]
    one = places[0] if len(places) == 1 else f"one of these, as in {places[0]}" if places else ""
    hub = [f"--data {one} (downloads it; 'maibench data pack' keeps it)"] if one else []
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
