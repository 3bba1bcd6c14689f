"""metadata: a classifier that sees the file but never the pixels. What it gets right, the data set gives away."""

from __future__ import annotations

import io
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from maibench.errors import MaibenchError
from maibench.models.base import Detector
from maibench.models.card import Card

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
BINS = 8
"""Every feature is cut into at most this many bins of equal counts, so that a linear model can follow any shape."""

NAMES = (
    *(f"is_{name.lower()}" for name in FORMATS),
    "width",
    "height",
    "aspect",
    "multiple_of_64",
    "bytes_per_pixel",
    "quantisation_luma",
    "quantisation_chroma",
    "subsampled",
    "progressive",
    "exif",
    "colour_profile",
)


class Metadata(Detector):
    """Format, width, height, bytes per pixel, JPEG quantisation tables, EXIF and colour profile, each cut into bins of
    the training split, and scikit-learn's logistic regression on them. A data set whose labels it can tell is leaking
    (Grommelt et al. 2024, arXiv 2403.17608)."""

    reads = "file"
    fitted = True
    concurrent: ClassVar[bool] = True
    card = Card(
        name="metadata",
        summary="what the file says, never its pixels",
        weights="fitted on the training split",
        licence="Apache-2.0",
        reference="scikit-learn; after Grommelt et al. 2024 (arXiv 2403.17608)",
        input_policy="reads the header and the size of the file; no pixel is used",
    )

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("edges", torch.full((len(NAMES), BINS - 1), torch.inf, dtype=torch.float64))
        self.register_buffer("coefficients", torch.zeros(len(NAMES), BINS, dtype=torch.float64))
        self.register_buffer("intercept", torch.full((), torch.nan, dtype=torch.float64))

    def preprocess(self, image: Any) -> Tensor:
        """An `ImageFile` -> float64 (features,)."""
        return torch.tensor(describe(image), dtype=torch.float64)

    def fit(self, features: NDArray[np.float32], labels: NDArray[np.int64]) -> None:
        """Find the bins and the weights. Raises MaibenchError when a class is missing."""
        from sklearn.linear_model import LogisticRegression

        if len(np.unique(labels)) < 2:
            raise MaibenchError("metadata: the training split holds one class only; it needs real and synthetic images")
        quantiles = np.linspace(0, 1, BINS + 1)[1:-1]
        self.edges = torch.from_numpy(np.quantile(features, quantiles, axis=0).T.astype(np.float64).copy())
        inputs = self._binned(torch.from_numpy(np.asarray(features, dtype=np.float64))).flatten(1).numpy()
        model = LogisticRegression(C=1.0, class_weight="balanced", max_iter=1000).fit(inputs, labels)
        self.coefficients = torch.from_numpy(model.coef_.reshape(len(NAMES), BINS).copy())
        self.intercept = torch.tensor(float(model.intercept_[0]), dtype=torch.float64)

    def forward(self, batch: Tensor) -> Tensor:
        """(n, features) -> (n,) logits. Raises MaibenchError before `fit`."""
        if torch.isnan(self.intercept):
            raise MaibenchError("metadata: not fitted yet; call fit with a training split")
        return (self._binned(batch) * self.coefficients).sum(dim=(1, 2)) + self.intercept

    def _binned(self, features: Tensor) -> Tensor:
        """(n, features) -> (n, features, BINS): 1 in the bin that a value falls into."""
        index = (features[:, :, None] > self.edges).sum(dim=2)
        return torch.nn.functional.one_hot(index, BINS).to(torch.float64)


def describe(image: Any) -> list[float]:
    """The numbers named in NAMES for one `ImageFile`."""
    tables: dict[int, list[int]] = {}
    subsampled = progressive = 0.0
    with Image.open(io.BytesIO(image.data)) as opened:
        if image.format == "JPEG":
            tables = getattr(opened, "quantization", {})
            layers = getattr(opened, "layer", [])
            subsampled = float(len(layers) == 3 and layers[0][1:3] != layers[1][1:3])
            progressive = float("progressive" in opened.info)
        exif = float("exif" in opened.info)
        profile = float("icc_profile" in opened.info)
    pixels = image.width * image.height
    return [
        *(float(image.format == name) for name in FORMATS),
        float(image.width),
        float(image.height),
        image.width / image.height,
        float(image.width % 64 == 0 and image.height % 64 == 0),
        len(image.data) / pixels,
        float(np.mean(tables[0])) if 0 in tables else 0.0,
        float(np.mean(tables[1])) if 1 in tables else 0.0,
        subsampled,
        progressive,
        exif,
        profile,
    ]
