"""What an image processor of transformers does with an image: as facts for a card, and done without surprises."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from maibench.errors import ImageError
from maibench.models.hub_models.quiet import brief

PROBES = ((60, 90), (700, 400))
"""Heights and widths that a processor is tried on: where both come out alike, every image does."""


def policy_facts(processor: Any, read: Callable[[NDArray[np.uint8]], Tensor] | None = None) -> dict[str, Any]:
    """`input_size`, `input_policy`, `mean` and `std` of a card.

    read: pixels, height x width x 3 -> (3, height, width) that the network sees; None where it sees tiles or patches,
    and no size is said.
    """
    facts: dict[str, Any] = {"input_policy": _policy(processor), "mean": None, "std": None}
    if getattr(processor, "do_normalize", False):
        facts |= {name: _triple(getattr(processor, f"image_{name}", None)) for name in ("mean", "std")}
    if timm := getattr(processor, "data_config", None):
        facts |= {name: _triple(timm.get(name)) for name in ("mean", "std")}
    sizes = {tuple(read(np.zeros((*size, 3), np.uint8)).shape[1:]) for size in PROBES} if read else set()
    is_square = len(sizes) == 1 and len(set(next(iter(sizes)))) == 1
    return facts | {"input_size": next(iter(sizes))[0] if is_square else None}


def process(processor: Any, image: NDArray[np.uint8], **inputs: Any) -> dict[str, Tensor]:
    """A processor's tensors for one image, uint8 height x width x 3. Raises ImageError for an image that it refuses."""
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        what = f"{image.dtype} {list(image.shape)}" if isinstance(image, np.ndarray) else f"a {type(image).__name__}"
        raise ImageError(f"expected uint8 height x width x 3, got {what}")
    picture = Image.fromarray(image)
    # the layout is said: an image of 1 or 3 rows is taken for one with its colours first; timm's takes pictures alone
    layout = {} if hasattr(processor, "data_config") else {"input_data_format": "channels_last"}
    try:
        images = [[picture]] if "text" in inputs else picture
        return dict(processor(images=images, return_tensors="pt", **layout, **inputs))
    except Exception as error:  # every processor has its own ways to refuse a shape
        height, width = image.shape[:2]
        raise ImageError(f"{width} x {height} pixels: the model's own processor fails ({brief(error)})") from error


def _policy(processor: Any) -> str:
    steps = []
    if getattr(processor, "do_resize", False):
        steps.append(_resized(_size(processor, "size"), getattr(processor, "resample", None)))
    if getattr(processor, "crop_pct", None):
        steps.append(f"crop_pct {processor.crop_pct}")
    if getattr(processor, "do_center_crop", False):
        crop = _size(processor, "crop_size")
        steps.append(f"centre crop of {crop.get('width', '?')} x {crop.get('height', '?')}")
    if timm := getattr(processor, "data_config", None):
        _, height, width = timm["input_size"]
        steps.append(
            f"resized ({timm['interpolation']}), then a crop of {width} x {height} (crop_pct {timm['crop_pct']:g}, "
            f"{timm['crop_mode']})"
        )
    if getattr(processor, "do_image_splitting", False) or getattr(processor, "do_pan_and_scan", False):
        steps.append("large images also in tiles")
    name = type(processor).__name__
    return f"{', then '.join(steps) or 'not resized'}, by its own {name} (transformers, Pillow's resizing)"


def _resized(size: Mapping[str, Any], resample: Any) -> str:
    ways = {int(way): way.name.lower() for way in Image.Resampling}
    way = ways.get(int(resample), "unknown filter") if resample is not None else "unknown filter"
    if "height" in size and "width" in size:
        return f"resized to {size['width']} x {size['height']} ({way}, aspect ratio not kept)"
    limits = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in size.items())
    return f"resized ({way}) to {limits or 'a size of its own'}"


def _size(processor: Any, name: str) -> dict[str, Any]:
    size = getattr(processor, name, None)
    if isinstance(size, int):
        return {"height": size, "width": size}
    return {key: value for key, value in dict(size or {}).items() if value is not None}


def _triple(colour: Any) -> tuple[float, ...] | None:
    return tuple(map(float, colour)) if isinstance(colour, (list, tuple)) and len(colour) == 3 else None
