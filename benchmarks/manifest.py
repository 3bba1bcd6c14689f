"""Opening a manifest of a million rows, against reading the same columns with pandas alone."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.measure import Ratio, child

ROWS = 1_000_000
GOAL_SECONDS, GOAL_GB = 2, 1
_OPEN = """
import json, sys, time
from pathlib import Path
import pandas as pd
from benchmarks.measure import own_peak_mb
from maibench.datasets.readers import open_data
file = Path(sys.argv[1])
started = time.perf_counter()
pd.read_parquet(file) if file.suffix == ".parquet" else pd.read_csv(file)
floor = time.perf_counter() - started
started = time.perf_counter()
open_data(str(file))
seconds = time.perf_counter() - started
print(json.dumps({"floor": floor, "seconds": seconds, "gb": own_peak_mb() / 1024}))
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


def main() -> list[Ratio]:
    """Each file in a process of its own; its peak holds that of pandas' bare reading too."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for file in make(Path(folder)):
            facts = child([sys.executable, "-c", _OPEN, file]).facts
            seconds, floor, gigabytes = facts["seconds"], facts["floor"], facts["gb"]
            kind = {".parquet": "Parquet", ".csv": "CSV"}[file.suffix]
            figures = f"{seconds:.2f} s, {seconds / floor:.1f} times what pandas takes to read it"
            print(f"{kind:8} {figures}, {gigabytes:.2f} GB at most")
            name = f"{ROWS:,} rows of {kind}"
            rows.append(Ratio(f"{name}, the goal of {GOAL_SECONDS} s to seconds", GOAL_SECONDS / seconds, 1, figures))
            peak = f"{gigabytes:.2f} GB"
            rows.append(Ratio(f"{name}, the goal of {GOAL_GB} GB to the peak", GOAL_GB / gigabytes, 1, peak))
    return rows


if __name__ == "__main__":
    main()
