"""What a page is put together from: blocks in sections."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Block:
    """A part of a section: which macro of the template shows it, what of, its title and the lines under it.

    kind: "grid" or "shaded" (a Table), "pair" (blocks side by side), "fold" (blocks that its title opens), "figure",
    "lines", "lights" (what an audit found), "facts", or one of the parts that exist once: "roc", "gallery", "cards".
    """

    kind: str
    content: Any
    title: str = ""
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Section:
    """A heading of the page with its anchor; without blocks it is left out."""

    name: str
    title: str
    blocks: list[Block] = field(default_factory=list)
