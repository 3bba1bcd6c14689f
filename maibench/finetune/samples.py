"""Training images, drawn so that neither class nor any generator nor any collection of photographs dominates."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from maibench.datasets.image import decode
from maibench.datasets.images import Images
from maibench.datasets.manifest import Manifest, collections_of
from maibench.errors import ImageError, MaibenchError

KEPT = 512
"""Larger images are kept as their middle KEPT x KEPT pixels: memory is not for what a crop never sees."""
MEMORY = 8 * 2**30
"""Bytes of decoded pixels that are kept; what does not fit is read anew whenever it is drawn."""

NEEDED = "the training split needs real images and at least one generator's"

Pixels = NDArray[np.uint8]
Pictures = dict[tuple[Images, str], Pixels]
"""Decoded images by where they lie and their paths there: two data sets may call theirs alike."""


@dataclass(frozen=True)
class Sample:
    """One drawn image: pixels (height x width x 3), label, and the pair that it belongs to (-1: none)."""

    pixels: Pixels
    label: int
    pair: int


class SampleSource:
    """The images of split train of several manifests, without what is excluded or held out.

    An image whose source lies in a validation or test split of any of the manifests is left out (shared: how many).
    skipped: {path: why} of the images that cannot be decoded or are smaller than `smallest` pixels a side. unknown:
    names in `exclude` that nothing answers to. singles: how many images are drawn by themselves; none where they are of
    one class. per_epoch: how many images an epoch sees. pictures: what earlier trainings on the same data decoded, and
    where this one leaves its own. Raises MaibenchError where a class is missing.
    """

    def __init__(
        self,
        manifests: Sequence[Manifest],
        exclude: Sequence[str] = (),
        hold_out: Sequence[str] = (),
        smallest: int = 1,
        workers: int = 1,
        memory: int = MEMORY,
        pictures: Pictures | None = None,
    ) -> None:
        self.skipped: dict[str, str] = {}
        self._known = {} if pictures is None else pictures
        self._images: list[tuple[Manifest, str, Pixels | None]] = []
        generators: dict[str, list[int]] = defaultdict(list)
        collections: dict[str, list[int]] = defaultdict(list)
        pairs: dict[tuple[int, str], dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
        paired: set[str] = set()
        named: set[str] = set()
        elsewhere = sources_of_other_splits(manifests)
        self.shared = 0
        for number, manifest in enumerate(manifests):
            named |= {*manifest.rows["generator"], *collections_of(manifest.rows, manifest.name)}
            listed = manifest.split("train")
            listed = listed.assign(collection=collections_of(listed, manifest.name))
            left_out = [*exclude, *hold_out]
            used = ~listed["generator"].isin(left_out) & ~listed["collection"].isin(left_out)
            if "source" in listed:
                is_shared = listed["source"].isin(elsewhere)
                self.shared += int((used & is_shared).sum())
                used &= ~is_shared
            rows: list[dict[str, Any]] = listed[used].to_dict("records")  # type: ignore[assignment]
            for row, index in zip(rows, self._add(manifest, rows, smallest, workers, memory), strict=True):
                if index is None:
                    continue
                pair = row.get("pair")
                if pd.notna(pair) and pair != "":
                    pairs[number, str(pair)][row["label"]].append(index)
                    paired.add(row["generator"])
                elif row["label"]:
                    generators[row["generator"]].append(index)
                else:
                    collections[row["collection"]].append(index)
        self.pairs = [(sides[0][0], sides[1]) for sides in pairs.values() if sides[0] and sides[1]]
        self.unknown = [name for name in exclude if name not in named]
        self._paired = paired - {"real"}
        self._synthetic = Urn(generators)
        self._real = Urn(collections)
        has_both = len(self._synthetic) > 0 and len(self._real) > 0
        self.singles = len(self._synthetic) + len(self._real) if has_both else 0
        if not (self.pairs or self.singles):
            first = next((f"; {path}: {why}" for path, why in self.skipped.items()), "")
            raise MaibenchError(f"{NEEDED} ({len(self.skipped)} images left out{first})")

    @property
    def per_epoch(self) -> int:
        """As many images as there are single ones; where there are only pairs, as those have."""
        return self.singles or 2 * len(self.pairs)

    def trained_on(self, share_of_pairs: float) -> list[str]:
        """The generators that are drawn from at such a share."""
        drawn = set(self._synthetic.names) if self.singles else set()
        return sorted(drawn | self._paired if share_of_pairs or not self.singles else drawn)

    def described(self) -> str:
        """What there is to train on, in one line."""
        left_out = f"; {len(self.skipped)} left out, unreadable or too small" if self.skipped else ""
        if unused := 0 if self.singles else len(self._synthetic) + len(self._real):
            left_out += f"; {unused} of one class alone beside the pairs are not drawn"
        if self.shared:
            left_out += f"; {self.shared} left out, their sources are in a validation or test split too"
        if self.unknown:
            left_out += f"; nothing here is called {', '.join(self.unknown)} (exclude)"
        return (
            f"{len(self._images)} training images of {len(self._paired.union(self._synthetic.names))} generators and "
            f"of {len(self._real.names)} collections of photographs, {len(self.pairs)} pairs{left_out}"
        )

    def draw(
        self, size: int, share_of_pairs: float, rng: np.random.Generator, places: Sequence[int] | None = None
    ) -> list[Sample]:
        """`size` samples, half of them real: pairs first (a photograph and one of its reconstructions), then single
        images, real ones from a collection and synthetic ones from a generator that is drawn by the root of its size.
        Every second one is real. places: those of them that are wanted; the others are drawn, but not read.

        Raises ImageError, with the file's name, for an image that was not kept and cannot be read.
        """
        count = round(size * share_of_pairs / 2) if self.pairs else 0
        if not self.singles:
            count = -(-size // 2)
        drawn: list[tuple[int, int, int]] = []
        for pair in range(count):
            real, synthetic = self.pairs[rng.integers(len(self.pairs))]
            drawn.append((real, 0, pair))
            drawn.append((synthetic[rng.integers(len(synthetic))], 1, pair))
        for number in range(size - 2 * count):
            urn = self._synthetic if number % 2 else self._real
            drawn.append((urn.draw(rng), number % 2, -1))
        wanted = [drawn[place] for place in (range(size) if places is None else places)]
        return [Sample(self._pixels(index), label, pair) for index, label, pair in wanted]

    def _add(
        self, manifest: Manifest, rows: list[dict[str, Any]], smallest: int, workers: int, memory: int
    ) -> list[int | None]:
        """Where each row's image stands in the list; None where it is skipped."""
        kept = sum(pixels.nbytes for _, _, pixels in self._images if pixels is not None)

        def read(row: dict[str, Any]) -> Pixels | str | None:
            pixels = self._known.get((manifest.images, row["path"]))
            if pixels is not None and min(pixels.shape[:2]) >= smallest:
                return pixels
            try:
                file = manifest.read(row["path"])
                if min(file.width, file.height) < smallest:
                    return f"smaller than {smallest} pixels a side"
                return middle(decode(file.data)) if kept < memory else None
            except ImageError as error:
                return str(error)

        places: list[int | None] = []
        with ThreadPoolExecutor(workers) as pool:
            for start in range(0, len(rows), 64):
                window = rows[start : start + 64]
                paths = [row["path"] for row in window]
                manifest.images.expect([path for path in paths if (manifest.images, path) not in self._known])
                for row, found in zip(window, pool.map(read, window), strict=True):
                    if isinstance(found, str):
                        self.skipped[row["path"]] = found
                        places.append(None)
                        continue
                    if found is None and manifest.images.in_order:
                        raise MaibenchError(
                            f"'{manifest.name}' can only be read forward and is larger than the {memory / 1e9:.0f} GB "
                            "of pixels that are kept; make it a local one first: maibench data pack SOURCE --out FOLDER"
                        )
                    if found is not None:
                        kept += found.nbytes
                        self._known[manifest.images, row["path"]] = found
                    self._images.append((manifest, row["path"], found))
                    places.append(len(self._images) - 1)
        return places

    def _pixels(self, index: int) -> Pixels:
        manifest, path, pixels = self._images[index]
        if pixels is not None:
            return pixels
        try:
            return middle(decode(manifest.read(path).data))
        except ImageError as error:
            raise ImageError(
                f"{manifest.root / path}: {error}; mend it, or take its row out of the manifest"
            ) from error


