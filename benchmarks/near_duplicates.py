"""The exact search for near-duplicates among 1,000,000 hashes on one core, against comparing all with all."""

from __future__ import annotations

import sys
import tempfile

import numpy as np

from benchmarks.measure import Ratio, child
from maibench.datasets.hamming import Hashes

N, PLANTED, DISTANCE = 1_000_000, 1_000, 4
ROWS = 100  # of comparing all with all, which are timed and scaled

_MAKE = """
import sys
import numpy as np
from benchmarks import near_duplicates
hashes, pairs = near_duplicates.planted(getattr(near_duplicates, sys.argv[2])(near_duplicates.N))
np.savez(sys.argv[1], hashes=hashes, pairs=pairs)
print("{}")
"""
_SEARCH = """
import json, sys, time
import numpy as np
from benchmarks.measure import own_peak_mb
from benchmarks.near_duplicates import DISTANCE, PLANTED, ROWS
from maibench.datasets.near import neighbours
with np.load(sys.argv[1]) as read:
    hashes, pairs = read["hashes"], read["pairs"]
started = time.perf_counter()
found, distances = neighbours(hashes, DISTANCE)
seconds = time.perf_counter() - started
n = len(hashes)
there = np.isin(pairs[:, 0] * n + pairs[:, 1], found[:, 0] * n + found[:, 1])
planted = [int(there[bits::DISTANCE + 2].sum()) for bits in range(DISTANCE + 2)]
beyond = int((np.bitwise_count(hashes[found[:, 0]] ^ hashes[found[:, 1]]) > DISTANCE).sum())
peak = own_peak_mb() / 1024
started = time.perf_counter()
for row in range(ROWS):
    np.flatnonzero(np.bitwise_count(hashes[row + 1 :] ^ hashes[row]) <= DISTANCE)
brute = (time.perf_counter() - started) / ROWS * n / 2
facts = {"pairs": len(found), "planted": planted, "beyond": beyond, "seconds": seconds, "brute": brute, "gb": peak}
print(json.dumps(facts))
"""


def uniform(n: int) -> Hashes:
    """Bits that know nothing of each other."""
    return np.random.default_rng(0).integers(0, 2**64, n, dtype=np.uint64)


def crowded(n: int) -> Hashes:
    """Hashes that crowd as those of pictures do: neighbouring bits agree, and a bright middle is frequent.

    Of 4,784 photographs and generated images, 1.3 in a million unrelated pairs were within 4 bits; here, about as many.
    """
    rng = np.random.default_rng(0)
    field = rng.normal(size=(n, 8, 8)).astype(np.float32)
    for row in range(1, 8):
        field[:, row] = 0.75 * field[:, row - 1] + 0.66 * field[:, row]
    for column in range(1, 8):
        field[:, :, column] = 0.3 * field[:, :, column - 1] + 0.954 * field[:, :, column]
    field -= np.linspace(-0.5, 0.5, 8, dtype=np.float32)
    return np.packbits((field < 0).reshape(n, 64), axis=1).view(">u8")[:, 0].astype(np.uint64)


def planted(hashes: Hashes) -> tuple[Hashes, np.ndarray]:
    """Some hashes replaced by others with 0, 1, ... DISTANCE + 1 bits changed, in turns; and which pairs these are."""
    rng = np.random.default_rng(1)
    pairs = np.sort(rng.choice(len(hashes), (PLANTED * (DISTANCE + 2), 2), replace=False), axis=1)
    for at, (one, other) in enumerate(pairs):
        flipped = rng.choice(64, at % (DISTANCE + 2), replace=False)
        hashes[other] = hashes[one] ^ np.uint64(sum(1 << int(bit) for bit in flipped))
    return hashes, pairs


def main() -> list[Ratio]:
    """Two kinds of hashes; of the planted pairs all within DISTANCE bits have to be found, none beyond."""
    rows = []
    for kind in ("uniform", "crowded"):
        with tempfile.TemporaryDirectory() as folder:
            file = f"{folder}/hashes.npz"
            child([sys.executable, "-c", _MAKE, file, kind])
            facts = child([sys.executable, "-c", _SEARCH, file, kind]).facts
        planted, beyond = facts["planted"], facts["beyond"]
        figures = f"{facts['seconds']:.1f} s, {facts['pairs']:,} pairs, {facts['gb']:.2f} GB at most"
        print(f"{kind:8} {figures}; of {PLANTED:,} planted at 0 to {DISTANCE + 1} bits: {planted}; beyond: {beyond}")
        all_with_all = f"{kind} hashes, to comparing all with all"
        rows.append(Ratio(all_with_all, facts["brute"] / facts["seconds"], 50, figures))
        share = sum(planted[:-1]) / (PLANTED * (DISTANCE + 1)) if beyond == 0 else 0.0
        of = (
            f"{sum(planted[:-1]):,} of {PLANTED * (DISTANCE + 1):,} up to {DISTANCE} bits apart, {beyond} further apart"
        )
        rows.append(Ratio(f"{kind} hashes, planted pairs found", share, 1, of))
    return rows


if __name__ == "__main__":
    main()
