"""Put a finetuned folder's weights into the package, in half precision if that changes no decision.

python -m maibench.finetune.bundle runs/bailu --data demo --data MANIFEST
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch

from maibench.datasets.readers import open_data
from maibench.errors import MaibenchError
from maibench.evaluation.metrics import auc, balanced_accuracy
from maibench.evaluation.thresholds import fit_threshold
from maibench.files import write_text
from maibench.finetune.validation import read_validation
from maibench.models.base import Detector
from maibench.models.loading import load_detector
from maibench.models.weights import BUNDLED, load_weights, save_weights, sha256

TOLERANCE = 0.02
"""Validation splits of some hundred images do not tell balanced accuracies apart that are nearer than this."""


def bundle(
    folder: Path, sources: list[str], target: Path = BUNDLED, centre: bool = False, training_data: str = ""
) -> Path:
    """Write NAME.safetensors and NAME.json to `target`.

    The validation images of `sources` are scored with both precisions; raises MaibenchError when one of them changes
    sides. centre: first move the last bias so that P = 0.5 is where the mean balanced accuracy over the validation
    splits of `sources` is as good as the best. training_data: in words, for the card, in place of names and
    fingerprints.
    """
    detector = load_detector(str(folder))
    config = json.loads((folder / "config.json").read_text())
    name, options = config["detector"], config["options"]
    splits = [read_validation(open_data(source), detector) for source in sources]
    scored = [(split.labels, split.logits(detector)) for split in splits]
    shift = best_cut(scored) if centre else 0.0
    _move_bias(detector, -shift)
    before = np.concatenate([logits for _, logits in scored]) - shift
    file = target / f"{name}.safetensors"
    part = target / f".{name}.half.safetensors"
    save_weights(detector, part, half=True)
    load_weights(detector, part)
    rescored = [split.logits(detector) for split in splits]
    after = np.concatenate(rescored)
    changed = int(((before > 0) != (after > 0)).sum())
    if changed:
        part.unlink()
        raise MaibenchError(f"half precision changes {changed} of {len(before)} decisions; nothing was bundled")
    part.replace(file)
    card = json.loads((folder / "card.json").read_text())
    labels = np.concatenate([split.labels for split in splits])
    card |= {
        "weights": "bundled",
        "sha256": sha256(file),
        "validation": {
            f"{split.name}_{metric.__name__}": round(metric(split.labels, logits), 4)
            for split, logits in zip(splits, rescored, strict=True)
            for metric in (auc, balanced_accuracy)
        }
        | {"threshold": round(fit_threshold(labels, after), 4)},
    }
    card["notes"] = "stored in half precision" + (f"; options {options}" if options else "")
    if centre:
        card["notes"] += f"; the last bias was moved by {-shift:.2f}, fitted on validation splits alone"
    if training_data:
        card["training_data"] = training_data
    write_text(target / f"{name}.json", json.dumps(card, indent=2) + "\n")
    print(f"{file}: {file.stat().st_size:,} bytes; {len(before)} decisions equal, largest change of a logit "
          f"{np.abs(before - after).max():.4f}")  # fmt: skip
    return file


def best_cut(scored: list[tuple[np.ndarray, np.ndarray]]) -> float:
    """A logit with a good mean balanced accuracy over several (labels, logits), each set counting alike: of the cuts
    within TOLERANCE of the best, the one nearest to 0, where the training put it."""
    cuts = np.unique(np.concatenate([logits for _, logits in scored]))
    cuts = (cuts[1:] + cuts[:-1]) / 2
    quality = np.array([np.mean([balanced_accuracy(y, x - cut) for y, x in scored]) for cut in cuts])
    good = cuts[quality >= quality.max() - TOLERANCE]
    return float(good[np.abs(good).argmin()])


def _move_bias(detector: Detector, shift: float) -> None:
    last = [module for module in detector.modules() if isinstance(module, torch.nn.Linear)][-1]
    with torch.no_grad():
        last.bias.add_(shift)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data", action="append", required=True)
    parser.add_argument("--centre", action="store_true", help="put P = 0.5 where the validation splits want it")
    parser.add_argument("--training-data", default="", help="what it was trained on, in words")
    args = parser.parse_args()
    bundle(args.folder, args.data, centre=args.centre, training_data=args.training_data)


if __name__ == "__main__":
    main()
