"""clip:MODEL: what a frozen CLIP, SigLIP or DINOv2 sees in an image, and a linear probe or nearest neighbours on it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from maibench.errors import DetectorError, MaibenchError
from maibench.models.base import Detector
from maibench.models.card import Card
from maibench.models.hub_models.files import find_files
from maibench.models.hub_models.loading import find_dtype, load_image_processor, load_network
from maibench.models.hub_models.policy import policy_facts, process
from maibench.models.hub_models.quiet import brief
from maibench.models.pixels import centre_crop, normalise, normalise_tensor, pad_to, tensor_crop

DEFAULT_C = 0.1
"""Standardised features of a few hundred dimensions want more than scikit-learn's 1."""
CALIBRATED_ON = 2048
"""Training images, at most, that the scale of neighbours' logits is found on."""


class ClipProbe(Detector):
    """Both detectors of Ojha et al. 2023 (UnivFD, arXiv 2302.10174; github.com/WisconsinAIVision/UniversalFakeDetect at
    76a0e3e): a network that was never shown which images are synthetic stays as it is, and its features of the training
    split are all that is learnt from. Any vision model of transformers that gives one vector an image will do.

    model: a folder, or OWNER/NAME[@REVISION], fetched where it is not cached. head: "linear", scikit-learn's logistic
    regression (C: how little it is regularised), or "knn" (k: neighbours in each class that are averaged; 1 as
    published). resize: False cuts the centre at native resolution, as published; True prepares an image as the model's
    own processor does. dtype: of the frozen network, float32, bfloat16, float16; auto: bfloat16 on a GPU.

    Raises MaibenchError for a place that there is not and options that it does not know; DetectorError for a model that
    cannot be loaded or gives no vector.
    """

    fitted = True
    loads: ClassVar[tuple[str, ...]] = ("model", "weights", "device")
    network: Any  # what transformers' networks have in common is more than nn.Module
    card = Card(
        name="clip",
        summary="a probe of a frozen vision model's features",
        licence="Apache-2.0 (code)",
        reference="Ojha et al. 2023 (arXiv 2302.10174), https://github.com/WisconsinAIVision/UniversalFakeDetect",
    )

    def __init__(
        self,
        *,
        model: str | Path,
        head: str = "linear",
        C: float | None = None,  # noqa: N803 - as scikit-learn calls it
        k: int | None = None,
        resize: bool = False,
        dtype: str = "float32",
        weights: str | Path | None = None,
        device: str = "cpu",
    ) -> None:
        super().__init__()
        if weights is not None:
            raise MaibenchError("clip: the SPEC says where the network is, and the head is fitted; leave weights out")
        make_head = _head(head, C, k)
        self.resize, self.dtype = resize, find_dtype(dtype, device)
        files = find_files(model)
        self.network, self.projection = _vision(files, self.dtype)
        self.processor = load_image_processor(files)
        self.settings = self.processor.to_json_string()  # is part of the fingerprint
        facts = policy_facts(self.processor, lambda image: process(self.processor, image)["pixel_values"][0])
        self.input_size = int(facts["input_size"] or getattr(self.network.config, "image_size", 224))
        self.mean, self.std = facts["mean"] or (0.0, 0.0, 0.0), facts["std"] or (1.0, 1.0, 1.0)
        self.head = make_head(_dimensions(self, files.name))
        size = f"{self.input_size} x {self.input_size}"
        if not resize:
            facts["input_policy"] = (
                f"centre crop of {size}; smaller images are padded by reflection; nothing is resized"
            )
            facts["input_size"] = self.input_size
        self.card = self.card.updated(
            summary=f"{files.title}, frozen, and {self.head.says}",
            weights=f"{files.name}; the head is fitted on the training split",
            sha256=files.sha256,
            licence=f"{self.card.licence}; {files.title}: {files.licence}",
            notes=f"{self.head.dimensions} features of a {type(self.network).__name__}; sha256 is the network's",
            **facts | {"mean": self.mean, "std": self.std},
        )

    def preprocess(self, image: NDArray[np.uint8]) -> Tensor:
        """uint8 height x width x 3 -> float32 (3, input_size, input_size)."""
        if self.resize:
            return process(self.processor, image)["pixel_values"][0]
        return normalise(centre_crop(pad_to(image, self.input_size), self.input_size), self.mean, self.std)

    def differentiable(self, pixels: Tensor) -> Tensor:
        """`preprocess` in torch: float (3, height, width) in [0, 255] -> (3, input_size, input_size).

        Raises MaibenchError with `resize`: Pillow's resizing has no gradient.
        """
        if self.resize:
            raise MaibenchError("clip: with resize=true no gradient reaches the pixels; leave resize out")
        return normalise_tensor(tensor_crop(pixels, self.input_size), self.mean, self.std)

    def fit_features(self, batch: Tensor) -> Tensor:
        """(n, 3, height, width) -> (n, d) float32, the frozen network's."""
        pooled = self.network(pixel_values=batch.to(self.dtype)).pooler_output
        return self.projection(pooled).flatten(1).float()

    def fit(self, features: NDArray[np.float32], labels: NDArray[np.int64]) -> None:
        """Fit the head. Raises MaibenchError when a class is missing."""
        if len(np.unique(labels)) < 2:
            raise MaibenchError("clip: the training split holds one class only; it needs real and synthetic images")
        self.head.fit(features, labels)
        self.head.to(self.device)

    def forward(self, batch: Tensor) -> Tensor:
        """(n, 3, height, width) -> (n,) logits. Raises MaibenchError before `fit`."""
        return self.head(self.fit_features(batch))

    def facts(self) -> dict[str, str]:
        """The head, in words."""
        return {"features": str(self.head.dimensions), "head": self.head.says}

    def parameter_count(self) -> int:
        """Of the frozen network and of a linear head; neighbours are data, not parameters."""
        frozen = sum(tensor.numel() for tensor in self.parameters())
        return frozen + (self.head.dimensions + 1 if isinstance(self.head, Linear) else 0)

    def save(self, folder: Path) -> dict[str, Any]:
        """Raises MaibenchError: the head belongs to the run that fitted it."""
        raise MaibenchError("a probe is fitted by every comparison on its own training split: name its SPEC there")


