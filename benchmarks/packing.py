"""Images a second of `maibench data pack` and of reading back, and the peak memory, as ratios to copying the files."""

from __future__ import annotations

import io
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from maibench.datasets.packing.pack import Request, pack
from maibench.datasets.readers import open_data

COUNTS, SIDE, SHARD_MB = (2_000, 8_000), 256, 50


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


def seconds_of(work: object, *arguments: object) -> float:
    """How long a call takes."""
    started = time.perf_counter()
    work(*arguments)  # type: ignore[operator]
    return time.perf_counter() - started


def read(source: str, shuffled: bool) -> None:
    """Read every image, in the list's order or in a random one."""
    manifest = open_data(source)
    paths = manifest.rows["path"].tolist()
    for path in random.Random(0).sample(paths, len(paths)) if shuffled else paths:
        manifest.read(path)


def peak(source: Path, out: Path, layout: str) -> float:
    """Megabytes that packing takes in a process of its own, above what its imports do."""
    lines = "import sys; from pathlib import Path; from maibench.datasets.packing.pack import Request, pack"
    # not ru_maxrss, which a process inherits from the one that starts it
    used = "int(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))"
    script = (
        f"{lines}; a = {used}; pack(Request(sys.argv[1], Path(sys.argv[2]), {layout!r}, {SHARD_MB})); print({used} - a)"
    )
    done = subprocess.run([sys.executable, "-c", script, source, out], capture_output=True, text=True, check=True)
    return int(done.stdout) / 1024


def main() -> None:
    print("images   way       packed/s   times copying   in order/s   random/s   peak MB")
    for count in COUNTS:
        with tempfile.TemporaryDirectory() as name:
            here = Path(name)
            make(here / "data", count)
            os.environ["MAIBENCH_CACHE"] = str(here / "cache")
            read(str(here / "data"), False)  # the files are in the system's cache then, for all that follows
            copied = min(seconds_of(shutil.copytree, here / "data", here / f"copy-{at}") for at in range(2))
            print(f"{count:6,d}   {'copy':9s} {count / copied:8,.0f}   {1:13.2f}", end="")
            print(f"   {count / seconds_of(read, str(here / 'data'), False):10,.0f}", end="")
            print(f"   {count / seconds_of(read, str(here / 'data'), True):8,.0f}")
            for layout in ("parquet", "wds"):
                out = here / layout
                packed = min(
                    seconds_of(pack, Request(str(here / "data"), out, layout, SHARD_MB), True) for _ in range(2)
                )
                print(f"{count:6,d}   {layout:9s} {count / packed:8,.0f}   {packed / copied:13.2f}", end="")
                print(f"   {count / seconds_of(read, str(out), False):10,.0f}", end="")
                print(f"   {count / seconds_of(read, str(out), True):8,.0f}", end="")
                print(f"   {peak(here / 'data', here / f'{layout}-peak', layout):7.0f}")


if __name__ == "__main__":
    main()
