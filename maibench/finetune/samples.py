"""Training images in memory, drawn so that neither class nor any generator dominates."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from maibench.datasets.image import decode, read_file
from maibench.datasets.manifest import Manifest
from maibench.errors import ImageError, MaibenchError

KEPT = 512
"""Larger images are kept as their middle KEPT x KEPT pixels: memory is not for what a crop never sees."""

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Sample:
    """One drawn image: pixels (height x width x 3), label, and the pair that it belongs to (-1: none)."""

    pixels: Pixels
    label: int
    pair: int


class SampleSource:
    """The images of split train of several manifests. skipped: paths of images that cannot be decoded, with reasons."""

    def __init__(self, manifests: Sequence[Manifest], exclude: Sequence[str], smallest: int) -> None:
        self.images: list[Pixels] = []
        self.skipped: dict[str, str] = {}
        self.by_generator: dict[str, list[int]] = defaultdict(list)
        pairs: dict[tuple[int, str], dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
        for number, manifest in enumerate(manifests):
            for row in manifest.split("train").to_dict("records"):
                if row["generator"] in exclude:
                    continue
                index = self._add(manifest, row, smallest)
                if index is None:
                    continue
                if isinstance(row.get("pair"), str):
                    pairs[number, row["pair"]][row["label"]].append(index)
                else:
                    self.by_generator[row["generator"]].append(index)
        self.pairs = [(sides[0][0], sides[1]) for sides in pairs.values() if sides[0] and sides[1]]
        self.generators = sorted(
            {row for m in manifests for row in m.split("train")["generator"]} - {"real"} - set(exclude)
        )
        if "real" not in self.by_generator or len(self.by_generator) < 2:
            raise MaibenchError("the training split needs real images and at least one generator's")
        self._names = sorted(set(self.by_generator) - {"real"})
        weights = np.sqrt([len(self.by_generator[name]) for name in self._names])
        self._weights = weights / weights.sum()

    def _add(self, manifest: Manifest, row: dict, smallest: int) -> int | None:
        try:
            pixels = decode(read_file(manifest.root, row["path"]).data)
            if min(pixels.shape[:2]) < smallest:
                raise ImageError(f"smaller than the crop of {smallest} pixels")
        except ImageError as error:
            self.skipped[row["path"]] = str(error)
            return None
        top, left = (max(0, side - KEPT) // 2 for side in pixels.shape[:2])
        self.images.append(np.ascontiguousarray(pixels[top : top + KEPT, left : left + KEPT]))
        return len(self.images) - 1

    def draw(self, size: int, share_of_pairs: float, rng: np.random.Generator) -> list[Sample]:
        """`size` samples, half of them real: pairs first (a photograph and one of its reconstructions), then single
        images: real ones evenly, synthetic ones by the square root of their generator's count."""
        count = round(size * share_of_pairs / 2) if self.pairs else 0
        samples: list[Sample] = []
        for pair in range(count):
            real, synthetic = self.pairs[rng.integers(len(self.pairs))]
            samples.append(Sample(self.images[real], 0, pair))
            samples.append(Sample(self.images[synthetic[rng.integers(len(synthetic))]], 1, pair))
        for number in range(size - 2 * count):
            name = "real" if number % 2 == 0 else str(rng.choice(self._names, p=self._weights))
            members = self.by_generator[name]
            samples.append(Sample(self.images[members[rng.integers(len(members))]], int(name != "real"), -1))
        return samples