class Linear(nn.Module):
    """Logistic regression on standardised features, both classes weighing the same."""

    def __init__(self, dimensions: int, C: float) -> None:  # noqa: N803 - as scikit-learn calls it
        super().__init__()
        self.dimensions, self.C, self.says = dimensions, C, f"a linear probe (logistic regression, C={C:g})"
        self.register_buffer("weight", torch.zeros(dimensions, dtype=torch.float64))
        self.register_buffer("bias", torch.full((), torch.nan, dtype=torch.float64))

    def fit(self, features: NDArray[np.float32], labels: NDArray[np.int64]) -> None:
        """(n, d) and (n,)."""
        from sklearn.linear_model import LogisticRegression

        inputs = features.astype(np.float64)
        mean, deviation = inputs.mean(axis=0), inputs.std(axis=0)
        scale = np.where(deviation > 1e-9, deviation, 1.0)
        model = LogisticRegression(C=self.C, class_weight="balanced", max_iter=2000)
        weight = model.fit((inputs - mean) / scale, labels).coef_[0] / scale
        self.weight = torch.from_numpy(weight)
        self.bias = torch.tensor(float(model.intercept_[0] - mean @ weight), dtype=torch.float64)

    def forward(self, features: Tensor) -> Tensor:
        """(n, d) -> (n,) logits."""
        if torch.isnan(self.bias):
            raise _not_fitted()
        return features.double() @ self.weight + self.bias


