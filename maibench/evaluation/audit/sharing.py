"""Which images share a file, a picture or a source, and on which sides of a split: counts, without listing pairs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from maibench.datasets.manifest import SPLITS
from maibench.datasets.near import look_alikes

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Across:
    """What two splits share: how many images of `first` have their like in `second`, and the other way round."""

    first: str
    second: str
    n_first: int
    n_second: int


@dataclass(frozen=True, eq=False)
class Alike:
    """Which images look alike. shown, pairs, distances: of `near.look_alikes`."""

    shown: NDArray[np.int64]
    pairs: NDArray[np.int64]
    distances: NDArray[np.uint8]

    @classmethod
    def of(cls, facts: pd.DataFrame) -> Alike:
        """facts: `dhash`, `dhash_down` and `flat`. Raises MaibenchError for more pairs than can be listed."""
        return cls(*look_alikes(facts["dhash"], facts["dhash_down"], facts["flat"]))

    def spread(self, values: NDArray, combine: np.ufunc) -> NDArray:
        """Values of pictures (n, ...) combined with those of all pictures that are near."""
        spread = values.copy()
        for here, there in (self.pairs.T, self.pairs.T[::-1]):
            combine.at(spread, here, values[there])
        return spread


class Sharing:
    """Counts on the facts of images: path, label, source, split, image_id."""

    def __init__(self, facts: pd.DataFrame) -> None:
        self.facts = facts
        self.splits = [name for name in SPLITS if (facts["split"] == name).any()]
        self._split = pd.Categorical(facts["split"], self.splits).codes.astype(np.int64)
        self._image, self._source = (pd.factorize(facts[name])[0] for name in ("image_id", "source"))

    def files_across(self) -> list[Across]:
        """Byte-equal images in two splits."""
        return self._across(self._sides(self._image)[self._image])

    def sources_across(self) -> list[Across]:
        """Images of one source in two splits."""
        return self._across(self._sides(self._source)[self._source])

    def n_sources_across(self) -> int:
        """Sources that lie in more than one split."""
        return int((self._sides(self._source).sum(axis=1) > 1).sum())

    def pictures_across(self, alike: Alike) -> list[Across]:
        """Near-duplicates in two splits; an image that has an exact copy there is not counted again."""
        near = alike.spread(self._sides(alike.shown), np.logical_or)[alike.shown]
        return self._across(near & ~self._sides(self._image)[self._image])

    def files_within(self) -> int:
        """Images that have a byte-equal one in their own split."""
        return int(self.facts.duplicated(["image_id", "split"], keep=False).sum())

    def two_labels(self) -> Mask:
        """Images (n,) whose bytes are listed with the other label too."""
        labels = self.facts["label"].groupby(self._image)
        return (labels.transform("min") != labels.transform("max")).to_numpy()

    def pictures_within(self, alike: Alike) -> tuple[Mask, Mask]:
        """Images (n,) with a near-duplicate in their own split that is no exact copy: of another source; of any."""
        shape = len(self.facts), len(self.splits)
        files = np.zeros(shape, dtype=np.int64)
        distinct = ~self.facts.assign(shown=alike.shown).duplicated(["shown", "split", "image_id"]).to_numpy()
        np.add.at(files, (alike.shown[distinct], self._split[distinct]), 1)
        lowest, highest = np.full(shape, len(self.facts)), np.full(shape, -1)
        np.minimum.at(lowest, (alike.shown, self._split), self._source)
        np.maximum.at(highest, (alike.shown, self._split), self._source)
        here = alike.shown, self._split
        several = alike.spread(files, np.add)[here] > 1
        others = (alike.spread(lowest, np.minimum)[here] != self._source) | (
            alike.spread(highest, np.maximum)[here] != self._source
        )
        return several & others, several

    def _sides(self, keys: NDArray[np.int64]) -> Mask:
        """(n, splits): whether a key is in a split."""
        sides = np.zeros((len(self.facts), len(self.splits)), dtype=bool)
        sides[keys, self._split] = True
        return sides

    def _across(self, near: Mask) -> list[Across]:
        """near: (n, splits), whether an image has its like in a split."""
        return list(self._pairs(near))

    def _pairs(self, near: Mask) -> Iterator[Across]:
        for first, second in combinations(range(len(self.splits)), 2):
            n_first = int(near[self._split == first, second].sum())
            n_second = int(near[self._split == second, first].sum())
            if n_first or n_second:
                yield Across(self.splits[first], self.splits[second], n_first, n_second)
