"""From a JPEG file to its pixels on one core: all our work for it, against Pillow's and torchvision's bare decoders."""

from __future__ import annotations

import io
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_image

from benchmarks.measure import Ratio, alternating, times_as_fast
from maibench.datasets.image import Pixels, decode_file, parse_file
from maibench.datasets.images import FolderImages

SIZES = (256, 512)
IMAGES = 48
FLOOR = 1.1
"""A second decoder is worth its place where all of our work takes a tenth less than Pillow's decoding alone."""


def main() -> list[Ratio]:
    rows = []
    for size in SIZES:
        with tempfile.TemporaryDirectory() as folder:
            rows += _measured(size, _photographs(Path(folder), size))
    return rows


def _measured(size: int, files: list[Path]) -> list[Ratio]:
    images = FolderImages(files[0].parent)
    data = [file.read_bytes() for file in files]
    found = [decode_file(parse_file(file.name, images.read(file.name))) for file in files]
    ways: dict[str, Callable[[], object]] = {
        "Pillow": lambda: [_pillow(each) for each in data],
        "ours": lambda: [decode_file(parse_file(file.name, images.read(file.name))) for file in files],
    }
    torchvision = _torchvision()
    if torchvision is not None:
        ways["torchvision"] = lambda: [torchvision(each) for each in data]
    seconds = alternating(ways, rounds=9)
    speed = {way: len(files) / min(taken) for way, taken in seconds.items()}
    rows = []
    for way, decode in (("ours", None), ("torchvision", torchvision)):
        what = "read, hash, header and decode" if way == "ours" else "torchvision's decode"
        name = f"JPEG of {size} px: {what}, to Pillow's decode"
        if way not in ways:
            rows.append(Ratio(name, None, None, "torchvision is not installed"))
            continue
        pixels = found if decode is None else [decode(each) for each in data]
        same = sum(np.array_equal(ours, _pillow(each)) for ours, each in zip(pixels, data, strict=True))
        rows.append(
            Ratio(
                name,
                times_as_fast(seconds, way, than="Pillow"),
                FLOOR if way == "ours" else None,
                f"{speed[way]:,.0f} against {speed['Pillow']:,.0f} images/s; {same} of {len(files)} identical",
            )
        )
        print(rows[-1])
    return rows


def _pillow(data: bytes) -> Pixels:
    with Image.open(io.BytesIO(data)) as image:
        return np.array(image.convert("RGB"))


def _torchvision() -> Callable[[bytes], Pixels] | None:
    try:
        import torch
        from torchvision.io import ImageReadMode, decode_image
    except ImportError:
        return None
    warnings.filterwarnings("ignore", category=DeprecationWarning, module="torchvision")

    def decoded(data: bytes) -> Pixels:
        pixels = decode_image(torch.frombuffer(bytearray(data), dtype=torch.uint8), ImageReadMode.RGB)
        return pixels.permute(1, 2, 0).numpy()

    return decoded


def _photographs(folder: Path, size: int) -> list[Path]:
    """Crops of scikit-learn's two photographs, compressed as files in the wild are: quality 75 to 95, mostly 4:2:0."""
    rng = np.random.default_rng(0)
    photographs = [Image.fromarray(load_sample_image(name)) for name in ("china.jpg", "flower.jpg")]
    files = []
    for at in range(IMAGES):
        photograph = photographs[at % 2]
        side = int(rng.integers(200, 400))
        left, top = (int(rng.integers(0, extent - side)) for extent in photograph.size)
        crop = photograph.resize((size, size), Image.Resampling.BICUBIC, (left, top, left + side, top + side))
        files.append(folder / f"{at:03d}.jpg")
        crop.save(files[-1], quality=int(rng.integers(75, 96)), subsampling=0 if at % 4 == 0 else 2)
    return files


if __name__ == "__main__":
    main()
