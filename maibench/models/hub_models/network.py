"""What the detectors that transformers loads have in common: where they come from, and LoRA adapters."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import torch

from maibench.errors import MaibenchError
from maibench.files import write_whole
from maibench.models.base import Detector
from maibench.models.hub_models.adapter import FILES, load_adapter
from maibench.models.hub_models.files import find_adapter, find_files
from maibench.models.hub_models.loading import find_dtype, load_network


class HubNetwork(Detector):
    """A network of a folder or of OWNER/NAME[@REVISION], which transformers loads; `_load` begins every constructor."""

    loads: ClassVar[tuple[str, ...]] = ("model", "weights", "adapter", "device")
    network: Any  # what transformers' networks have in common is more than nn.Module

    def add_adapter(self, rank: int, alpha: int, dropout: float, targets: str) -> None:
        """Put a fresh LoRA adapter on the network. Raises MaibenchError where it was loaded with one: what is saved
        belongs to the base alone."""
        from maibench.models.moondream.adapter import add_adapter

        if self.adapter_sha256:
            raise MaibenchError("a new adapter is trained on the base: load it without the option adapter")
        self.lora = add_adapter(self.network, rank, alpha, dropout, targets)
        self.lora.base_model_name_or_path = self.files.name

    def save_memory(self) -> None:
        """Recompute activations in the backward pass. Raises MaibenchError where the network cannot."""
        try:
            self.network.gradient_checkpointing_enable({"use_reentrant": False})
        except ValueError as error:  # transformers' way of not having it
            raise MaibenchError(f"{self.files.name}: {error}; leave 'checkpointing' out") from error

    def save(self, folder: Path) -> dict[str, Any]:
        """Write the adapter in PEFT's format, or copy the one that was loaded; config.json says whose it is."""
        if hasattr(self, "lora"):
            from maibench.models.moondream.adapter import save_adapter

            save_adapter(self.network, self.lora, folder)
        elif self.adapter is not None:
            for name in FILES:
                write_whole(folder / name, partial(shutil.copyfile, self.adapter / name))
        else:
            raise MaibenchError(f"{self.files.name} has no adapter, and the base is not copied: name it where it is")
        return {"base_sha256": self.files.sha256}

    def parameter_count(self) -> int:
        """Of the network; an adapter that stays beside it, where others are taken into it, is not counted."""
        return sum(tensor.numel() for name, tensor in self.named_parameters() if "lora_" not in name)

    def _load(
        self,
        auto: Any,
        model: str | Path,
        adapter: str | Path | None,
        dtype: str,
        device: str,
        weights: str | Path | None,
    ) -> None:
        """Set files, dtype, network and adapter, and what the card says of them."""
        if weights is not None:
            raise MaibenchError(f"{model}: the SPEC says where the weights are; leave the option weights out")
        wanted = find_dtype(dtype, device)
        self.files = find_files(model)
        self.adapter = None if adapter is None else find_adapter(adapter)
        self.network = load_network(auto, self.files, wanted)
        self.adapter_sha256 = load_adapter(self.network, self.adapter, self.files) if self.adapter else ""
        self.card = self.card.updated(
            weights=self.files.name,
            sha256=self.files.sha256,
            licence=self.files.licence,
            reference=f"https://huggingface.co/{self.files.name.partition('@')[0]}" if "@" in self.files.name else "",
            training_data=self.files.origin,
        )
        if self.adapter is not None:
            if (self.adapter / "card.json").is_file():
                self.card = self.card.read(self.adapter / "card.json")
            self.card = self.card.updated(weights=f"{self.files.name} + adapter {self.adapter}")

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights, and of what the network is given."""
        return self.network.dtype
