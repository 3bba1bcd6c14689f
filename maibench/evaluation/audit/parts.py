"""What an audit finds: the form that each of its parts has."""

from __future__ import annotations

from dataclasses import dataclass, field

LIGHTS = ("red", "yellow", "green", "grey")
"""red: it decides results. yellow: look at it. green: nothing, or next to nothing. grey: it cannot be told."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    name: what, the same from run to run. light: one of LIGHTS. says: one sentence with the numbers. todo: what to do
    about it. value, lo, hi: its number and the 95 % interval, None where there is none.
    """

    name: str
    light: str
    says: str
    todo: str = ""
    value: float | None = None
    lo: float | None = None
    hi: float | None = None


@dataclass(frozen=True)
class Grid:
    """A table of texts and numbers; None is an empty cell."""

    title: str
    columns: list[str]
    rows: list[list[object]]
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Shot:
    """A picture, as the bytes of a PNG."""

    title: str
    png: bytes
    caption: str = ""


@dataclass(frozen=True)
class Part:
    """What one part of the audit found."""

    name: str
    title: str
    findings: list[Finding] = field(default_factory=list)
    grids: list[Grid] = field(default_factory=list)
    shots: list[Shot] = field(default_factory=list)
