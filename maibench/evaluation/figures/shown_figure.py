"""A figure that a notebook shows by itself."""

from __future__ import annotations

import io

from matplotlib.figure import Figure

from maibench.evaluation.figures.drawing import style

_PIXELS_PER_INCH = 110


class ShownFigure(Figure):
    """A figure that needs no pyplot to be shown, and that looks the same whatever the notebook's own style is."""

    def _repr_png_(self) -> bytes:
        picture = io.BytesIO()
        with style():
            self.savefig(picture, format="png", dpi=_PIXELS_PER_INCH, bbox_inches="tight")
        return picture.getvalue()
