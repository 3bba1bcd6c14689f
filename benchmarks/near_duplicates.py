"""Seconds and peak memory of the exact search for near-duplicates among 1,000,000 hashes, on one core."""

from __future__ import annotations

import subprocess
import sys
import tempfile

import numpy as np

from maibench.datasets.hamming import Hashes

N, PLANTED, DISTANCE = 1_000_000, 1_000, 4

_MAKE = """
import sys
import numpy as np
from benchmarks import near_duplicates
hashes, pairs = near_duplicates.planted(getattr(near_duplicates, sys.argv[2])(near_duplicates.N))
np.savez(sys.argv[1], hashes=hashes, pairs=pairs)
"""
# Each in a process of its own, of a parent that stays small: a child's peak begins with its parent's.
_SEARCH = """
import resource, sys, time
import numpy as np
from benchmarks.near_duplicates import DISTANCE
from maibench.datasets.near import neighbours
with np.load(sys.argv[1]) as read:
    hashes, pairs = read["hashes"], read["pairs"]
started = time.perf_counter()
found, distances = neighbours(hashes, DISTANCE)
seconds = time.perf_counter() - started
n = len(hashes)
there = np.isin(pairs[:, 0] * n + pairs[:, 1], found[:, 0] * n + found[:, 1])
of_each = " ".join(f"{there[bits::DISTANCE + 2].sum()}" for bits in range(DISTANCE + 2))
beyond = int((np.bitwise_count(hashes[found[:, 0]] ^ hashes[found[:, 1]]) > DISTANCE).sum())
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
print(f"{sys.argv[2]:12}{n:10,d}{len(found):12,d}   {of_each:32}{beyond:8d}{seconds:10.2f}{peak:10.2f}")
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


def main() -> None:
    planted_in = f"of {PLANTED:,} planted at 0 to {DISTANCE + 1} bits"
    print(f"hashes           n       pairs   {planted_in}  beyond   seconds   peak GB")
    for kind in ("uniform", "crowded"):
        with tempfile.TemporaryDirectory() as folder:
            file = f"{folder}/hashes.npz"
            for script in (_MAKE, _SEARCH):
                subprocess.run([sys.executable, "-c", script, file, kind], check=True)


if __name__ == "__main__":
    main()
