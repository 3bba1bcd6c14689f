"""Images whose scores are known, and the dummy detectors that score them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image


@pytest.fixture(scope="session")
def dummies() -> str:
    """The file of the dummy detectors: f"{dummies}:Brightness" is a SPEC."""
    return str(Path(__file__).parents[1] / "dummy_detectors.py")


@pytest.fixture(scope="session")
def greys(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """greys(images, folder=None) -> the path of a manifest.csv beside plain grey images.

    images: (value, label) or (value, label, split) for each; Brightness gives the logit (value - 127.5) / 10. Every
    image is its own source; the synthetic ones are of "gen-a" and "gen-b" in turns.
    """

    def make(images: Sequence[tuple], folder: Path | None = None) -> Path:
        folder = folder or tmp_path_factory.mktemp("greys")
        rows = []
        for index, (value, label, *split) in enumerate(images):
            path = f"{index:03d}.png"
            Image.fromarray(np.full((70, 80, 3), value, dtype=np.uint8)).save(folder / path)
            generator = ("gen-a", "gen-b")[index % 2] if label else "real"
            rows.append((path, label, generator, f"source-{index}", split[0] if split else "test"))
        frame = pd.DataFrame(rows, columns=["path", "label", "generator", "source", "split"])
        frame.to_csv(folder / "manifest.csv", index=False)
        return folder / "manifest.csv"

    return make
