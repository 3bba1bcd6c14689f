"""What a vision model makes of each image, and images that are near in it: the check for copies that pixels hide.

After MAI's own (athen-lab/mai, moondream/siglip.py: SigLIP's image features, neighbours within a radius).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from maibench.datasets.image import Pixels, decode
from maibench.datasets.manifest import SPLITS, Manifest
from maibench.errors import ImageError, MaibenchError
from maibench.evaluation.audit.look_alikes import MOST, Pairs
from maibench.models.hub_models.quiet import brief, quietly

if TYPE_CHECKING:
    import torch

BATCH = 32
_ROWS, _COLUMNS = 1024, 8192
"""Of the block of cosines that is in memory at a time."""


@dataclass(frozen=True)
class Embedder:
    """preprocess: pixels -> what one row of a batch is made of, in worker threads. model: batch -> (n, d) features."""

    preprocess: Callable[[Pixels], torch.Tensor]
    model: Callable[[torch.Tensor], torch.Tensor]
    device: str


@dataclass(frozen=True)
class Similar:
    """Images of different splits whose embeddings are near. n_images: how many have one. highest: the highest cosine
    of two images in different splits, NaN where there is one split. pairs: the nearest, to be looked at."""

    n_images: int
    highest: float
    pairs: Pairs


def embed(manifest: Manifest, paths: Sequence[str], spec: str, device: str = "auto") -> NDArray[np.float32]:
    """The embeddings of images by the model that SPEC names, (n, d), each of unit length.

    Raises MaibenchError for a SPEC that `load_embedder` refuses, and for an image that cannot be read.
    """
    import torch
    from torch.nn import functional as F

    embedder = load_embedder(spec, device)

    def prepared(path: str) -> torch.Tensor:
        try:
            return embedder.preprocess(decode(manifest.read(path).data))
        except ImageError as error:
            raise MaibenchError(f"{manifest.name}: '{path}' {error}: it was readable when the audit began") from error

    found = []
    with ThreadPoolExecutor(2) as pool, torch.inference_mode():
        for start in range(0, len(paths), BATCH):
            batch = list(paths[start : start + BATCH])
            manifest.images.expect(batch)
            features = embedder.model(torch.stack(list(pool.map(prepared, batch))).to(embedder.device))
            found.append(F.normalize(features.float(), dim=1).cpu().numpy())
    return np.concatenate(found)


def load_embedder(spec: str, device: str = "auto") -> Embedder:
    """`timm:ARCH` (a backbone of timm with its weights), `siglip:PLACE` (a folder or OWNER/NAME of the Hub with a
    SigLIP, CLIP or other vision model of transformers), or a folder that holds either.

    Weights are fetched only where the SPEC names them. Raises MaibenchError for anything else, and for weights that
    are missing or do not fit.
    """
    from maibench.models.device import choose_device

    device = choose_device(device)
    kind, _, place = spec.partition(":")
    if kind == "timm" and place:
        return _timm(place, device)
    if kind == "siglip" and place:
        from maibench.models.hub import find_folder

        return _transformers(find_folder(place), device)
    folder = Path(spec).expanduser()
    if not folder.is_dir():
        raise MaibenchError(
            f"no embedding at '{spec}': give timm:ARCH, siglip:FOLDER_OR_NAME, or a folder with a model"
        )
    return _timm(f"local-dir:{folder}", device) if "architecture" in _config(folder) else _transformers(folder, device)


def similar_across(embeddings: NDArray[np.float32], splits: NDArray, above: float) -> Similar:
    """Which images have one of a cosine above `above` in another split.

    embeddings: (n, d), of unit length. splits: (n,). Every pair is compared, a block at a time.
    """
    near = np.zeros(len(splits), dtype=bool)
    best: list[tuple[float, int, int]] = []
    highest = float("nan")
    members = [np.flatnonzero(splits == name) for name in SPLITS if (splits == name).any()]
    for first, second in combinations(members, 2):
        for rows in np.split(first, range(_ROWS, len(first), _ROWS)):
            of_rows, partner = np.full(len(rows), -np.inf, dtype=np.float32), np.zeros(len(rows), dtype=np.int64)
            for columns in np.split(second, range(_COLUMNS, len(second), _COLUMNS)):
                cosines = embeddings[rows] @ embeddings[columns].T
                near[columns] |= (cosines > above).any(axis=0)
                nearest = cosines.argmax(axis=1)
                value = cosines[np.arange(len(rows)), nearest]
                better = value > of_rows
                of_rows[better], partner[better] = value[better], columns[nearest[better]]
            near[rows] |= of_rows > above
            highest = float(np.fmax(highest, of_rows.max()))
            over = of_rows > above
            best += zip(of_rows[over].tolist(), rows[over].tolist(), partner[over].tolist(), strict=True)
            best = sorted(best, key=lambda pair: (-pair[0], pair[1]))[: MOST * _ROWS]
    ends: list[tuple[int, int]] = []
    says, used = list[str](), set[int]()
    for cosine, one, other in best:
        if len(ends) < MOST and not used & {one, other}:
            ends.append((one, other))
            says.append(f"cosine {cosine:.3f}")
            used |= {one, other}
    return Similar(int(near.sum()), highest, Pairs("Look-alikes by embedding in two splits", ends, says, len(best)))


def _timm(name: str, device: str) -> Embedder:
    try:
        import timm
    except ImportError as error:
        raise MaibenchError(f"timm is not installed ({error}): pip install 'maibench[timm]'") from error
    try:
        model = timm.create_model(name, pretrained=True, num_classes=0).eval().to(device)
    except Exception as error:  # an unknown name, no network, weights that do not fit: timm has no error of its own
        raise MaibenchError(f"timm: {name} cannot be loaded with its weights ({brief(error)})") from error
    transform: Any = timm.data.create_transform(**timm.data.resolve_model_data_config(model), is_training=False)
    return Embedder(lambda pixels: transform(Image.fromarray(pixels)), model, device)


def _transformers(folder: Path, device: str) -> Embedder:
    import torch
    import transformers
    from transformers.models.auto.image_processing_auto import AutoImageProcessor

    try:
        with quietly():
            # "pil": what the models were trained with, and the same with and without torchvision
            processor: Any = AutoImageProcessor.from_pretrained(folder, local_files_only=True, backend="pil")
            model, info = transformers.AutoModel.from_pretrained(
                folder, local_files_only=True, use_safetensors=True, output_loading_info=True, dtype=torch.float32
            )
    except Exception as error:  # whatever a wrong folder makes of transformers
        raise MaibenchError(f"{folder}: cannot be loaded as a vision model ({brief(error)})") from error
    if wrong := [str(key) for name in ("missing_keys", "mismatched_keys") for key in info.get(name, ())]:
        raise MaibenchError(f"{folder}: weights do not fit the configuration ({wrong[0]}, {len(wrong)} in all)")
    look = getattr(model, "get_image_features", model)
    model.eval().to(device)

    def features(batch: torch.Tensor) -> torch.Tensor:
        found = look(pixel_values=batch)
        pooled = found if isinstance(found, torch.Tensor) else found.pooler_output
        if pooled is None:
            raise MaibenchError(f"{folder}: a {type(model).__name__} gives no vector an image; give a SigLIP or a CLIP")
        return pooled.flatten(1)

    def preprocess(pixels: Pixels) -> torch.Tensor:
        return processor(images=Image.fromarray(pixels), return_tensors="pt")["pixel_values"][0]

    return Embedder(preprocess, features, device)


def _config(folder: Path) -> dict[str, Any]:
    try:
        return dict(json.loads((folder / "config.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise MaibenchError(f"{folder}: holds no model: its config.json cannot be read ({brief(error)})") from error
