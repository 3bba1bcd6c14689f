"""What all pictures share: their style, and how they are written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maibench.evaluation.table_formats import one_line

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_STYLE: dict[Any, Any] = {
    "svg.hashsalt": "maibench",
    "svg.fonttype": "path",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#666666",
    "xtick.color": "#444444",
    "ytick.color": "#444444",
    "legend.frameon": False,
    "legend.handlelength": 2.6,
}
_PIXELS_PER_INCH = 160


def drawable(text: str, longest: int = 60) -> str:
    """Text from data as matplotlib shall draw it: one line, not too long, its dollars no formulas."""
    text = one_line(text)
    text = text if len(text) <= longest else text[: longest - 1] + "…"
    return text.replace("$", r"\$")


@contextmanager
def style() -> Iterator[None]:
    """matplotlib's own defaults with ours on top, whatever the user's matplotlibrc says; restored on exit."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        yield


def save_pictures(figure: Figure, folder: str | Path, name: str) -> list[Path]:
    """Write NAME.svg and NAME.png, with the same bytes for the same figure, and return their paths."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.svg", folder / f"{name}.png"]
    figure.savefig(paths[0], metadata={"Date": None}, bbox_inches="tight")
    figure.savefig(paths[1], dpi=_PIXELS_PER_INCH, bbox_inches="tight")
    return paths
