"""What all pictures share: their style, what a detector looks like, and how pictures are written."""

from __future__ import annotations

import bisect
import functools
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maibench.evaluation.tables.formats import one_line
from maibench.files import make_folder, write_text, write_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.font_manager import FontProperties

# Okabe and Ito's colour-blind-safe palette (https://jfly.uni-koeln.de/color/), without its yellow, too pale for a
# line on white. Seven colours, five dashes and eight markers share no factor: 35 detectors before a line repeats.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000", "#E69F00", "#56B4E9")
DASHES: tuple[tuple[float, ...], ...] = ((), (5, 1.5), (1, 1), (5, 1, 1, 1), (9, 2, 3, 2))
"""Lengths of line and gap in turns, in units of the line's width; () is a solid line."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")

FORMATS = ("svg", "png", "pdf")

_STYLE: dict[Any, Any] = {
    "svg.hashsalt": "maibench",
    "svg.fonttype": "path",
    "pdf.fonttype": 42,  # publishers refuse Type 3
    "font.size": 8,
    "axes.labelsize": 8,
    "axes.titlesize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#666666",
    "axes.axisbelow": True,
    "grid.color": "#eeeeee",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.3,
    "lines.markersize": 4,
    "hatch.linewidth": 0.5,
    "xtick.color": "#444444",
    "ytick.color": "#444444",
    "legend.frameon": False,
    "legend.handlelength": 2.6,
}
_PIXELS_PER_INCH = 200
_MARGIN = 0.04  # inches


def line_style(place: int) -> dict[str, Any]:
    """Colour, dashes and marker of the detector in this place of the table, as matplotlib's plot() takes them."""
    dash = DASHES[place % len(DASHES)]
    return {
        "color": COLOURS[place % len(COLOURS)],
        "linestyle": (0, dash) if dash else "-",
        "marker": MARKERS[place % len(MARKERS)],
    }


def drawable(text: object, longest: int = 60) -> str:
    """Text from data as matplotlib shall draw it: one line, not too long, its dollars no formulas.

    What is too long loses its middle: names that differ at their end still do. A character that the font lacks is
    written as its code point, U+4E2D.
    """
    return _shortened(_known_characters(text), longest).replace("$", r"\$")


def fitting(text: object, inches: float, points: float = 8, bold: bool = False) -> str:
    """`drawable` text, of at most 60 characters, that is no wider than so many inches in this size of type."""
    known = _known_characters(text)
    lengths = range(3, min(len(known), 60) + 1)
    fits = bisect.bisect(lengths, inches, key=lambda n: text_width(_shortened(known, n), points, bold))
    return _shortened(known, lengths[fits - 1] if fits else 3).replace("$", r"\$")


@functools.lru_cache(10_000)
def text_width(text: str, points: float = 8, bold: bool = False) -> float:
    """Inches that a `drawable` text takes in this size of type."""
    from matplotlib.textpath import text_to_path

    font = _font(bold)
    font.set_size(points)
    return text_to_path.get_text_width_height_descent(text.replace(r"\$", "$"), font, ismath=False)[0] / 72


@contextmanager
def style() -> Iterator[None]:
    """matplotlib's own defaults with ours on top, whatever the user's matplotlibrc says; restored on exit."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        yield


def save_pictures(figure: Figure, folder: str | Path, name: str) -> list[Path]:
    """Write NAME.svg, NAME.png and NAME.pdf, with the same bytes for the same figure, and return their paths.

    To be called within `style`. No text of the figure is in the SVG as text. A layout engine runs once; the margins
    around what is drawn are cut.
    """
    make_folder(Path(folder))
    paths = picture_paths(folder, name)
    figure.set_dpi(_PIXELS_PER_INCH)
    figure.draw_without_rendering()
    # without any engine, as even one that does nothing has each picture drawn twice
    figure.set_layout_engine(None)
    how: dict[str, Any] = {"bbox_inches": figure.get_tightbbox().padded(_MARGIN)}
    write_whole(paths[0], lambda part: figure.savefig(part, metadata={"Date": None}, **how))
    # matplotlib repeats every text in a comment beside its shapes
    write_text(paths[0], re.sub(r"[ \t]*<!--.*?-->\n?", "", paths[0].read_text("utf-8"), flags=re.DOTALL))
    write_whole(paths[1], lambda part: figure.savefig(part, dpi=_PIXELS_PER_INCH, **how))
    write_whole(paths[2], lambda part: figure.savefig(part, metadata={"CreationDate": None}, **how))
    return paths


def save_picture(figure: Figure, path: Path) -> None:
    """Write a figure as the path's ending says, one of `FORMATS`. To be called within `style`; the figure stays as it
    is."""
    make_folder(path.parent)
    how: dict[str, Any] = {"format": path.suffix[1:], "dpi": _PIXELS_PER_INCH, "bbox_inches": "tight"}
    write_whole(path, lambda part: figure.savefig(part, **how))


def picture_paths(folder: str | Path, name: str) -> list[Path]:
    """Where `save_pictures` writes: an SVG, a PNG and a PDF."""
    return [Path(folder) / f"{name}.{ending}" for ending in FORMATS]


def _known_characters(text: object) -> str:
    return "".join(c if ord(c) in _characters() else f"U+{ord(c):04X}" for c in one_line(text))


def _shortened(text: str, longest: int) -> str:
    end = longest // 3
    return text if len(text) <= longest else text[: longest - 1 - end] + "…" + text[len(text) - end :]


@functools.cache
def _characters() -> frozenset[int]:
    """The code points that matplotlib's own font has, both plain and bold."""
    from matplotlib.font_manager import findfont, get_font

    fonts = [get_font(findfont(_font(bold))) for bold in (False, True)]
    return frozenset.intersection(*(frozenset(font.get_charmap()) for font in fonts))


def _font(bold: bool) -> FontProperties:
    from matplotlib.font_manager import FontProperties

    return FontProperties(family="DejaVu Sans", weight="bold" if bold else "normal")