class Urn:
    """Groups of indices; a group is drawn by the root of its size, so that no large one drowns the others."""

    def __init__(self, groups: dict[str, list[int]]) -> None:
        self.names = sorted(groups)
        self._groups = [groups[name] for name in self.names]
        self.shares = np.sqrt([len(members) for members in self._groups])
        self.shares /= self.shares.sum() or 1

    def __len__(self) -> int:
        return sum(len(members) for members in self._groups)

    def draw(self, rng: np.random.Generator) -> int:
        """An index: a group first, then one of its members, each alike."""
        members = self._groups[rng.choice(len(self._groups), p=self.shares)]
        return members[rng.integers(len(members))]


def check_classes(manifests: Sequence[Manifest], left_out: Sequence[str]) -> None:
    """Raise MaibenchError where no training image of a class is listed, before any image is read."""
    listed = [rows[~rows["generator"].isin(list(left_out))]["label"] for rows in (m.split("train") for m in manifests)]
    if len({label for labels in listed for label in labels}) < 2:
        raise MaibenchError(NEEDED)


def sources_of_other_splits(manifests: Sequence[Manifest]) -> set[str]:
    """Sources that a training image must not share: names alone are looked at."""
    sources: set[str] = set()
    for manifest in manifests:
        if "source" in manifest.rows:
            sources |= set(manifest.rows["source"][manifest.rows["split"] != "train"])
    return sources - {""}


def middle(pixels: Pixels) -> Pixels:
    top, left = (max(0, side - KEPT) // 2 for side in pixels.shape[:2])
    return np.ascontiguousarray(pixels[top : top + KEPT, left : left + KEPT])
