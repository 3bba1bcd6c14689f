"""What all images of a generator have at the same place: mean images, and marks that stand still in them."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import uniform_filter

from maibench.datasets.image import Pixels

FRAME, CORNER = 96, 48
"""A thumbnail: the image squeezed to FRAME x FRAME, and beside it its four corners, CORNER x CORNER pixels each."""
MIN_IMAGES = 30
"""A mean of fewer images says nothing."""
MOST = 100
"""So many generators have a mean image of their own; those that come later share one, so that memory stays flat."""
OTHERS = "other generators"
REAL = "real"
_PANELS = (
    ("anywhere", 0, 0, FRAME),
    ("top left", 0, FRAME, CORNER),
    ("top right", 0, FRAME + CORNER, CORNER),
    ("bottom left", CORNER, FRAME, CORNER),
    ("bottom right", CORNER, FRAME + CORNER, CORNER),
)
_AROUND = 7
_CLIPPED = 24
_WINDOW, _TIMES = 9, 6.0
"""Of 200 sets of 35 to 500 photographs against 1,000 others, none differed in any 9 x 9 by more than 3.8 times what it
did elsewhere."""


@dataclass(frozen=True)
class Mark:
    """Something that stands still in a generator's images.

    n: of how many images; where: of which panel; times: how much more the mean detail differs from that of the other
    class there, squared, than elsewhere; strength: by how many grey levels at most; seen: where, as a mask (FRAME,
    FRAME + 2 x CORNER).
    """

    generator: str
    n: int
    where: str
    times: float
    strength: float
    seen: NDArray[np.bool_]


def thumbnail(pixels: Pixels) -> NDArray[np.uint8]:
    """An image as (FRAME, FRAME + 2 x CORNER, 3): all of it, squeezed, and its corners as they are, their edges
    repeated where the image is smaller. pixels: uint8 (height, width, 3)."""
    small = np.empty((FRAME, FRAME + 2 * CORNER, 3), dtype=np.uint8)
    small[:, :FRAME] = Image.fromarray(pixels).resize((FRAME, FRAME), Image.Resampling.BOX, reducing_gap=2.0)
    missing = [max(0, CORNER - length) for length in pixels.shape[:2]]
    for _, top, left, side in _PANELS[1:]:
        rows = slice(0, side) if top == 0 else slice(-side, None)
        columns = slice(0, side) if left == FRAME else slice(-side, None)
        corner = pixels[rows, columns]
        if any(missing):
            corner = np.pad(corner, ((0, missing[0]), (0, missing[1]), (0, 0)), "edge")
        small[top : top + side, left : left + side] = corner
    return small


class MeanImages:
    """Mean images by generator, made one thumbnail at a time; memory does not grow with the number of images.

    All sums are of whole numbers: the order of the images changes nothing.
    """

    def __init__(self) -> None:
        self._sums: dict[str, _Sums] = {}

    def add(self, generator: str, thumbnail: NDArray[np.uint8]) -> None:
        """Take an image in, by what `thumbnail` makes of it."""
        known = generator in self._sums or len(self._sums) < MOST
        self._sums.setdefault(generator if known else OTHERS, _Sums.none()).add(thumbnail)

    def counts(self) -> dict[str, int]:
        """How many images of each generator were taken in."""
        return {name: int(sums.n) for name, sums in self._sums.items()}

    def marks(self) -> list[Mark]:
        """What stands still in the images of a generator and not in real ones, the strongest first; in real images: and
        not in synthetic ones.

        Compared is the fine detail (a pixel less the mean of the 7 x 7 around it), whose sign is random from picture to
        picture unless something is drawn there. Its squared errors, averaged over 9 x 9, are held against the median
        of the panel, as images that belong together (one prompt, one scene) are fewer than they seem.
        """
        found = []
        synthetic = _Sums.none()
        for name, sums in self._sums.items():
            if name != REAL:
                synthetic.join(sums)
        for name, sums in self._sums.items():
            other = synthetic if name == REAL else self._sums.get(REAL, _Sums.none())
            if min(sums.n, other.n) >= MIN_IMAGES:
                found += _marks(name, sums, other)
        return sorted(found, key=lambda mark: -mark.times)

    def sheet(self, names: list[str], marks: list[Mark]) -> bytes:
        """The mean images of these generators as the PNG of a contact sheet: the image, and beside it the four corners
        with their mean fine detail, eight times as strong; what stands out is red."""
        return _sheet({name: self._sums[name] for name in names}, marks)

    def state(self) -> dict[str, NDArray[np.generic]]:
        """Plain arrays that `from_state` makes the same mean images of."""
        sums = list(self._sums.values()) or [_Sums.none()]
        return {
            "names": np.array(list(self._sums), dtype=np.str_),
            "n": np.array([one.n for one in sums]),
            "total": np.stack([one.total for one in sums]),
            "detail": np.stack([one.detail for one in sums]),
            "squares": np.stack([one.squares for one in sums]),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, NDArray[np.generic]]) -> MeanImages:
        """What `state` was made of."""
        means = cls()
        for i, name in enumerate(state["names"].tolist()):
            total, detail, squares = (state[key][i].copy() for key in ("total", "detail", "squares"))
            means._sums[name] = _Sums(int(state["n"][i]), total, detail, squares)
        return means


@dataclass
class _Sums:
    """total: of the pixels; detail, squares: of the fine detail and of its square. 32 bits are enough for 7 million
    images."""

    n: int
    total: NDArray[np.uint32]
    detail: NDArray[np.int32]
    squares: NDArray[np.uint32]

    @classmethod
    def none(cls) -> _Sums:
        shape = (FRAME, FRAME + 2 * CORNER)
        return cls(0, np.zeros((*shape, 3), np.uint32), np.zeros(shape, np.int32), np.zeros(shape, np.uint32))

    def add(self, thumbnail: NDArray[np.uint8]) -> None:
        detail = _detail(thumbnail)
        self.n += 1
        self.total += thumbnail
        self.detail += detail
        self.squares += (detail * detail).astype(np.uint32)

    def join(self, other: _Sums) -> None:
        self.n += other.n
        self.total += other.total
        self.detail += other.detail
        self.squares += other.squares

    def moments(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The mean of the fine detail, and the variance of that mean; 1 is added for what rounding hides."""
        mean = self.detail / self.n
        variance = (self.squares - self.n * mean**2) / (self.n - 1) + 1
        return mean, variance / self.n


