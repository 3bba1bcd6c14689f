"""The gallery: the images that `select` picks, as thumbnails with every score and, where there are any, evidence maps.
It needs the images, and so is drawn at the end of a comparison."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from maibench.datasets.image import MAX_PIXELS, ImageFile, Pixels, decode
from maibench.datasets.manifest import Manifest
from maibench.datasets.perturb import parse_perturbation
from maibench.errors import DiskError, ImageError
from maibench.evaluation.picks import Pick, select
from maibench.evaluation.statistics.evaluated import Evaluated
from maibench.files import make_folder, remove_parts, write_text, write_whole
from maibench.progress import Progress

if TYPE_CHECKING:
    from maibench.models.base import Detector

FOLDER, LIST = "gallery", "gallery.json"
SIDE = 256
"""Pixels of a thumbnail's longest side."""
QUALITY = 85
_VERSION = 2
"""Raise it when what is drawn changes, so that galleries are drawn again."""
_PICTURE = re.compile(r"[0-9a-f]{16}(-\d+)?\.jpg")


def make_gallery(
    folder: Path,
    evaluated: Evaluated,
    manifest: Manifest,
    detectors: Mapping[str, Detector],
    keys: Mapping[str, str],
    each: int = 4,
    evidence: bool = True,
    max_pixels: int = MAX_PIXELS,
    progress: Progress | None = None,
) -> bool:
    """Draw the gallery of a run into folder/gallery: gallery.json and the pictures that it names.

    manifest: of the data set that was scored. detectors: by label, those that can score. keys: what names each one's
    computation (the key of its predictions). each: as for `select`; 0 removes the gallery. evidence: also draw maps of
    the detectors that an image was picked for.
    Returns whether anything was drawn: what is there stays when neither picks, keys nor settings changed.
    gallery.json is replaced in one step, after all pictures that it names. An image that cannot be read any more stays
    in the list, without pictures and with the reason; so does one that a detector cannot explain. Raises DiskError.
    """
    progress = progress or Progress()
    place = folder / FOLDER
    if not each:
        (place / LIST).unlink(missing_ok=True)
        _sweep(place, set())
        return False
    picks = select(evaluated, each)
    settings = [_VERSION, evaluated.shown, each, evidence, max_pixels, SIDE, QUALITY]
    facts = [settings, [asdict(pick) for pick in picks], {name: keys.get(name, "") for name in detectors}]
    key = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]
    images = _Images(manifest, evaluated.shown, max_pixels)
    if _is_current(folder, key, images):
        return False
    if picks:
        progress.say(f"drawing the gallery: {len(picks)} images" + (" with evidence maps" if evidence else ""))
    images.keep([pick.path for pick in picks])
    make_folder(place)
    method = caution = None
    explained: dict[int, dict[str, Any]] = {}
    if evidence:
        from maibench.evaluation.evidence import CAUTION, METHOD

        method, caution = METHOD, CAUTION
        explained = _explain(place, picks, images, detectors, key)
    items = [_item(place, pick, images, key) | explained.get(index, {}) for index, pick in enumerate(picks)]
    content = {"key": key, "method": method, "caution": caution, "items": items}
    write_text(place / LIST, json.dumps(content, indent=1, allow_nan=False))
    _sweep(place, {Path(name).name for item in items for name in _named(item)})
    return True


class _Images:
    """The pictures as the detectors saw them."""

    def __init__(self, manifest: Manifest, shown: str, max_pixels: int) -> None:
        self.manifest, self.perturbation, self.max_pixels = manifest, parse_perturbation(shown), max_pixels
        self._place = {path: place for place, path in enumerate(manifest.rows["path"])}
        self._files: dict[str, ImageFile] = {}

    def keep(self, paths: Sequence[str]) -> None:
        """Read these files once, in the order of the list, and keep them: they are looked at several times."""
        listed = sorted({path for path in paths if path in self._place}, key=self._place.__getitem__)
        self.manifest.images.expect(listed)
        for path in listed:
            self.problem(path)

    def read(self, path: str) -> Pixels:
        """uint8 (h, w, 3); raises ImageError where it cannot be read, or is not one of the data set's."""
        if path not in self._place:
            raise ImageError("the data set does not list it")
        if path not in self._files:
            self._files[path] = self.manifest.read(path, self.max_pixels)
        file = self._files[path]
        return self.perturbation(decode(file.data), file.image_id)

    def problem(self, path: str) -> str:
        """Why an image cannot be read; "" where it can."""
        try:
            self.read(path)
        except ImageError as error:
            return str(error)
        return ""


def _is_current(folder: Path, key: str, images: _Images) -> bool:
    """Whether the gallery that is there is the one asked for, with all its pictures."""
    try:
        listed = json.loads((folder / FOLDER / LIST).read_text(encoding="utf-8"))
        return listed["key"] == key and all(
            all((folder / name).is_file() for name in _named(item))
            and (not item["error"] or bool(images.problem(item["path"])))
            for item in listed["items"]
        )
    except (OSError, ValueError, KeyError, TypeError):  # none, or not one of ours
        return False


def _named(item: dict[str, Any]) -> list[str]:
    """The pictures that an item names, relative to the run's folder."""
    return [name for name in [item["thumbnail"], *item["evidence"].values()] if name]


