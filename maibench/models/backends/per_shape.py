"""Functions that are made for one shape of input."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from torch import Tensor

Logits = Callable[[Tensor], Tensor]


class PerShape:
    """A function of a tensor, by a form of it that is made for one shape when that shape comes for the second time.

    At most `most` shapes have a form; any other goes through `plain`, until it has come twice as often as one that has,
    which then gives way. make: an example -> its form, for tensors laid out alike.

    Not for several threads at once.
    """

    def __init__(self, plain: Logits, make: Callable[[Tensor], Logits], most: int) -> None:
        self.plain = plain
        self.make = make
        self.most = most
        self.made: dict[Any, Logits] = {}
        self._seen: Counter[Any] = Counter()

    def __call__(self, x: Tensor) -> Tensor:
        key = (x.dtype, tuple(x.shape), x.stride())
        self._seen[key] += 1
        form = self.made.get(key) or self._new(key, x)
        return form(x)

    def _new(self, key: Any, x: Tensor) -> Logits:
        seen = self._seen[key]
        rarest = min(self.made, key=lambda each: self._seen[each]) if len(self.made) >= self.most else None
        if seen == 1 or (rarest is not None and seen < 2 * self._seen[rarest]):
            return self.plain
        self.made[key] = self.make(x)
        if rarest is not None:
            del self.made[rarest]
        return self.made[key]
