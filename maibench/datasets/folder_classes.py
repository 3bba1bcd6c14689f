"""What the names of folders say of the images in them: real, or of which generator."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import takewhile

from maibench.datasets.meanings import label_meant, says_plainly
from maibench.errors import MaibenchError

Folder = tuple[str, ...]
"""The names of a folder and of those above it, the outermost first, without those that say a split."""
_NUMBERS = {"0", "1"}
_SHOWN = 10


def labels_of(folders: Iterable[Folder], where: str) -> dict[Folder, int]:
    """0 for each folder that holds real images, 1 for the others.

    "real", "fake_images" and the like decide wherever they stand. "nature", "human", "photos" and the like do at the
    top, and beside a synthetic class (GenImage's nature and ai); deeper down they may say what is on the images. "0"
    and "1" count where no word means real. What all folders have above them says nothing, if what is below does. Raises
    MaibenchError where no folder means real, for one that says both, and for one that may or may not mean it.
    """
    whole = list(dict.fromkeys(folders))
    above = sum(1 for _ in takewhile(lambda names: len(set(names)) == 1, zip(*whole, strict=False)))
    for depth in (above, 0) if above else (0,):
        labels = _read([folder[depth:] for folder in whole], where)
        if 0 in labels:
            return dict(zip(whole, labels, strict=True))
    raise MaibenchError(f"{where}: {_no_real(list(dict.fromkeys(folder[0] for folder in whole)))}")


def generator_of(folder: Folder) -> str:
    """The generator that a folder of synthetic images is called after: the innermost name that says no class (a number
    only where nothing else does), "synthetic" where there is none."""
    own = [name for name in folder if label_meant(name) is None]
    named = [name for name in own if not name.isdecimal()] or [name for name in own if name not in _NUMBERS]
    return named[-1] if named else "synthetic"


def _no_real(names: list[str]) -> str:
    shown = ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
    one = f"the folder {shown} does not say that it holds real images: rename it to real if it does"
    many = f"none of the folders {shown} says that it holds real images: rename the one that does to real"
    rest = "or list the images in a manifest; a set of synthetic images alone needs a manifest"
    return f"{one if len(names) == 1 else many}, {rest}"


def _read(folders: list[Folder], where: str) -> list[int]:
    """Labels of folders, in their order; without a 0 where none means real."""
    labels = [_plainly(folder, where) for folder in folders]
    loose, doubtful = _Loose(folders, labels), {}
    for at, folder in enumerate(folders):
        if labels[at] is None and (found := loose.real(folder)):
            name, is_sure = found
            labels[at] = 0 if is_sure else None
            doubtful.update({} if is_sure else {at: name})
    if doubtful and 0 in labels:
        at, name = next(iter(doubtful.items()))
        raise MaibenchError(
            f"{where}: '{'/'.join(folders[at])}' may hold real images, or synthetic ones of {name}: rename '{name}', "
            "or list the images in a manifest"
        )
    for at in doubtful:
        labels[at] = 0
    numbers = {name for folder in folders for name in folder if name.isdecimal()}
    if 0 not in labels and numbers <= _NUMBERS:
        for at, folder in enumerate(folders):
            labels[at] = 0 if labels[at] is None and "0" in folder else labels[at]
    return [1 if label is None else label for label in labels]


def _plainly(folder: Folder, where: str) -> int | None:
    """The label that a folder says beyond doubt. Raises MaibenchError where it says both."""
    said = {label_meant(name): name for name in folder if says_plainly(name)}
    if len(said) == 2:
        raise MaibenchError(
            f"{where}: '{'/'.join(folder)}' says both: '{said[0]}' means real, '{said[1]}' synthetic; rename one, or "
            "list the images in a manifest"
        )
    return next(iter(said), None)


class _Loose:
    """Names that mean real, or what is on the images: which it is, as the folders around say."""

    def __init__(self, folders: list[Folder], labels: list[int | None]) -> None:
        """labels: those said beyond doubt."""
        known = [folder for folder, label in zip(folders, labels, strict=True) if label is not None]
        self._content = {name for folder in known for name in folder}
        self._above = {folder[:depth] for folder in known for depth in range(len(folder))}
        ai = {folder[:depth] for folder in folders for depth, name in enumerate(folder) if label_meant(name) == 1}
        self._beside = {name for folder in folders for depth, name in enumerate(folder) if folder[:depth] in ai}

    def real(self, folder: Folder) -> tuple[str, bool] | None:
        """The name that means real, and whether it surely does; None where none may."""
        found = None
        for depth, name in enumerate(folder):
            if label_meant(name) == 0 and folder[: depth + 1] not in self._above and name not in self._content:
                if depth == 0 or name in self._beside:
                    return name, True
                found = name, False
        return found
