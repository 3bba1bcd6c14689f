"""One batch of several images' inputs to a VLM, as its own processor would have made it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

TOKENS = "input_ids"


def pad_together(items: Sequence[Mapping[str, Tensor]], pad_token: int) -> dict[str, Tensor]:
    """Inputs of n images -> of one batch: texts are padded on the left, so that all end where the answer begins.

    items: tensors whose first dimension is one text or counts images or patches. Those shaped as the text are padded as
    it is; any other that differs in a dimension besides the first is filled with zeros at its end, which is how
    processors write missing tiles, and marked in the masks beside it.
    """
    length = max(item[TOKENS].shape[1] for item in items)
    return {
        name: torch.cat(
            [_left(item[name], length, pad_token if name == TOKENS else 0) for item in items]
            if _is_text(items, name)
            else _filled([item[name] for item in items])
        )
        for name in items[0]
    }


def positions(mask: Tensor) -> Tensor | None:
    """(n, length) positions of tokens counted from the first that is not padding; None where nothing is padded."""
    return None if bool(mask.all()) else (mask.long().cumsum(-1) - 1).clamp_min(0)


def _is_text(items: Sequence[Mapping[str, Tensor]], name: str) -> bool:
    return all(item[name].shape == item[TOKENS].shape for item in items)


def _left(tensor: Tensor, length: int, value: int) -> Tensor:
    return F.pad(tensor, (length - tensor.shape[1], 0), value=value)


def _filled(tensors: list[Tensor]) -> list[Tensor]:
    sizes = [max(sides) for sides in zip(*(tensor.shape[1:] for tensor in tensors), strict=True)]
    filled = []
    for tensor in tensors:
        missing = [size - side for size, side in zip(sizes, tensor.shape[1:], strict=True)]
        ends = [end for count in reversed(missing) for end in (0, count)]
        filled.append(F.pad(tensor, ends) if any(missing) else tensor)
    return filled
