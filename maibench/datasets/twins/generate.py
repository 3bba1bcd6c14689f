"""Text-to-image pipelines of diffusers: a folder or a repository in, images out, one a call, from recorded seeds."""

from __future__ import annotations

import gc
import hashlib
import inspect
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maibench.datasets.twins.places import Found, brief, dtype_for, fingerprint, quiet, refuse_missing
from maibench.datasets.twins.presets import Generator
from maibench.errors import ImageError, MaibenchError

ROOM = 0.8
"""Of a GPU's free memory. Larger pipelines are held on the host, and their parts moved to it as they are needed."""
PLAIN = "A house."
"""Where a pipeline fails with this prompt, too, it is not the prompt that it fails for."""


def candidate_seed(seed: int, image_id: str, generator: str, candidate: int) -> int:
    """The seed of one candidate, below 2^32: the same whatever else is generated."""
    return int.from_bytes(hashlib.sha256(f"{seed} {image_id} {generator} {candidate}".encode()).digest()[:4], "big")


def find_pipeline(generator: Generator) -> Found:
    """A pipeline's files, fetched where they are not cached. Raises MaibenchError where they cannot be had, and where
    they are no text-to-image pipeline of the class that the generator has."""
    folder = _folder(generator)
    kind = class_of(folder)
    if generator.kind not in (None, kind.__name__):
        raise MaibenchError(
            f"{folder}: holds a {kind.__name__}, where '{generator.name}' is a {generator.kind}; give it another name"
        )
    known = inspect.signature(kind.__call__).parameters
    if wrong := [name for name in generator.settings if name not in known]:
        raise MaibenchError(f"'{generator.name}': a {kind.__name__} takes no {wrong[0]}; remove it from the preset")
    return Found(str(generator.place), folder, fingerprint(folder))


def class_of(folder: Path) -> Any:
    """The class of the pipeline in a folder. Raises MaibenchError where that is no text-to-image pipeline."""
    import diffusers

    file = folder / "model_index.json"
    try:
        name = json.loads(file.read_text(encoding="utf-8"))["_class_name"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise MaibenchError(f"{file}: does not say its _class_name ({brief(error)})") from error
    kind = getattr(diffusers, str(name), None)
    if kind is None or not hasattr(kind, "from_pretrained"):
        raise MaibenchError(f"{file}: diffusers {diffusers.__version__} has no pipeline '{name}'")
    known = inspect.signature(kind.__call__).parameters
    if "prompt" not in known or "strength" in known or "mask_image" in known:
        raise MaibenchError(f"{file}: a {name} does not make images of a text alone")
    return kind


class Maker:
    """A pipeline on its device. facts: its model, revision, weights and settings, for receipts.

    Raises MaibenchError for weights that are missing, that do not fit, or in other formats than safetensors.
    """

    def __init__(self, generator: Generator, found: Found, device: str) -> None:
        import torch

        assert found.folder is not None  # none of these is bundled
        folder, kind = found.folder, class_of(found.folder)
        self.name, self._settings = generator.name, generator.settings
        self._pipeline = _load(kind, folder, dtype_for(device))
        self._place(device, folder)
        self.facts = {
            **found.facts, "pipeline": kind.__name__, "settings": dict(generator.settings),
            "scheduler": type(self._pipeline.scheduler).__name__, "dtype": str(dtype_for(device)).split(".")[-1],
            "device": torch.device(device).type,
        }  # fmt: skip

    def make(self, prompt: str, seed: int) -> NDArray[np.uint8]:
        """An image of the prompt, uint8 height x width x 3.

        Raises ImageError for one that is no picture (not a number) and for a prompt that the pipeline fails with where
        it does not with another; MaibenchError for a pipeline that fails, and where the memory does not suffice.
        """
        import torch

        try:
            values = self._call(prompt, seed)
        except torch.OutOfMemoryError as error:
            raise MaibenchError(f"'{self.name}': the GPU's memory does not suffice; take a smaller pipeline") from error
        except Exception as error:  # a size that it cannot make, a prompt that it refuses: whatever the pipeline says
            try:
                self._call(PLAIN, seed)
            except Exception:
                raise MaibenchError(f"the pipeline '{self.name}' fails ({brief(error)}); see its settings") from error
            raise ImageError(f"the generator fails with this caption ({brief(error)})") from error
        if not np.isfinite(values).all():
            raise ImageError("not a picture: the generator's values are not numbers (NaN)")
        return (np.clip(values, 0, 1) * 255).round().astype(np.uint8)

    def close(self) -> None:
        """Give its memory back."""
        import torch

        del self._pipeline
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _call(self, prompt: str, seed: int) -> Any:
        import torch

        # drawn on the CPU, so that a seed means the same noise on every device
        noise = torch.Generator("cpu").manual_seed(seed)
        return self._pipeline(prompt=prompt, generator=noise, output_type="np", **self._settings).images[0]

    def _place(self, device: str, folder: Path) -> None:
        import torch

        self._pipeline.set_progress_bar_config(disable=True)
        if device.startswith("cuda"):
            size = sum(file.stat().st_size for file in folder.rglob("*.safetensors"))
            if size > ROOM * torch.cuda.mem_get_info(device)[0]:
                self._pipeline.enable_model_cpu_offload(device=device)
                return
        self._pipeline.to(device)


def _folder(generator: Generator) -> Path:
    from diffusers import DiffusionPipeline

    place = generator.place
    if place.is_folder:
        return place.folder
    quiet()
    try:
        return Path(DiffusionPipeline.download(place.where, revision=place.revision, use_safetensors=True))
    except Exception as error:  # the Hub's, its client's, the network's and diffusers' own have no common class
        raise MaibenchError(
            f"the pipeline '{generator.name}' cannot be had from {place} ({brief(error)}). It is fetched once: go "
            "online and, where the repository asks for it, accept its terms at "
            f"https://huggingface.co/{place.where} and log in with `hf auth login`; or give a folder that holds it, "
            f"--generators {generator.name}=FOLDER"
        ) from error


def _load(kind: Any, folder: Path, dtype: Any) -> Any:
    """diffusers' loading, but each part's weights have to be there and to fit: it would warn and go on."""
    quiet()
    try:
        with warnings.catch_warnings(action="ignore"):
            index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
            parts = {
                name: part
                for name, entry in index.items()
                if isinstance(entry, list) and (part := _part(entry, name, folder, dtype)) is not None
            }
            return kind.from_pretrained(folder, torch_dtype=dtype, use_safetensors=True, local_files_only=True, **parts)
    except MaibenchError:
        raise
    except Exception as error:  # whatever a garbled or partial folder makes of safetensors, torch or diffusers
        raise MaibenchError(
            f"{folder}: cannot be loaded as a {kind.__name__} ({brief(error)}); weights are read from safetensors only"
        ) from error


def _part(entry: list[Any], name: str, folder: Path, dtype: Any) -> Any:
    """A network of the pipeline with its weights; None for what has none (tokenizers, schedulers), or comes with the
    pipeline's own module."""
    import diffusers
    import transformers

    library = {"diffusers": diffusers, "transformers": transformers}.get(entry[0])
    kind = getattr(library, str(entry[1]), None) if library else None
    if not (isinstance(kind, type) and issubclass(kind, (diffusers.ModelMixin, transformers.PreTrainedModel))):
        return None
    key = "torch_dtype" if library is diffusers else "dtype"
    loaded: Any = kind.from_pretrained(
        folder, subfolder=name, use_safetensors=True, local_files_only=True, output_loading_info=True, **{key: dtype}
    )
    model, info = loaded
    refuse_missing(info, folder / name)
    return model.eval()
