"""AEROBLADE-type: how far an image is from its own reconstruction by autoencoders."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from maibench.errors import DetectorError, MaibenchError
from maibench.models.base import Detector
from maibench.models.card import Card
from maibench.models.frozen import Frozen
from maibench.models.logistic import CalibratedLogistic
from maibench.models.pixels import centre_crop, pad_to
from maibench.models.weights import sha256

if TYPE_CHECKING:
    from maibench.datasets.vaes import Choice

NANO = "nano-sd1.5,nano-sdxl,nano-flux.1,nano-flux.2"
SCALES = (1, 2, 4)
"""The image is made this many times smaller before its gradients are compared."""
DISTANCES = 1 + len(SCALES)
FLOOR = 1e-6
"""Below which a distance is no smaller: a flat image is reconstructed exactly."""
_loading = threading.Lock()


class Aeroblade(Detector):
    """After Ricker et al. 2024 (CVPR, arXiv 2401.17879): an autoencoder reconstructs what came out of its own kind of
    decoder better than it does a photograph. The idea was read in github.com/jonasricker/aeroblade at 50fc2b2.

    Of each autoencoder the mean squared error and the difference of gradients at SCALES, of each distance the smallest
    over the autoencoders (the paper's score), and how much gradient the image has (the paper finds that distances grow
    with it); a calibrated logistic regression on their logarithms. Other than in the paper the distance is not LPIPS,
    whose network is not bundled, and something is fitted.

    vae: autoencoders as `maibench data reconstruct --vae` names them: bundled nano ones, published ones (`sd1.5`: they
    are fetched when named) and folders in diffusers' layout, comma-separated. size: pixels a side of the crop.
    """

    fitted = True
    concurrent: ClassVar[bool] = True
    card = Card(
        name="aeroblade",
        summary="reconstruction error of autoencoders, a linear classifier",
        weights="fitted on the training split; autoencoders: bundled, or named",
        licence="Apache-2.0 (this code and the nano autoencoders)",
        reference="arXiv 2401.17879 (CVPR 2024); https://github.com/jonasricker/aeroblade",
        input_policy="centre crop of 256 x 256; smaller images are padded by reflection; nothing is resized",
        notes=(
            "Not the published AEROBLADE, which takes the second layer of LPIPS on whole images of 512 x 512, the "
            "autoencoders of the generators themselves (SD 1, SD 2, Kandinsky 2.1), and fits nothing; it reports a "
            "mean average precision of 0.992 over seven generators. The nano autoencoders reconstruct coarsely and say "
            "little of published ones: name those (vae=sd1.5,sdxl,flux.1,flux.2) where there is a GPU"
        ),
    )

    def __init__(self, *, vae: str = NANO, size: int = 256) -> None:
        super().__init__()
        from maibench.datasets.vaes import choose

        if type(size) is not int or size < 32 or size % 32:
            raise MaibenchError(f"aeroblade.size is pixels a side, a multiple of 32; got {size!r}")
        self.vae, self.size = str(vae), size
        choices = choose(self.vae)
        names = [choice.name for choice in choices]
        self.identities = tuple(map(_identity, _specs(self.vae), choices))
        self.autoencoders: Frozen | None = None  # importing diffusers takes seconds: not before they are needed
        self.head = CalibratedLogistic(DISTANCES * (len(names) + 1) + len(SCALES), "aeroblade")
        self.card = self.card.updated(
            input_size=size,
            input_policy=f"centre crop of {size} x {size}; smaller images are padded by reflection; nothing is resized",
            summary=f"reconstruction error of {len(names)} autoencoders ({', '.join(names)}), a linear classifier",
        )

    def preprocess(self, image: NDArray[np.uint8]) -> Tensor:
        """uint8 height x width x 3 -> uint8 (size, size, 3)."""
        return torch.from_numpy(np.array(centre_crop(pad_to(image, self.size), self.size)))

    def fit_features(self, batch: Tensor) -> Tensor:
        """uint8 (n, size, size, 3) -> float64 (n, features): logarithms of distances and gradients."""
        from maibench.datasets.roundtrip import reconstruct

        images = list(batch.cpu().numpy())
        original = _planes(batch)
        rows = []
        for model in self._loaded().network:
            again = torch.from_numpy(np.stack(reconstruct(model, images, str(batch.device)))).to(batch.device)
            rows.append(distances(original, _planes(again)))
        nearest = torch.stack(rows).amin(dim=0)
        activity = torch.stack([_gradients(original, scale).abs().mean(dim=(1, 2, 3)) for scale in SCALES], dim=1)
        return torch.cat([*rows, nearest, activity], dim=1).clamp(min=FLOOR).log().double()

    def fit(self, features: NDArray[np.float32], labels: NDArray[np.int64]) -> None:
        """Find the weights. Raises MaibenchError when a class is missing."""
        self.head.fit(features, labels)

    def forward(self, batch: Tensor) -> Tensor:
        """uint8 (n, size, size, 3) -> (n,) logits. Raises MaibenchError before `fit`."""
        return self.head(self.fit_features(batch))

    def check_ready(self) -> None:
        """Raises DetectorError where an autoencoder cannot be loaded."""
        self._loaded()

    def _loaded(self) -> Frozen:
        from maibench.datasets.vaes import choose

        with _loading:
            if self.autoencoders is None:
                try:
                    models = nn.ModuleList([choice.load() for choice in choose(self.vae)])
                except MaibenchError as error:
                    raise DetectorError(f"aeroblade: {error}") from error
                self.autoencoders = Frozen(models).to(self.device)
            return self.autoencoders


def distances(first: Tensor, second: Tensor) -> Tensor:
    """(n, 3, height, width) in [0, 1], twice -> (n, DISTANCES): the mean squared error, and at each of SCALES the mean
    absolute difference of horizontal and vertical gradients."""
    found = [((first - second) ** 2).mean(dim=(1, 2, 3))]
    found += [(_gradients(first, scale) - _gradients(second, scale)).abs().mean(dim=(1, 2, 3)) for scale in SCALES]
    return torch.stack(found, dim=1)


def _gradients(planes: Tensor, scale: int) -> Tensor:
    """(n, 6, h - 1, w - 1): how much each colour rises downwards and to the right."""
    small = F.avg_pool2d(planes, scale) if scale > 1 else planes
    corner = small[:, :, :-1, :-1]
    return torch.cat([small[:, :, 1:, :-1] - corner, small[:, :, :-1, 1:] - corner], dim=1)


def _planes(batch: Tensor) -> Tensor:
    return batch.permute(0, 3, 1, 2).float() / 255


def _specs(vae: str) -> list[str]:
    """What each item of `vae` names, without the name that it is given."""
    items = [item.strip() for item in vae.split(",") if item.strip()]
    return [item.partition("=")[2] or item for item in items]


def _identity(spec: str, choice: Choice) -> str:
    """What tells an autoencoder from another of the same name: the hash of its file, or the pinned repository."""
    from maibench.datasets.autoencoders import weights_file
    from maibench.datasets.vaes import FILE

    path = weights_file(spec) if choice.origin == "bundled" else Path(choice.origin)
    inside = next((place / FILE for place in (path, path / "vae") if (place / FILE).is_file()), path)
    return sha256(inside) if inside.is_file() else choice.origin
