"""The detector: an image in, a logit out."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Literal, Self, cast

import numpy as np
import torch
from huggingface_hub import ModelHubMixin
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from maibench.errors import MaibenchError
from maibench.models.card import Card
from maibench.models.device import in_chunks


class Detector(nn.Module, ModelHubMixin):
    """Base class of every detector.

    A subclass sets `card`, builds its layers in `__init__` (keyword options only), and implements `preprocess` and
    `forward`. A logit above 0 means synthetic; sigmoid(logit) is P(synthetic).

    reads: "pixels" (`preprocess` receives uint8 RGB, height x width x 3, read-only) or "file" (it receives the
    `ImageFile`: path, bytes, format, size); an option may choose. elsewhere: True where nothing is computed here, so
    that neither its size nor its speed is known, and it is asked nothing beyond the comparison's questions. fitted:
    True where `fit` has to be called on a training split first. fit_split: the split that it is called with.
    built_from, built_with: the SPEC and the options that `load_detector` built it from, defaults included. loads:
    options that only say which tensors the constructor loads and where to, kept apart as `loaded_with`; a class that
    names "weights" among them loads its own. concurrent: True where `answer` changes nothing of `self`, so that several
    threads may call it at once. cpu_chunk: how many stacked images a CPU core takes at a time (None: all of them), so
    that what it computes on the way stays in its cache. compiled: what a backend made of `tensor_logits`.
    """

    card: Card
    reads: Literal["pixels", "file"] = "pixels"
    elsewhere: ClassVar[bool] = False
    fitted: bool = False
    fit_split: ClassVar[Literal["train", "validation"]] = "train"
    loads: ClassVar[tuple[str, ...]] = ()
    built_from: str = ""
    built_with: Mapping[str, Any] = MappingProxyType({})
    loaded_with: Mapping[str, Any] = MappingProxyType({})
    concurrent: ClassVar[bool] = False
    cpu_chunk: ClassVar[int | None] = None
    compiled: Callable[[Tensor], Tensor] | None = None

    def preprocess(self, image: NDArray[np.uint8]) -> Tensor:
        """One image -> what one row of a batch is made of. Runs in worker threads: it must not change `self`.

        Raises ImageError for an image that this detector cannot read; that image becomes a failed row.
        """
        raise NotImplementedError(f"{type(self).__name__}.preprocess")

    def differentiable(self, pixels: Tensor) -> Any:
        """What `preprocess` gives, computed in torch so that gradients reach the pixels: attacks need it.

        pixels: float (3, height, width) in [0, 255], on the detector's device, not always whole numbers. On whole ones
        the result equals that of `preprocess`. Runs in worker threads, as `preprocess` does.

        Raises ImageError as `preprocess` does; MaibenchError where a detector does not have it.
        """
        raise MaibenchError(
            f"{type(self).__name__} has no differentiable(pixels): its preprocess, written in torch, as in\n"
            "    def differentiable(self, pixels):  # float (3, height, width) in [0, 255]\n"
            "        top, left = ((side - 224) // 2 for side in pixels.shape[1:])\n"
            "        crop = pixels[:, top : top + 224, left : left + 224]\n"
            "        mean, std = (torch.tensor(c).view(3, 1, 1).to(crop) for c in (self.card.mean, self.card.std))\n"
            "        return (crop / 255 - mean) / std"
        )

    def collate(self, items: Sequence[Tensor]) -> Any:
        """Preprocessed images -> a batch. Stacks; override where sizes vary."""
        return torch.stack(list(items))

    def forward(self, batch: Any) -> Tensor:
        """A batch of n images -> (n,) logits."""
        raise NotImplementedError(f"{type(self).__name__}.forward")

    def tensor_logits(self, x: Tensor) -> Tensor:
        """n images of one size, stacked -> (n,) logits: what a backend compiles.

        Override where `forward` does more, such as grouping images by size; it then calls `run`.
        """
        return self(x)

    def run(self, x: Tensor) -> Tensor:
        """`tensor_logits` by the backend that was chosen; by torch where none was, and where gradients are wanted."""
        if self.compiled is None or torch.is_grad_enabled():
            return self.run_in_torch(x)
        return self.compiled(x)

    def run_in_torch(self, x: Tensor) -> Tensor:
        """`tensor_logits` in torch, on a CPU `cpu_chunk` images at a time."""
        if self.cpu_chunk is None or self.training or x.device.type != "cpu":
            return self.tensor_logits(x)
        return in_chunks(self.tensor_logits, x, self.cpu_chunk)

    def answer(self, batch: Any) -> tuple[Tensor, Tensor]:
        """A batch of n images -> (n,) logits and (n,) bool, which of them are `unsure`: scored, but with little mass on
        yes and no. Override where a detector can tell."""
        is_plain = isinstance(batch, Tensor) and type(self).tensor_logits is Detector.tensor_logits
        logits = self.run(batch) if is_plain else self(batch)
        return logits, torch.zeros(logits.shape, dtype=torch.bool, device=logits.device)

    def loss(self, batch: Any, labels: Tensor) -> Tensor:
        """What training makes smaller: binary cross-entropy of the logits against (n,) labels in {0, 1}."""
        return F.binary_cross_entropy_with_logits(self(batch).float(), labels.float())

    def add_adapter(self, rank: int, alpha: int, dropout: float, targets: str) -> None:
        """Freeze the weights and train a low-rank adapter beside them. Raises MaibenchError where that is not known."""
        raise MaibenchError(f"{self.card.name} takes no LoRA adapter; leave 'lora' out of the recipe")

    def save_memory(self) -> None:
        """Compute activations twice in training instead of keeping them. Raises MaibenchError where that is not
        known."""
        raise MaibenchError(f"{self.card.name} cannot recompute its activations; leave 'checkpointing' out")

    def save(self, folder: Path) -> dict[str, Any]:
        """Write what was trained to a folder; returns what its config.json has to say besides the class's options."""
        from maibench.models.weights import save_weights

        save_weights(self, folder / "model.safetensors")
        return {}

    def save_pretrained(
        self,
        save_directory: str | Path,
        *,
        config: Any = None,
        repo_id: str | None = None,
        push_to_hub: bool = False,
        model_card_kwargs: dict[str, Any] | None = None,
        **push_to_hub_kwargs: Any,
    ) -> str | None:
        """Write the folder that `from_pretrained` and `load_detector` read, and `push_to_hub` where that is asked for.

        Returns the URL of the commit, or None. config.json and README.md say what the detector is: `config` and
        `model_card_kwargs`, which huggingface_hub's mixin knows, are refused. Raises as `write_folder` does.
        """
        from maibench.models.folder import write_folder

        if config is not None or model_card_kwargs:
            raise MaibenchError("config.json and README.md follow from the detector and its card; change those")
        write_folder(self, Path(save_directory))
        if not push_to_hub:
            return None
        return self.push_to_hub(repo_id or Path(save_directory).name, **push_to_hub_kwargs)

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | Path,
        *,
        force_download: bool = False,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
        revision: str | None = None,
        **options: Any,
    ) -> Self:
        """Load a folder that finetuning or `save_pretrained` wrote, or OWNER/NAME of the Hub (at a `revision`), of
        which no file is fetched that can run code. options: as `load_detector` takes them.

        Raises MaibenchError where there is none, or where it holds another detector than this class.
        """
        from maibench.models.hub import find_folder
        from maibench.models.loading import load_folder

        folder = find_folder(
            pretrained_model_name_or_path,
            revision=revision,
            force_download=force_download,
            token=token,
            cache_dir=cache_dir,
            local_files_only=local_files_only,
        )
        return cast(Self, load_folder(folder, cls, **options))

    @classmethod
    def options_of_spec(cls, spec: str) -> dict[str, Any]:
        """What a SPEC of the form SCHEME:TEXT says, as options of the constructor; "weights" where it names a file of
        them. Raises MaibenchError where it says nothing that this class understands."""
        return {"model": spec.partition(":")[2]}

    def rename_official(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """The tensors of a published file under the names that they have here; a file of our own stays as it is."""
        return tensors

    def fit_features(self, batch: Any) -> Tensor:
        """A batch of n images -> (n, d), what `fit` is given of them."""
        return cast(Tensor, batch)

    def fitted_parts(self) -> dict[str, Detector]:
        """Detectors within this one that are fitted before it, by name."""
        return {}

    def generators_seen(self, generators: Mapping[str, Collection[str]]) -> Sequence[str] | None:
        """The generators that it is trained on once it is fitted; None where that is unknown. generators: what the data
        has in each split."""
        return sorted(generators.get(self.fit_split, ())) if self.fitted else self.card.trained_on

    def check_ready(self) -> None:
        """Raises MaibenchError, with what to do, where a loaded detector cannot score yet."""

    def facts(self) -> dict[str, str]:
        """What is known of the loaded detector beyond its card, for `maibench show`."""
        return {}

    def fit(self, features: NDArray[np.float32], labels: NDArray[np.int64]) -> None:
        """Fit to `fit_split`: (n, d) `fit_features` and (n,) labels in {0, 1}. Only where `fitted` is True.

        What is learnt is kept in buffers, so that `state_dict` holds it.
        """
        raise NotImplementedError(f"{type(self).__name__}.fit")

    @classmethod
    def bundled_card(cls) -> Card:
        """The card of the bundled weights, without loading them; for classes that load their own."""
        raise NotImplementedError(f"{cls.__name__}.bundled_card")

    @property
    def row_name(self) -> str:
        """What its row is called where the request gives no label; "" for the name that it was asked for by."""
        return ""

    def __getstate__(self) -> dict[str, Any]:
        """What is pickled and copied: all but what a backend compiled, which belongs to one process."""
        return {name: value for name, value in self.__dict__.items() if name != "compiled"}

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        tensor = next((t for group in (self.parameters(), self.buffers()) for t in group), None)
        return torch.device("cpu") if tensor is None else tensor.device

    def parameter_count(self) -> int:
        """How many trainable numbers the detector has (buffers that `fit` fills are counted for fitted ones)."""
        tensors = self.buffers() if self.fitted else self.parameters()
        return sum(t.numel() for t in tensors)
