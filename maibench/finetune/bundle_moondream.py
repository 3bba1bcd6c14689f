"""Put a trained nano moondream into the package, in half precision: first the base, then an adapter trained on it.

python -m maibench.finetune.bundle_moondream base runs/moondream_base --training-data "..."
python -m maibench.finetune.bundle_moondream adapter runs/moondream --data demo --data MANIFEST --training-data "..."
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
import torch

from maibench.datasets.readers import open_data
from maibench.errors import MaibenchError
from maibench.evaluation.statistics.metrics import auc, balanced_accuracy
from maibench.evaluation.statistics.thresholds import fit_threshold
from maibench.files import make_folder, write_text
from maibench.finetune.validation import read_validation
from maibench.models.loading import load_detector
from maibench.models.moondream.checkpoint import bundled, find_checkpoint
from maibench.models.moondream.detector import Moondream
from maibench.models.moondream.tensors import load_model, write_official
from maibench.models.weights import BUNDLED, read_tensors, sha256, write_tensors


def bundle_base(folder: Path, training_data: str, target: Path = BUNDLED) -> Path:
    """Write moondream.safetensors, its card moondream.json, and moondream/ with config.json and tokenizer.json."""
    checkpoint = find_checkpoint(folder)
    if checkpoint.tokenizer is None or not (folder / "validation.json").is_file():
        raise MaibenchError(f"{folder}: needs tokenizer.json and validation.json, as moondream_base writes them")
    known = json.loads((folder / "validation.json").read_text())
    model = load_model(checkpoint, torch.float32)
    extra = target / "moondream"
    make_folder(extra)
    file = target / "moondream.safetensors"
    write_official(model, file, extra / "config.json", half=True)
    # one line, without the indents: a third of the size
    write_text(extra / "tokenizer.json", json.dumps(json.loads(checkpoint.tokenizer.read_text()), ensure_ascii=False))
    card = {
        "name": "moondream",
        "summary": "nano moondream: the official architecture at about 1/1000 of its size, trained here",
        "weights": "bundled",
        "sha256": sha256(file),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "trained_on": [],
        "training_data": training_data,
        "recipe": "configs/pretraining/moondream_nano.yaml",
        "validation": {name: value for name, value in known.items() if name != "step"},
        "notes": "not the published moondream 2: that one is --set moondream.weights=vikhyatk/moondream2@2025-06-21; "
        "stored in half precision",
    }
    write_text(target / "moondream.json", json.dumps(card, indent=2) + "\n")
    print(f"{file}: {file.stat().st_size:,} bytes, {card['parameters']:,} parameters")
    return file


def bundle_adapter(folder: Path, sources: list[str], training_data: str, target: Path = BUNDLED) -> Path:
    """Write moondream/adapter/: the adapter in half precision, its config and card.

    Raises MaibenchError when half precision changes a decision on the validation images of `sources`.
    """
    detector = load_detector("moondream", adapter=str(folder))
    splits = [read_validation(open_data(source), detector) for source in sources]
    before = np.concatenate([split.logits(detector) for split in splits])
    adapter = target / "moondream" / "adapter"
    with tempfile.TemporaryDirectory() as workplace:
        halved = Path(workplace)
        tensors = read_tensors(folder / "adapter_model.safetensors")
        write_tensors({name: tensor.half() for name, tensor in tensors.items()}, halved / "adapter_model.safetensors")
        shutil.copy(folder / "adapter_config.json", halved)
        write_text(halved / "config.json", json.dumps({"base_sha256": bundled().sha256}, indent=2) + "\n")
        rescored = [split.logits(Moondream(adapter=str(halved)).eval()) for split in splits]
        after = np.concatenate(rescored)
        if changed := int(((before > 0) != (after > 0)).sum()):
            raise MaibenchError(
                f"half precision changes {changed} of {len(before)} decisions; do not ship this adapter"
            )
        shutil.rmtree(adapter, ignore_errors=True)
        make_folder(adapter)  # not copied as a whole: a temporary folder is closed to others
        for file in halved.iterdir():
            shutil.copyfile(file, adapter / file.name)
    facts = json.loads((folder / "card.json").read_text())
    labels = np.concatenate([split.labels for split in splits])
    base = json.loads((target / "moondream.json").read_text())
    card = {
        "name": "moondream",
        "trained_on": facts["trained_on"],
        "training_data": f"base: {base['training_data']}; adapter: {training_data}",
        "recipe": f"{base['recipe']}; adapter: {facts['recipe']}",
        "validation": {
            f"{split.name}_{metric.__name__}": round(metric(split.labels, logits), 4)
            for split, logits in zip(splits, rescored, strict=True)
            for metric in (auc, balanced_accuracy)
        }
        | {"threshold": round(fit_threshold(labels, after), 4)},
    }
    write_text(adapter / "card.json", json.dumps(card, indent=2) + "\n")
    size = (adapter / "adapter_model.safetensors").stat().st_size
    print(f"{adapter}: {size:,} bytes; {len(before)} decisions equal, largest change of a logit "
          f"{np.abs(before - after).max():.4f}")  # fmt: skip
    return adapter


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["base", "adapter"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data", action="append", default=[], help="a SOURCE with a validation split, for the adapter")
    parser.add_argument("--training-data", required=True, help="what it was trained on, in words")
    args = parser.parse_args()
    if args.part == "base":
        bundle_base(args.folder, args.training_data)
    else:
        bundle_adapter(args.folder, args.data, args.training_data)


if __name__ == "__main__":
    main()
