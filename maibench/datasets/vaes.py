"""The autoencoders that `--vae` names: bundled nano ones, published ones of the Hub, and those of a local path."""

from __future__ import annotations

import difflib
import functools
import hashlib
import json
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from maibench.datasets.autoencoders import ARCHITECTURES, load_autoencoder
from maibench.datasets.new_generators import check_names
from maibench.errors import MaibenchError

if TYPE_CHECKING:
    import torch

PUBLISHED = Path(__file__).with_name("autoencoders.yaml")
CLASSES = ("AutoencoderKL", "AutoencoderKLFlux2")
"""Of diffusers. Others have no posterior, or more than two dimensions."""
FILE = "diffusion_pytorch_model.safetensors"
SMALLEST_TILE = 256
"""Pixels a side. A configuration that says less was never meant to (diffusers' default is 32)."""


@dataclass(frozen=True)
class Choice:
    """An autoencoder that was named. name: the generator of its reconstructions. origin: where its weights are from.
    licence: theirs, where known. load: returns it in float32 and evaluation mode, or raises MaibenchError."""

    name: str
    origin: str
    licence: str
    load: Callable[[], torch.nn.Module]


def choose(text: str) -> list[Choice]:
    """What `--vae` names, in its order: [NAME=]SPEC, comma-separated.

    A SPEC is a name of the bundled or the published ones, a folder in diffusers' layout (or one above its vae/), or
    TAEF2's safetensors file. NAME is the generator's name in the manifest; by default a path's last part. Nothing is
    loaded yet. Raises MaibenchError for what there is not, and for a name that occurs twice.
    """
    choices = [_choice(item) for item in map(str.strip, text.split(",")) if item]
    if not choices:
        raise MaibenchError(f"--vae names no autoencoder; there are {', '.join(_known())}, or give a folder")
    check_names([choice.name for choice in choices], "autoencoders", "--vae")
    return choices


def fingerprint(model: torch.nn.Module) -> str:
    """A hash of the weights and of the configuration that they are used with: 16 hexadecimal digits."""
    config = {key: value for key, value in getattr(model, "config", {}).items() if not key.startswith("_")}
    digest = hashlib.sha256(json.dumps([type(model).__name__, config], sort_keys=True, default=str).encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def _choice(item: str) -> Choice:
    label, equals, spec = item.partition("=")
    if not equals:
        label, spec = "", item
    published = _published()
    if spec in ARCHITECTURES:
        return Choice(label or spec, "bundled", "", functools.partial(load_autoencoder, spec))
    if spec in published:
        facts = published[spec]
        name = label or facts["generator"]
        origin = f"{facts['repository']}@{facts['revision']}" if facts.get("revision") else facts["repository"]
        return Choice(name, origin, facts["licence"], functools.partial(_download, spec, facts))
    path = Path(spec).expanduser()
    if path.is_dir():
        return Choice(label or path.resolve().name, str(path), "", functools.partial(_load_folder, path))
    if path.is_file():
        return Choice(label or path.stem, str(path), "MIT", functools.partial(_load_file, path))
    if os.sep in spec or path.suffix == ".safetensors":
        raise MaibenchError(f"no autoencoder at '{spec}': there is no such file or folder")
    near = difflib.get_close_matches(spec, _known(), 1)
    hint = f"did you mean '{near[0]}'? " if near else ""
    raise MaibenchError(
        f"unknown autoencoder '{spec}': {hint}there are {', '.join(_known())}, or give a folder in diffusers' layout"
    )


def _known() -> list[str]:
    return [*ARCHITECTURES, *_published()]


def _published() -> dict[str, dict[str, str]]:
    return yaml.safe_load(PUBLISHED.read_text(encoding="utf-8"))


def _download(name: str, facts: dict[str, str]) -> torch.nn.Module:
    repository = facts["repository"]
    try:
        return _from_pretrained(
            facts["class"], repository, subfolder=facts["subfolder"], revision=facts.get("revision")
        )
    except MaibenchError:
        raise
    except Exception as error:  # the Hub's, its client's, the network's and diffusers' own have no common class
        raise MaibenchError(
            f"the autoencoder '{name}' cannot be had from {repository} ({_brief(_root(error))}). It is downloaded "
            "once: go online and, where the repository asks for it, accept its terms at "
            f"https://huggingface.co/{repository} and log in with `hf auth login`; or give a folder that holds it, "
            f"--vae {facts['generator']}=FOLDER"
        ) from error


def _load_folder(folder: Path) -> torch.nn.Module:
    place = folder if (folder / "config.json").is_file() else folder / "vae"
    if not (place / "config.json").is_file():
        raise MaibenchError(f"{folder}: no autoencoder in diffusers' layout: config.json is neither in it nor in vae/")
    if not (place / FILE).is_file():
        raise MaibenchError(f"{place}: {FILE} is missing; weights in other formats are not read")
    try:
        kind = json.loads((place / "config.json").read_text(encoding="utf-8"))["_class_name"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise MaibenchError(f"{place / 'config.json'}: does not say its _class_name ({_brief(error)})") from error
    if kind not in CLASSES:
        raise MaibenchError(f"{place / 'config.json'}: '{kind}' is not read here, only {' and '.join(CLASSES)}")
    try:
        return _from_pretrained(kind, str(place), local_files_only=True)
    except MaibenchError:
        raise
    except Exception as error:  # whatever a garbled file makes of safetensors, torch or diffusers
        raise MaibenchError(f"{place}: cannot be loaded as {kind} ({_brief(error)})") from error


def _load_file(file: Path) -> torch.nn.Module:
    from maibench.datasets.taef2 import load_taef2

    return load_taef2(file)


def _from_pretrained(kind: str, where: str, **options: Any) -> torch.nn.Module:
    """diffusers' loading, but weights that do not fit to the letter are an error: it would warn and go on."""
    import diffusers
    import huggingface_hub
    import torch

    # what they warn of here is an error below, or a retry
    diffusers.utils.logging.set_verbosity_error()
    huggingface_hub.utils.logging.set_verbosity_error()
    with warnings.catch_warnings(action="ignore", category=UserWarning):
        model, info = getattr(diffusers, kind).from_pretrained(
            where, use_safetensors=True, torch_dtype=torch.float32, output_loading_info=True, **options
        )
    wrong = [str(key) for keys in ("missing_keys", "unexpected_keys", "mismatched_keys") for key in info[keys]]
    if wrong:
        raise MaibenchError(f"{where}: its weights do not fit its configuration ({wrong[0]}, {len(wrong)} in all)")
    if (model.config.in_channels, model.config.out_channels) != (3, 3):
        raise MaibenchError(f"{where}: does not turn RGB images into RGB images")
    if model.tile_latent_min_size * _factor(model) < SMALLEST_TILE:
        model.tile_sample_min_size = SMALLEST_TILE
        model.tile_latent_min_size = SMALLEST_TILE // _factor(model)
    return model.eval()


def _factor(model: Any) -> int:
    from maibench.datasets.roundtrip import factor_of

    return factor_of(model)


def _root(error: BaseException) -> BaseException:
    """What went wrong first: libraries wrap "no such host" into "there is no such file"."""
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    return error


def _brief(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