def _item(place: Path, pick: Pick, images: _Images, key: str) -> dict[str, Any]:
    """What gallery.json says of an image; its thumbnail is written."""
    why = [{"kind": reason.kind, "detector": reason.detector, "text": reason.text} for reason in pick.why]
    item: dict[str, Any] = {
        "path": pick.path, "label": pick.label, "generator": pick.generator, "why": why, "thumbnail": None,
        "error": "", "scores": pick.scores, "evidence": {}, "strongest": {}, "no_evidence": {},
    }  # fmt: skip
    try:
        item["thumbnail"] = _write(place, _stem(key, pick), _small(images.read(pick.path)))
    except ImageError as error:
        item["error"] = str(error)
    return item


def _explain(
    place: Path, picks: list[Pick], images: _Images, detectors: Mapping[str, Detector], key: str
) -> dict[int, dict[str, Any]]:
    """Draw the evidence maps; returns what they add to the items, by the number of the pick.

    Each detector has PER_GALLERY operations, for maps and for finding out what they cost: the strongest of every kind
    come first, and nothing is run once they are spent.
    """
    from maibench.evaluation.evidence import PER_GALLERY, choose_cells, evidence_map, map_cost, overlay, pass_cost

    left: dict[str, float] = {}
    cost: dict[tuple[str, tuple[int, ...]], float] = {}  # of a pass: the same for images of one size
    added: dict[int, dict[str, Any]] = {}
    for index, name in _wanted(picks, detectors):
        pick, detector = picks[index], detectors[name]
        device = detector.device.type
        left.setdefault(name, PER_GALLERY.get(device, PER_GALLERY["cuda"]))
        item = added.setdefault(index, {"evidence": {}, "strongest": {}, "no_evidence": {}})
        try:
            pixels = images.read(pick.path)
        except ImageError:  # the item says so
            continue
        try:
            size = name, pixels.shape
            if size not in cost:
                if left[name] <= 0:
                    item["no_evidence"][name] = f"not drawn: the gallery's time for maps of {name} is spent"
                    continue
                cost[size] = pass_cost(detector, pixels)
                left[name] -= cost[size]
            cells = choose_cells(cost[size], pixels, device)
            needed = map_cost(cost[size], pixels, cells)
            if needed > left[name]:
                item["no_evidence"][name] = _too_much(name, needed, device)
                continue
            left[name] -= needed
            found = evidence_map(detector, pixels, cells)
        except DiskError:
            raise
        except Exception as error:  # whatever a plug-in raises on a part-hidden image
            item["no_evidence"][name] = f"{type(error).__name__}: {error}".splitlines()[0]
            continue
        picture = overlay(_small(pixels), found.values)
        file = f"{_stem(key, pick)}-{list(detectors).index(name)}"
        item["evidence"][name] = _write(place, file, picture)
        item["strongest"][name] = found.strongest
    return added


def _wanted(picks: list[Pick], detectors: Mapping[str, Detector]) -> Iterable[tuple[int, str]]:
    """(number of the pick, detector) of every map, the strongest of each kind first: for a mistake, of the detector
    that made it; for a disagreement, of all that scored."""
    from maibench.evaluation.evidence import has_evidence

    ranks: dict[tuple[int, str], int] = {}
    for index, pick in enumerate(picks):
        for reason in pick.why:
            scored = [name for name, score in pick.scores.items() if score is not None]
            for name in scored if reason.detector is None else [reason.detector]:
                if name in detectors and has_evidence(detectors[name]):
                    ranks[index, name] = min(reason.rank, ranks.get((index, name), reason.rank))
    return sorted(ranks, key=lambda place: (ranks[place], place[0]))


def _too_much(name: str, needed: float, device: str) -> str:
    from maibench.evaluation.evidence import PER_GALLERY

    if needed > PER_GALLERY.get(device, PER_GALLERY["cuda"]):
        return f"a map of {name} takes {needed / 1e9:,.0f} billion operations: too many for a gallery ({device})"
    return f"not drawn: the gallery's time for maps of {name} went to stronger cases"


def _small(pixels: Pixels) -> Pixels:
    """At most SIDE pixels on the longest side."""
    image = Image.fromarray(pixels)
    image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    return np.asarray(image)


def _stem(key: str, pick: Pick) -> str:
    """The name of an image's pictures: of a hash, never of the data's text; another gallery's are others."""
    return hashlib.sha256(f"{key}:{pick.path}".encode()).hexdigest()[:16]


def _write(place: Path, stem: str, pixels: Pixels) -> str:
    """Write a picture; returns its path relative to the run's folder."""
    picture = Image.fromarray(pixels)
    write_whole(place / f"{stem}.jpg", lambda part: picture.save(part, quality=QUALITY))
    return f"{FOLDER}/{stem}.jpg"


def _sweep(place: Path, kept: set[str]) -> None:
    """Remove an older gallery's pictures; what somebody else put there stays."""
    if place.is_dir():
        remove_parts(place, below=False)
        for file in place.iterdir():
            if _PICTURE.fullmatch(file.name) and file.name not in kept:
                file.unlink(missing_ok=True)
