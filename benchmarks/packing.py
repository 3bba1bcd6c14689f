"""`maibench data pack` and reading back against copying and reading the files, and its memory as images grow."""

from __future__ import annotations

import io
import itertools
import os
import random
import shutil
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from benchmarks.measure import Ratio, alternating, python, times_as_fast
from maibench.datasets.packing.pack import Request, pack
from maibench.datasets.readers import open_data

COUNTS, SIDE, SHARD_MB, ROUNDS = (2_000, 8_000), 256, 50, 3
LAYOUTS = ("parquet", "wds")

_PACK = """
import json, sys
from pathlib import Path
from benchmarks.measure import own_peak_mb
from maibench.datasets.packing.pack import Request, pack
imports = own_peak_mb()
pack(Request(sys.argv[1], Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])))
print(json.dumps({"mb": own_peak_mb() - imports}))
"""


def make(folder: Path, count: int) -> None:
    """`count` JPEGs of SIDE x SIDE, about 40 kB each, two to a source."""
    (folder / "images").mkdir(parents=True)
    noise = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noise).resize((SIDE // 2, SIDE // 2)).resize((SIDE, SIDE)).save(stream, "JPEG", quality=92)
    rows = []
    for at in range(count):
        path = f"images/{at:06d}.jpg"
        (folder / path).write_bytes(stream.getvalue() + str(at).encode())  # no two have the same bytes
        rows.append(
            (path, at % 2, "sdxl" if at % 2 else "real", f"photograph {at // 2}", "train" if at % 10 else "test")
        )
    frame = pd.DataFrame(rows, columns=["path", "label", "generator", "source", "split"])
    frame.to_csv(folder / "manifest.csv", index=False)


def read(source: str, shuffled: bool) -> None:
    """Read every image, in the list's order or in a random one."""
    manifest = open_data(source)
    paths = manifest.rows["path"].tolist()
    for path in random.Random(0).sample(paths, len(paths)) if shuffled else paths:
        manifest.read(path)


def peak(source: Path, out: Path, layout: str) -> float:
    """Megabytes that packing takes in a process of its own, above what its imports do."""
    return python(_PACK, source, out, layout, SHARD_MB).facts["mb"]


def main() -> list[Ratio]:
    """Packing and reading alternate with copying and reading the files."""
    rows, peaks = [], {}
    for count in COUNTS:
        with tempfile.TemporaryDirectory() as name:
            here = Path(name)
            make(here / "data", count)
            os.environ["MAIBENCH_CACHE"] = str(here / "cache")
            for layout in LAYOUTS:
                peaks[layout, count] = peak(here / "data", here / f"{layout}-peak", layout)
            if count == COUNTS[-1]:
                rows += _speed(here, count)
    for layout in LAYOUTS:
        few, many = (peaks[layout, count] for count in COUNTS)
        figures = f"{few:.0f} MB above the imports for {COUNTS[0]:,} images, {many:.0f} MB for {COUNTS[1]:,}"
        rows.append(Ratio(f"{layout}, memory of packing, few images to many", few / many, 0.8, figures))
    return rows


def _speed(here: Path, count: int) -> list[Ratio]:
    data, turn = here / "data", itertools.count()
    ways: dict[str, Callable[[], object]] = {
        "copy": lambda: shutil.copytree(data, here / f"copy-{next(turn)}"),
        "parquet": lambda: pack(Request(str(data), here / f"parquet-{next(turn)}", "parquet", SHARD_MB), True),
        "wds": lambda: pack(Request(str(data), here / f"wds-{next(turn)}", "wds", SHARD_MB), True),
    }
    packing = alternating(ways, ROUNDS)
    rows = [
        Ratio(
            f"{layout}, packing to copying the files",
            times_as_fast(packing, layout, "copy"),
            0.4,
            f"{count / min(packing[layout]):,.0f} against {count / min(packing['copy']):,.0f} images/s",
        )
        for layout in LAYOUTS
    ]
    sources = {"files": str(data)} | {
        layout: str(next(path for path in here.glob(f"{layout}-[0-9]*"))) for layout in LAYOUTS
    }
    for order, shuffled in (("in order", False), ("at random", True)):
        reading = alternating({way: partial(read, source, shuffled) for way, source in sources.items()}, ROUNDS)
        for layout in LAYOUTS:
            ratio = times_as_fast(reading, layout, "files")
            speeds = f"{count / min(reading[layout]):,.0f} against {count / min(reading['files']):,.0f} images/s"
            rows.append(Ratio(f"{layout}, read {order}, to single files", ratio, None, speeds))
    return rows


if __name__ == "__main__":
    main()
