"""Where a training stands, on disk: written whole or not at all."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from maibench.datasets.manifest import Manifest
from maibench.errors import MaibenchError
from maibench.files import write_whole
from maibench.finetune.averaging import WeightAverage
from maibench.finetune.recipe import Recipe
from maibench.finetune.sharding import changing, put, spread_state, whole
from maibench.models.base import Detector
from maibench.models.weights import differences, shapes


class Checkpoint:
    """A file that holds the state of a training, what it is of (recipe, data, number of processes), and what is
    trained: whole tensors, however they are spread while they are trained. writes: whether this process is the one that
    writes it; all of them save it and load it together."""

    def __init__(
        self, file: Path, recipe: Recipe, manifests: Sequence[Manifest], processes: int = 1, writes: bool = True
    ) -> None:
        self.file = file
        self.of = {"recipe": recipe.model_dump_json(), "data": ", ".join(m.fingerprint for m in manifests)}
        self.processes = processes
        self.writes = writes

    def save(
        self, state: dict[str, Any], detector: Detector, average: WeightAverage, optimiser: torch.optim.Optimizer
    ) -> None:
        """Raises DiskError when the disk is full; the checkpoint before stays."""
        content = {
            **self.of,
            "processes": self.processes,
            "state": state,
            "detector": whole(changing(detector), self.writes),
            "average": whole(average.tensors, self.writes),
            "updates": average.updates,
            "optimiser": whole(optimiser.state_dict(), self.writes),
        }
        if self.writes:
            write_whole(self.file, functools.partial(_write, content))

    def load(self, detector: Detector, average: WeightAverage, optimiser: torch.optim.Optimizer) -> dict[str, Any]:
        """The state to go on from; a fresh one where there is no file.

        Raises MaibenchError for a checkpoint of another recipe, other data, another number of processes (the images of
        a step are then others) or another architecture, and for a file that cannot be read.
        """
        if not self.file.is_file():
            return {"step": 0, "loss": math.log(2), "auc": math.nan, "best": -1.0, "best_step": 0}
        content = self._read()
        for what, expected in self.of.items():
            if content.get(what) != expected:
                other = "another recipe" if what == "recipe" else "other data"
                raise MaibenchError(f"{self.file}: a checkpoint of {other}; choose another --out, or remove it")
        if (before := content.get("processes", self.processes)) != self.processes:
            raise MaibenchError(
                f"{self.file}: a checkpoint of a training by {before} processes, not {self.processes}: launch as many "
                "again, or choose another --out"
            )
        own = changing(detector)
        if problems := differences(shapes(content["detector"]), shapes(own)):
            raise MaibenchError(f"{self.file}: a checkpoint of another architecture: {problems}")
        for tensors, saved in ((own, content["detector"]), (average.tensors, content["average"])):
            for name, tensor in tensors.items():
                put(tensor, saved[name])
        average.updates = content["updates"]
        optimiser.load_state_dict(spread_state(optimiser, content["optimiser"]))
        return content["state"]

    def _read(self) -> dict[str, Any]:
        try:
            content = torch.load(self.file, map_location="cpu", weights_only=True)
            if not isinstance(content, dict):
                raise ValueError(f"holds a {type(content).__name__}")
            return content
        except Exception as error:  # what torch raises for a file of something else depends on its first bytes
            reason = str(error).partition("\n")[0]
            raise MaibenchError(f"{self.file}: not a checkpoint ({reason}); remove it to begin again") from error


def _write(content: dict[str, Any], file: Path) -> None:
    with open(file, "wb") as stream:
        try:
            torch.save(content, stream)
        except RuntimeError as error:  # torch's writer hides what the system refused
            refused = error.__context__
            raise refused if isinstance(refused, OSError) else error from None
