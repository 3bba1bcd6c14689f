"""The demo: crops of the photographs that scikit-image, scikit-learn and matplotlib ship, and their reconstructions by
the nano autoencoders. Made on first use, offline, and cached.

It is the BAILU card's subject (autoencoder artefacts) at a small scale. It is not a benchmark of generators: nothing
in it was made from a prompt, and the autoencoders are tiny.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from maibench.datasets.autoencoders import ARCHITECTURES, weights_file
from maibench.datasets.image import decode
from maibench.datasets.manifest import Manifest
from maibench.datasets.pairs import Crop, grid, write_pairs
from maibench.datasets.readers import read_manifest
from maibench.errors import MaibenchError

RECIPE = 2
"""Raise it when this file or `pairs.py` makes other crops, so that cached demos are made again."""

SIZE = 200
CROPS_PER_PHOTOGRAPH = 20
UNSEEN = "nano-flux.2"
"""Kept out of every training set, so that the table has an unseen generator; it occurs in the test split alone."""

PHOTOGRAPHS = (
    # (package, file, source, split): the two views of the motorcycle are one scene and so one source
    ("skimage", "data/astronaut.png", "astronaut", "test"),
    ("skimage", "data/chelsea.png", "chelsea", "test"),
    ("skimage", "data/coffee.png", "coffee", "test"),
    ("skimage", "data/motorcycle_left.png", "motorcycle", "test"),
    ("skimage", "data/motorcycle_right.png", "motorcycle", "test"),
    ("sklearn", "datasets/images/china.jpg", "china", "test"),
    ("skimage", "data/rocket.jpg", "rocket", "validation"),
    ("matplotlib", "mpl-data/sample_data/grace_hopper.jpg", "grace_hopper", "validation"),
    ("skimage", "data/hubble_deep_field.jpg", "hubble", "train"),
    ("skimage", "data/ihc.png", "ihc", "train"),
    ("skimage", "data/retina.jpg", "retina", "train"),
    ("sklearn", "datasets/images/flower.jpg", "flower", "train"),
)


def demo_manifest(cache: Path | None = None) -> Manifest:
    """The demo's manifest, made first where it is not cached (under a minute on two cores).

    cache: a folder; by default $MAIBENCH_CACHE, else ~/.cache/maibench. Raises MaibenchError when it cannot be written.
    """
    folder = (cache or cache_folder()) / f"demo-{_version()}"
    if not (folder / "manifest.csv").is_file():
        _make(folder)
    manifest = read_manifest(folder / "manifest.csv")
    return replace(manifest, name="demo")


def cache_folder() -> Path:
    """Where things that can be made again are kept."""
    named = os.environ.get("MAIBENCH_CACHE")
    return Path(named) if named else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "maibench"


def _version() -> str:
    """Changes when the autoencoders, the photographs or this recipe do."""
    import hashlib

    digest = hashlib.sha256(repr((RECIPE, SIZE, CROPS_PER_PHOTOGRAPH, UNSEEN, PHOTOGRAPHS)).encode())
    for name in ARCHITECTURES:
        digest.update(weights_file(name).read_bytes())
    for package, file, _, _ in PHOTOGRAPHS:
        digest.update(_photograph(package, file).read_bytes())
    return digest.hexdigest()[:12]


def _make(folder: Path) -> None:
    """Build beside the final place and move it there whole, so that a killed run leaves no half demo behind."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix="making-demo-") as workplace:
            made = Path(workplace) / "demo"
            rows = write_pairs(_crops(), made)
            rows.to_csv(made / "manifest.csv", index=False)
            if not (folder / "manifest.csv").is_file():
                shutil.rmtree(folder, ignore_errors=True)
                os.replace(made, folder)
    except OSError as error:
        raise MaibenchError(
            f"the demo cannot be written to {folder.parent} ({error.strerror or error}); "
            "set MAIBENCH_CACHE to a folder that can be written"
        ) from error


def _photograph(package: str, file: str) -> Path:
    # find_spec: where the package lies, without the second that importing it takes
    spec = importlib.util.find_spec(package)
    path = Path(spec.origin).parent / file if spec and spec.origin else Path(package)
    if not path.is_file():
        raise MaibenchError(
            f"the demo's photograph {file} is not in the installed {package}; install the versions in constraints.txt"
        )
    return path


def _crops() -> Iterator[Crop]:
    seen = [name for name in ARCHITECTURES if name != UNSEEN]
    for package, file, source, split in PHOTOGRAPHS:
        path = _photograph(package, file)
        made_by = [*seen, UNSEEN] if split == "test" else seen
        for index, pixels in enumerate(_cut(decode(path.read_bytes()))):
            chosen = made_by[index % len(made_by)]
            yield Crop(f"{path.stem}-{index:02d}", pixels, source, split, (chosen,))


def _cut(photograph: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    """Crops at half scale, then at full scale, evenly thinned to CROPS_PER_PHOTOGRAPH; blank ones are left out."""
    from PIL import Image

    height, width = photograph.shape[:2]
    half = np.asarray(Image.fromarray(photograph).resize((width // 2, height // 2), Image.Resampling.LANCZOS))
    crops = [
        image[top : top + SIZE, left : left + SIZE]
        for image in (half, photograph)
        if min(image.shape[:2]) >= SIZE
        for top in grid(image.shape[0], SIZE)
        for left in grid(image.shape[1], SIZE)
    ]
    crops = [crop for crop in crops if crop.std() > 8]
    keep = np.linspace(0, len(crops) - 1, min(len(crops), CROPS_PER_PHOTOGRAPH)).round().astype(int)
    return [crops[index] for index in keep]
