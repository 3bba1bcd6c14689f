"""How CNNDetection, SIDBench, detectzoo and maibench evaluate, each run by `peers` in a process of its own.

CNNDetection's and SIDBench's loops are written from knowledge of github.com/PeterWang512/CNNDetection (validate.py,
data/datasets.py, options) and github.com/mever-team/sidbench (validate.py, dataset), whose code was not at hand:
a DataLoader with the default batch of 64 and 4 or 8 worker processes (SIDBench's batch is an option; 64 is kind
to it), Pillow, torchvision's transforms, one model at a time over all images. Where they crop 224 pixels, the crop is
the detector's. detectzoo 0.1.4 is the package itself, its detector written as its README and its CNNSpot do.

    python -m benchmarks.peer_loops WAY FOLDER SCORES NAME=SPEC...

prints {"seconds": ..., "whole": ...} without imports, loading of weights and a first pass; the scores go to a file.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from sklearn.metrics import accuracy_score, average_precision_score
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

from maibench.models.bailu import TILE
from maibench.models.loading import load_detector
from maibench.models.mai_cnn import SIZE, MaiCnn

REAL, SYNTHETIC = "0_real", "1_fake"
Scores = dict[str, dict[str, float]]  # P(synthetic) by detector and by path in the folder
OPTIONS: dict[str, dict[str, Any]] = {"bailu": {"tiles": 1}}
"""One crop an image from every network, so that the loops do the same work."""


class Plain(nn.Module):
    """The MAI CNN as its authors write it, in torch's default memory layout: what a user would bring to a peer."""

    def __init__(self) -> None:
        super().__init__()
        stages: list[nn.Module] = []
        for before, after in pairwise((3, 16, 32, 64)):
            stages += [nn.Conv2d(before, after, 3, padding=1), nn.MaxPool2d(2), nn.ReLU()]
        self.features = nn.Sequential(*stages)
        self.head = nn.Sequential(
            nn.Flatten(), nn.Linear(40_000, 120), nn.ReLU(), nn.Linear(120, 30), nn.ReLU(), nn.Linear(30, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))


def network(name: str, spec: str, plain: bool = True) -> tuple[nn.Module, transforms.Compose]:
    """A network with its weights, and its preprocessing in torchvision's transforms."""
    detector = load_detector(spec, **OPTIONS.get(name, {}))
    side = SIZE if isinstance(detector, MaiCnn) else TILE
    mean, std = detector.card.mean, detector.card.std
    steps = [transforms.CenterCrop(side), transforms.ToTensor(), transforms.Normalize(mean, std)]
    found: nn.Module = detector
    if plain and isinstance(detector, MaiCnn):
        found = Plain()
        found.load_state_dict(detector.state_dict())
    found.eval()
    with torch.no_grad():
        found(torch.zeros(64, 3, side, side))
    return found, transforms.Compose(steps)


def cnndetection(folder: Path, models: dict[str, str], plain: bool = True) -> tuple[Scores, float]:
    """CNNDetection: ImageFolder, batches of 64, 4 worker processes."""

    def augmented(image: Image.Image) -> Image.Image:  # its data_augment at test time: there and back
        return Image.fromarray(np.array(image))

    loaded = {name: network(name, spec, plain) for name, spec in models.items()}
    started, scores = time.perf_counter(), {}
    for name, (model, transform) in loaded.items():
        images = datasets.ImageFolder(
            str(folder), transforms.Compose([transforms.Lambda(augmented), *transform.transforms])
        )
        loader = DataLoader(images, batch_size=64, shuffle=False, num_workers=4)
        scores[name] = _validate(model, loader, [path for path, _ in images.samples], folder)
    return scores, time.perf_counter() - started


def cnndetection_ours(folder: Path, models: dict[str, str]) -> tuple[Scores, float]:
    """The same around the package's own module, which differs from the plain one in memory layout and chunks."""
    return cnndetection(folder, models, plain=False)


def sidbench(folder: Path, models: dict[str, str]) -> tuple[Scores, float]:
    """SIDBench: a list of files, batches of 64, 8 worker processes."""
    from tqdm import tqdm

    loaded = {name: network(name, spec) for name, spec in models.items()}
    started, scores = time.perf_counter(), {}
    for name, (model, transform) in loaded.items():
        files = [(path, label) for label, part in enumerate((REAL, SYNTHETIC)) for path in sorted_files(folder / part)]
        images = _Listed(files, transform)
        loader = DataLoader(images, batch_size=64, shuffle=False, num_workers=8)
        scores[name] = _validate(model, tqdm(loader), [str(path) for path, _ in files], folder)
    return scores, time.perf_counter() - started


