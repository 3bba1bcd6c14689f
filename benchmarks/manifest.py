"""Opening a manifest of a million rows, against reading the same columns with pandas alone."""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

ROWS = 1_000_000
_OPEN = """
import sys, time
from pathlib import Path
import pandas as pd
from maibench.datasets.readers import open_data
file = Path(sys.argv[1])
started = time.perf_counter()
pd.read_parquet(file) if file.suffix == ".parquet" else pd.read_csv(file)
floor = time.perf_counter() - started
started = time.perf_counter()
open_data(str(file))
print(floor, time.perf_counter() - started)
"""


def make(folder: Path, rows: int = ROWS) -> list[Path]:
    """A manifest of `rows` rows as Parquet and as CSV; the images are not there."""
    rng = np.random.default_rng(0)
    generator = np.array(["real", "sdxl", "flux.1-dev", "sd1.5"])[rng.integers(0, 4, rows)]
    frame = pd.DataFrame(
        {
            "path": [f"images/{i // 1000:04d}/{i:07d}.jpg" for i in range(rows)],
            "label": (generator != "real").astype(int),
            "generator": generator,
            "source": [f"photo:{i // 3}" for i in range(rows)],
            "split": np.array(["train", "validation", "test"])[rng.integers(0, 3, rows)],
        }
    )
    frame.to_parquet(folder / "list.parquet")
    frame.to_csv(folder / "list.csv", index=False)
    return [folder / "list.parquet", folder / "list.csv"]


def main() -> None:
    print(f"opening a manifest of {ROWS:,} rows")
    with tempfile.TemporaryDirectory() as folder:
        for file in make(Path(folder)):
            done = subprocess.run([sys.executable, "-c", _OPEN, str(file)], capture_output=True, text=True, check=True)
            floor, seconds = map(float, done.stdout.split())
            print(f"  {file.suffix[1:]:8} {seconds:.2f} s, {seconds / floor:.1f} times what pandas takes to read it")
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e3
    print(f"  {peak:.0f} MB at most")


if __name__ == "__main__":
    main()