def _detail(thumbnail: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Each panel less its surroundings, in whole grey levels, so that a few hard edges do not decide the mean."""
    grey = thumbnail @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
    for _, top, left, side in _PANELS:
        panel = grey[top : top + side, left : left + side]
        panel -= uniform_filter(panel, _AROUND, mode="reflect")
    return np.asarray(np.rint(np.clip(grey, -_CLIPPED, _CLIPPED)), dtype=np.int32)


def _marks(name: str, sums: _Sums, other: _Sums) -> list[Mark]:
    (mean, variance), (other_mean, other_variance) = sums.moments(), other.moments()
    difference = mean - other_mean
    errors = difference**2 / (variance + other_variance)
    found = []
    for where, top, left, side in _PANELS:
        panel = (slice(top, top + side), slice(left, left + side))
        around = uniform_filter(errors[panel], _WINDOW, mode="reflect")
        times = around / max(1e-9, float(np.median(around)))
        seen = np.zeros(errors.shape, dtype=bool)
        seen[panel] = times > _TIMES
        if seen.any():
            strength = float(np.abs(difference[seen]).max())
            found.append(Mark(name, sums.n, where, float(times.max()), strength, seen))
    return found


_COLUMNS, _SCALE, _LINE, _GAP = 3, 2, 16, 8


def _sheet(sums: Mapping[str, _Sums], marks: list[Mark]) -> bytes:
    width, height = (FRAME + 2 * CORNER) * _SCALE, FRAME * _SCALE
    columns = min(_COLUMNS, len(sums))
    rows = -(-len(sums) // columns)
    size = (columns * (width + _GAP) + _GAP, rows * (height + _LINE + _GAP) + _GAP)
    sheet = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(12)
    for i, (name, one) in enumerate(sums.items()):
        left, top = _GAP + i % columns * (width + _GAP), _GAP + i // columns * (height + _LINE + _GAP)
        text = f"{name} ({one.n:,})".encode("ascii", "replace").decode()
        draw.text((left, top), text, fill="black", font=font)
        seen = np.any([mark.seen for mark in marks if mark.generator == name] or [np.zeros(one.detail.shape)], axis=0)
        picture = Image.fromarray(_picture(one, seen.astype(bool)))
        sheet.paste(picture.resize((width, height), Image.Resampling.NEAREST), (left, top + _LINE))
    stream = io.BytesIO()
    sheet.save(stream, "PNG", optimize=True)
    return stream.getvalue()


def _picture(sums: _Sums, seen: NDArray[np.bool_]) -> NDArray[np.uint8]:
    picture = sums.total / max(1, sums.n)
    detail = np.clip(128 + 8 * sums.detail / max(1, sums.n), 0, 255)
    picture[:, FRAME:] = detail[:, FRAME:, None]
    picture = np.rint(picture).astype(np.uint8)
    picture[seen] = (220, 30, 30)
    return picture
