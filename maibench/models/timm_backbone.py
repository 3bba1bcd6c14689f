"""timm: any backbone of timm with one logit or two classes, to be finetuned or with weights of the user's."""

from __future__ import annotations

import difflib
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from maibench.errors import DetectorError, MaibenchError
from maibench.models.base import Detector
from maibench.models.card import IMAGENET_MEAN, IMAGENET_STD, Card
from maibench.models.pixels import centre_crop, normalise, normalise_tensor, pad_to, tensor_crop


class TimmDetector(Detector):
    """A backbone of timm (github.com/huggingface/pytorch-image-models) whose classifier is one logit, as Wang et al.
    2020 (arXiv 1912.11035) turn a network for ImageNet into a detector. Nothing is resized: that wipes out what a
    generator leaves in neighbouring pixels. Its SPEC is timm:ARCH@FILE, where FILE are weights of such a network, by
    timm's names or by ours.

    backbone: a name of `timm.list_models()`, with or without the tag of its weights. pretrained: begin with timm's
    weights of it, which are downloaded where they are not cached; never done for weights that a file fills anyway.
    input_size: pixels a side of the crop (None: what the backbone was made for). synthetic: for a classifier of two
    classes, the number (0 or 1) of the synthetic one; the logit is its score less that of the other.

    Raises MaibenchError where timm is not installed, for a name that it does not have, and for weights that cannot be
    fetched.
    """

    loads: ClassVar[tuple[str, ...]] = ("pretrained",)
    concurrent: ClassVar[bool] = True
    network: Any  # what timm's networks have in common is more than nn.Module
    card = Card(
        name="timm",
        summary="a backbone of timm with one logit",
        licence="Apache-2.0 (code; timm is Apache-2.0)",
        reference="https://github.com/huggingface/pytorch-image-models",
        input_policy="centre crop; smaller images are padded by reflection; nothing is resized",
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
    )

    def __init__(
        self,
        *,
        backbone: str = "mobilenetv4_conv_small",
        pretrained: bool = False,
        input_size: int | None = None,
        synthetic: int | None = None,
    ) -> None:
        super().__init__()
        if synthetic not in (None, 0, 1) or isinstance(synthetic, bool):
            raise MaibenchError(f"timm.synthetic is the number of a class, 0 or 1; got {synthetic!r}")
        own = _default_config(backbone)
        self.backbone = backbone
        self.input_size = int(own["input_size"][-1]) if input_size is None else _size(input_size)
        self.mean, self.std = tuple(own["mean"]), tuple(own["std"])
        self.synthetic = synthetic
        self.classes = 1 if synthetic is None else 2
        self.classifier = own.get("classifier")
        self.network = _make(backbone, pretrained, own, self.input_size, self.classes)
        self.to(memory_format=torch.channels_last)
        size = f"{self.input_size} x {self.input_size}"
        licence = f"; timm's weights of the backbone: {own['license']}" if own.get("license") else ""
        self.card = self.card.updated(
            summary=f"{backbone} of timm with "
            + ("one logit" if synthetic is None else f"two classes, of which {synthetic} is the synthetic one"),
            licence=f"{self.card.licence}{licence}",
            input_size=self.input_size,
            input_policy=f"centre crop of {size}; smaller images are padded by reflection; nothing is resized",
            mean=self.mean,
            std=self.std,
        )

    def preprocess(self, image: NDArray[np.uint8]) -> Tensor:
        """uint8 height x width x 3 -> float32 (3, input_size, input_size)."""
        return normalise(centre_crop(pad_to(image, self.input_size), self.input_size), self.mean, self.std)

    def differentiable(self, pixels: Tensor) -> Tensor:
        """`preprocess` in torch: float (3, height, width) in [0, 255] -> (3, input_size, input_size)."""
        return normalise_tensor(tensor_crop(pixels, self.input_size), self.mean, self.std)

    def forward(self, batch: Tensor) -> Tensor:
        """(n, 3, input_size, input_size) -> (n,) logits."""
        scores = self.network(batch.contiguous(memory_format=torch.channels_last))
        if self.synthetic is None:
            return scores.squeeze(1)
        return scores[:, self.synthetic] - scores[:, 1 - self.synthetic]

    @classmethod
    def options_of_spec(cls, spec: str) -> dict[str, Any]:
        """timm:ARCH or timm:ARCH@FILE -> the backbone, and where its weights are. Raises MaibenchError for neither."""
        backbone, at, file = spec.partition(":")[2].partition("@")
        if not backbone or (at and not file):
            raise MaibenchError(
                f"'{spec}': write timm:ARCH@FILE, a backbone of timm and a safetensors file of its weights"
            )
        return {"backbone": backbone} | ({"weights": file} if at else {})

    def rename_official(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Weights by timm's names -> by ours. Raises DetectorError for another number of classes than expected."""
        if not any(name.startswith("network.") for name in tensors):
            tensors = {f"network.{name}": tensor for name, tensor in tensors.items()}
        weight = tensors.get(f"network.{self.classifier}.weight")
        if weight is None or len(weight) == self.classes:
            return tensors  # of a classifier that is called otherwise, loading tells what does not fit
        if len(weight) == 2:
            raise DetectorError(
                f"timm: {self.backbone}: the weights have two classes; say which of them is the synthetic one: --set "
                "LABEL.synthetic=0 or LABEL.synthetic=1"
            )
        hint = "; leave 'synthetic' out" if len(weight) == 1 else "; a detector has one logit or two classes"
        raise DetectorError(f"timm: {self.backbone}: the weights have {len(weight)} outputs, not {self.classes}{hint}")

    def save_memory(self) -> None:
        """Recompute activations in the backward pass. Raises MaibenchError where the backbone cannot."""
        try:
            self.network.set_grad_checkpointing(True)
        except (AttributeError, AssertionError) as error:  # timm's two ways of not having it
            raise MaibenchError(
                f"timm: {self.backbone} cannot recompute its activations; leave 'checkpointing' out"
            ) from error


def _default_config(backbone: str) -> dict[str, Any]:
    """What timm knows of a backbone: input_size (3, height, width), mean, std, license, fixed_input_size.

    Raises MaibenchError where timm is not installed or does not have the backbone.
    """
    try:
        import timm
    except ImportError as error:
        raise MaibenchError(f"timm is not installed ({error}): pip install 'maibench[timm]'") from error
    if not isinstance(backbone, str) or not timm.is_model(backbone):
        near = difflib.get_close_matches(str(backbone).partition(".")[0], timm.list_models(), n=3)
        hint = f"did you mean {', '.join(near)}? " if near else ""
        raise MaibenchError(f"timm has no backbone '{backbone}': {hint}timm.list_models() lists all")
    try:
        config = timm.get_pretrained_cfg(backbone)
    except RuntimeError as error:  # a tag that it does not have
        known = ", ".join(timm.list_pretrained(backbone.partition(".")[0]))
        raise MaibenchError(f"timm: backbone '{backbone}': {error} There are {known or 'none'}") from error
    usual = {"input_size": (3, 224, 224), "mean": IMAGENET_MEAN, "std": IMAGENET_STD}
    return usual | (config.to_dict() if config is not None else {})


def _make(backbone: str, pretrained: bool, config: dict[str, Any], size: int, classes: int) -> Any:
    import timm
    from huggingface_hub.errors import HfHubHTTPError

    options: dict[str, Any] = {}
    if config.get("fixed_input_size") and tuple(config["input_size"][1:]) != (size, size):
        options["img_size"] = size  # others take any size, and no such argument
    try:
        return timm.create_model(backbone, pretrained=pretrained, num_classes=classes, **options)
    except (HfHubHTTPError, OSError, RuntimeError, ValueError, TypeError, AssertionError) as error:
        reason = " ".join(str(error).split())[:200]
        hint = "; where there is no network, leave 'pretrained' out" if pretrained else ""
        raise MaibenchError(
            f"timm: {backbone} of {size} x {size} pixels cannot be built ({type(error).__name__}: {reason}){hint}"
        ) from error


def _size(size: object) -> int:
    if type(size) is not int or size < 1:
        raise MaibenchError(f"timm.input_size is a whole number of pixels a side; got {size!r}")
    return size
