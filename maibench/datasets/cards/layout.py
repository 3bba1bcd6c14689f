"""Read what a path says of an image, as a data set's card lays it out."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from maibench.datasets.cards.card import PLACEHOLDER, DatasetCard, Place, card_names, find_card

_TOKEN = re.compile(r"(\{\w+\}|\*)")


@dataclass(frozen=True)
class Said:
    """What a path says of an image. source: empty where it says none."""

    label: int
    generator: str
    source: str
    split: str


@dataclass(frozen=True)
class Fit:
    """How a card's layout does on some paths. share: of the paths that it explains; familiar: of those whose folders
    it knows by name, which ranks layouts that explain none."""

    card: DatasetCard
    share: float
    familiar: float


class Layout:
    """The places of a card, ready to be looked up. Letters' case does not matter, nor how generators are spaced."""

    def __init__(self, card: DatasetCard) -> None:
        self.card = card
        self._names = {_key(name): name for name in card.generators}
        self._names.update({_key(folder): name for folder, name in card.renames.items()})
        self._labels = {folder.casefold(): label for folder, label in card.labels.items()}
        self._splits = {folder.casefold(): split for folder, split in card.splits.items()}
        self._places = [(place, *self._compiled(place.path)) for place in card.layout]
        used = {word for place in card.layout for word in place.words}
        self._words = {part.casefold() for place in card.layout for part in place.path.split("/")[:-1]}
        self._words.update(self._labels if "label" in used else (), self._splits if "split" in used else ())
        self._known: dict[str, list[tuple[Place, re.Pattern[str], dict[str, str]]]] = {}

    def describe(self, path: str) -> Said | None:
        """What the first place that fits says of `path` (with "/" between folders); None where none fits."""
        folder, name = posixpath.split(path)
        stem = posixpath.splitext(name)[0]
        for place, pattern, words in self._in_folder(folder):
            if found := pattern.fullmatch(stem):
                return self._said(place, {**words, **self._renamed(found.groupdict()), "stem": stem})
        return None

    @property
    def expected(self) -> list[str]:
        """The places in words, with the folders that say label and split."""
        return [
            place.path.replace("{label}", "|".join(self.card.labels)).replace("{split}", "|".join(self.card.splits))
            for place in self.card.layout
        ]

    @property
    def generators(self) -> dict[str, list[str]]:
        """{generator: the folders that are called after it}; empty where any folder may be one."""
        named: dict[str, list[str]] = {name: [name] for name in self.card.generators}
        for folder, name in self.card.renames.items():
            named.setdefault(name, []).append(folder)
        return named

    def knows(self, folder: str) -> bool:
        """Whether a name occurs among the card's folders, labels, splits or generators."""
        return folder.casefold() in self._words or _key(folder) in self._names

    def _in_folder(self, folder: str) -> list[tuple[Place, re.Pattern[str], dict[str, str]]]:
        """Those places that a folder's name fits: a data set has few folders and many files."""
        if folder not in self._known:
            text = f"{folder}/" if folder else ""
            matches = [(place, name, above.fullmatch(text)) for place, above, name in self._places]
            self._known[folder] = [
                (place, name, self._renamed(match.groupdict())) for place, name, match in matches if match
            ]
        return self._known[folder]

    def _renamed(self, words: dict[str, str]) -> dict[str, str]:
        if "generator" in words:
            words["generator"] = self._names.get(_key(words["generator"]), words["generator"])
        return words

    def _said(self, place: Place, words: dict[str, str]) -> Said:
        label = place.label or self._labels[words["label"].casefold()]
        split = place.split or (self._splits[words["split"].casefold()] if "split" in words else "test")
        generator = "real" if label == "real" else _filled(place.generator or "{generator}", words)
        return Said(int(label == "synthetic"), generator, _filled(place.source, words), split)

    def _compiled(self, path: str) -> tuple[re.Pattern[str], re.Pattern[str]]:
        *folders, name = path.split("/")
        above = "".join("(?:[^/]+/)*" if part == "**" else f"{self._segment(part)}/" for part in folders)
        return re.compile(above, re.IGNORECASE), re.compile(self._segment(name), re.IGNORECASE)

    def _segment(self, text: str) -> str:
        made = ""
        for token in _TOKEN.split(text):
            word = PLACEHOLDER.fullmatch(token)
            made += f"(?P<{word[1]}>{self._word(word[1])})" if word else "[^/]*" if token == "*" else re.escape(token)
        return made

    def _word(self, word: str) -> str:
        if word in ("label", "split"):
            return _any_of(map(re.escape, self._labels if word == "label" else self._splits))
        if word == "generator" and self._names:
            return _any_of("[^/a-z0-9]*".join(name) for name in self._names)
        return "[^/]+"


def nearest_layouts(paths: Sequence[str], at_most: int | None = 3) -> list[Fit]:
    """The layouts that explain most of `paths`, best first: of the cards that come with the package."""
    cards = [card for card in map(find_card, card_names()) if card.layout]
    folders = [part for path in paths for part in path.split("/")[:-1]]
    fits = []
    for card in cards:
        layout = Layout(card)
        share = sum(layout.describe(path) is not None for path in paths) / max(len(paths), 1)
        fits.append(Fit(card, share, sum(map(layout.knows, folders)) / max(len(folders), 1)))
    return sorted(fits, key=lambda fit: (-fit.share, -fit.familiar, fit.card.name))[:at_most]


def _filled(template: str, words: dict[str, str]) -> str:
    return PLACEHOLDER.sub(lambda word: words[word[1]], template)


def _key(name: str) -> str:
    return "".join(character for character in name.casefold() if character.isalnum())


def _any_of(choices: Iterable[str]) -> str:
    return "|".join(sorted(choices, key=len, reverse=True))