class Neighbours(nn.Module):
    """By how much the nearest synthetic images of the training split are nearer, by cosine, than the nearest real ones;
    with k > 1 the mean of the k nearest of each class.

    The sign is the published decision. Its scale, which makes a probability of it, is a logistic regression without
    intercept on training images, each held against all others.
    """

    def __init__(self, dimensions: int, k: int) -> None:
        super().__init__()
        self.dimensions, self.k, self.says = dimensions, k, f"the {k} nearest neighbours in each class (cosine)"
        self.register_buffer("real", torch.zeros(0, dimensions))
        self.register_buffer("synthetic", torch.zeros(0, dimensions))
        self.register_buffer("scale", torch.full((), torch.nan, dtype=torch.float64))

    def fit(self, features: NDArray[np.float32], labels: NDArray[np.int64]) -> None:
        """(n, d) and (n,)."""
        from sklearn.linear_model import LogisticRegression

        known = F.normalize(torch.from_numpy(np.asarray(features, dtype=np.float32)), dim=1)
        truth = torch.from_numpy(labels)
        self.real, self.synthetic = known[truth == 0].clone(), known[truth == 1].clone()
        if min(len(self.real), len(self.synthetic)) < 2:
            raise MaibenchError("clip: head=knn needs two training images of each class at least")
        some = torch.from_numpy(np.unique(np.linspace(0, len(known) - 1, CALIBRATED_ON).round().astype(np.int64)))
        nearer = self._nearer(known[some], own=truth[some]).numpy()
        unit = float(np.sqrt(np.mean(nearer**2))) or 1.0
        model = LogisticRegression(class_weight="balanced", fit_intercept=False)
        slope = float(model.fit(nearer[:, None] / unit, truth[some].numpy()).coef_[0, 0])
        # neighbours that mislead on the training split say little, but they say it as published
        self.scale = torch.tensor(max(slope, 1e-3) / unit, dtype=torch.float64)

    def forward(self, features: Tensor) -> Tensor:
        """(n, d) -> (n,) logits."""
        if torch.isnan(self.scale):
            raise _not_fitted()
        return self._nearer(F.normalize(features, dim=1)) * self.scale

    def _nearer(self, features: Tensor, own: Tensor | None = None) -> Tensor:
        """(n, d), of unit length -> (n,). own: the class in which each of them is known itself, and not looked at."""
        sides = []
        for label, known in enumerate((self.real, self.synthetic)):
            is_own = torch.zeros(len(features), dtype=torch.bool) if own is None else own == label
            nearest = (features @ known.T).topk(min(self.k + 1, len(known)), dim=1).values.double()
            others = nearest[:, 1 : self.k + 1].mean(dim=1)
            sides.append(torch.where(is_own.to(others.device), others, nearest[:, : self.k].mean(dim=1)))
        return sides[1] - sides[0]


def _head(name: str, C: float | None, k: int | None) -> Callable[[int], Linear | Neighbours]:  # noqa: N803
    """What makes the head for so many features. Raises MaibenchError for options that it does not know."""
    if name not in ("linear", "knn"):
        raise MaibenchError(f"clip.head is linear or knn; got {name!r}")
    if name == "knn":
        if C is not None:
            raise MaibenchError("clip.C belongs to head=linear; leave it out, or take head=linear")
        if k is not None and (type(k) is not int or k < 1):
            raise MaibenchError(f"clip.k is a number of neighbours; got {k!r}")
        return lambda dimensions: Neighbours(dimensions, k or 1)
    if k is not None:
        raise MaibenchError("clip.k belongs to head=knn; leave it out, or take head=knn")
    if C is not None and (isinstance(C, bool) or not isinstance(C, (int, float)) or not 0 < C < float("inf")):
        raise MaibenchError(f"clip.C is a positive number; got {C!r}")
    return lambda dimensions: Linear(dimensions, DEFAULT_C if C is None else float(C))


def _vision(files: Any, dtype: torch.dtype) -> tuple[Any, nn.Module]:
    """The part of a model that sees, and what leads from there to its image embedding. Raises DetectorError."""
    from transformers import AutoModel

    whole = load_network(AutoModel, files, dtype)
    network = getattr(whole, "vision_model", whole)
    if getattr(network, "main_input_name", "") != "pixel_values":
        raise DetectorError(f"{files.name}: a {type(whole).__name__} sees no images; name a CLIP, SigLIP or DINOv2")
    return network, getattr(whole, "visual_projection", nn.Identity())


def _dimensions(detector: ClipProbe, name: str) -> int:
    """How many features an image has. Raises DetectorError where the network gives no vector."""
    blank = np.zeros((detector.input_size, detector.input_size, 3), dtype=np.uint8)
    try:
        with torch.inference_mode():
            return detector.fit_features(detector.preprocess(blank)[None]).shape[1]
    except Exception as error:  # whatever a network makes of an image that it was not made for
        kind = type(detector.network).__name__
        raise DetectorError(f"{name}: a {kind} gives no vector for an image ({brief(error)})") from error


def _not_fitted() -> MaibenchError:
    return MaibenchError("clip: not fitted yet; call fit with the features of a training split")