def detectzoo(folder: Path, models: dict[str, str]) -> tuple[Scores, float]:
    """The package of that name, version 0.1.4: its evaluator asks each detector for one image after the other."""
    from detectzoo.benchmarks.evaluator import BenchmarkEvaluator
    from detectzoo.core.base import BaseDetector, DetectionResult
    from detectzoo.datasets.base import BaseDataset
    from detectzoo.utils.io import load_image

    class Custom(BaseDetector):
        modality = "image"

        def __init__(self, name: str, spec: str) -> None:
            super().__init__()
            self.name = name
            self._model, self._transform = network(name, spec)

        @torch.no_grad()
        def predict(self, input_data: Any) -> DetectionResult:
            x = self._transform(load_image(Path(str(input_data)))).unsqueeze(0).to(self._device)
            return self._make_result(float(self._model(x).sigmoid().item()))

    detectors = [Custom(name, spec) for name, spec in models.items()]
    started = time.perf_counter()
    images = BaseDataset.from_directory(folder / REAL, folder / SYNTHETIC)
    results = BenchmarkEvaluator(images).run(detectors, save_scores=True)
    seconds = time.perf_counter() - started
    paths = [str(Path(item.data).relative_to(folder)) for item in images]
    scored = {
        name: dict(zip(paths, (sample["score"] for sample in facts["samples"]), strict=True))
        for name, facts in results.items()
    }
    return scored, seconds


def maibench_torch(folder: Path, models: dict[str, str]) -> tuple[Scores, float]:
    """maibench.compare in torch float32, the default."""
    return _maibench(folder, models)


def maibench_auto(folder: Path, models: dict[str, str]) -> tuple[Scores, float]:
    """maibench.compare with the fastest backend that is installed and passes the check of equality."""
    return _maibench(folder, models, backend="auto")


def _maibench(folder: Path, models: dict[str, str], **settings: Any) -> tuple[Scores, float]:
    """Scoring and writing: the peers' seconds are without loading and a first pass, too. Report, audit, figures and
    gallery are left out. A first comparison of few images does the imports."""
    import tempfile

    import maibench

    settings |= {
        "audit": False,
        "figures": False,
        "gallery": 0,
        "options": {name: OPTIONS[name] for name in models if name in OPTIONS},
    }
    specs = [f"{name}={spec}" for name, spec in models.items()]
    with tempfile.TemporaryDirectory() as out:
        maibench.compare(specs, folder / "manifest.csv", out=f"{out}/first", limit=64, **settings)
        run = maibench.compare(specs, folder / "manifest.csv", out=f"{out}/run", **settings)
        seconds = json.loads((run.folder / "run.json").read_text())["seconds_scoring"]
        rows = run.predictions
    scores = {name: dict(zip(part["path"], part["score"], strict=True)) for name, part in rows.groupby("detector")}
    return {str(name): found for name, found in scores.items()}, seconds


def sorted_files(folder: Path) -> list[Path]:
    """Its files, by name."""
    return sorted(folder.iterdir())


class _Listed(torch.utils.data.Dataset[tuple[Tensor, int]]):
    """Files and labels, read with Pillow."""

    def __init__(self, files: list[tuple[Path, int]], transform: Callable[[Image.Image], Tensor]) -> None:
        self.files, self.transform = files, transform

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, at: int) -> tuple[Tensor, int]:
        path, label = self.files[at]
        return self.transform(Image.open(path).convert("RGB")), label


def _validate(model: nn.Module, loader: Any, paths: list[str], folder: Path) -> dict[str, float]:
    """Both peers' loop, with accuracy and average precision at its end."""
    with torch.no_grad():
        truth: list[int] = []
        scores: list[float] = []
        for images, labels in _batches(loader):
            scores.extend(model(images).sigmoid().flatten().tolist())
            truth.extend(labels.flatten().tolist())
    accuracy_score(truth, np.array(scores) > 0.5)
    average_precision_score(truth, scores)
    return {str(Path(path).relative_to(folder)): score for path, score in zip(paths, scores, strict=True)}


def _batches(loader: Any) -> Iterator[tuple[Tensor, Tensor]]:
    yield from loader


WAYS: dict[str, Callable[[Path, dict[str, str]], tuple[Scores, float]]] = {
    "CNNDetection": cnndetection,
    "SIDBench": sidbench,
    "detectzoo": detectzoo,
    "torch": maibench_torch,
    "auto": maibench_auto,
    "loop alone": cnndetection_ours,
}

if __name__ == "__main__":
    way, folder, out, *named = sys.argv[1:]
    begun = time.perf_counter()
    found, seconds = WAYS[way](Path(folder), dict(each.split("=", 1) for each in named))
    Path(out).write_text(json.dumps(found))
    print(json.dumps({"seconds": seconds, "whole": time.perf_counter() - begun}))
