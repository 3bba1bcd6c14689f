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
from maibench.evaluation.statistics.metrics import auc, balanced_accuracy
from maibench.evaluation.statistics.thresholds import fit_threshold
from maibench.files import write_text
from maibench.finetune.validation import read_validation
from maibench.models.base import Detector
from maibench.models.loading import load_detector, options_of
from maibench.models.weights import BUNDLED, load_weights, save_weights, sha256


def bundle(
    folder: Path, sources: list[str], target: Path = BUNDLED, tnr: float | None = None, training_data: str = ""
) -> Path:
    """Write NAME.safetensors and NAME.json to `target`.

    The validation images of `sources` are scored with both precisions; raises MaibenchError when one of them changes
    sides. tnr: first scale the logits as Platt's regression wants them and move them so that this share of the
    photographs is called real, every split counting alike. training_data: in words, for the card, in place of names
    and fingerprints.
    """
    detector = load_detector(str(folder))
    config = json.loads((folder / "config.json").read_text())
    name, options = config["detector"], config["options"]
    splits = [read_validation(open_data(source), detector) for source in sources]
    scored = [(split.labels, split.logits(detector)) for split in splits]
    scale, shift = (1.0, 0.0) if tnr is None else operating_point(scored, tnr)
    _apply(detector, scale, shift)
    before = scale * np.concatenate([logits for _, logits in scored]) + shift
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
    changed_options = {key: value for key, value in options.items() if value != options_of(type(detector))[key].default}
    card["notes"] = "stored in half precision" + (f"; options {changed_options}" if changed_options else "")
    if tnr is not None:
        card["notes"] += (
            f"; logits scaled by {scale:.3f} (Platt) and moved by {shift:+.3f}, so that {tnr:.0%} of the photographs "
            "of the validation splits are called real"
        )
    if training_data:
        card["training_data"] = training_data
    write_text(target / f"{name}.json", json.dumps(card, indent=2) + "\n")
    print(f"{file}: {file.stat().st_size:,} bytes; {len(before)} decisions equal, largest change of a logit "
          f"{np.abs(before - after).max():.4f}")  # fmt: skip
    return file


def operating_point(scored: list[tuple[np.ndarray, np.ndarray]], tnr: float) -> tuple[float, float]:
    """(scale, shift) of logits for several (labels, logits), every set counting alike.

    scale: the slope of Platt's (1999) logistic regression of the labels on the logits, both classes of a set alike.
    shift: the least at which the mean of the sets' true negative rates is at least `tnr`. Raises MaibenchError where
    higher logits do not mean synthetic.
    """
    from sklearn.linear_model import LogisticRegression

    labels = np.concatenate([y for y, _ in scored])
    logits = np.concatenate([x for _, x in scored])
    weights = np.concatenate([1 / np.bincount(y, minlength=2)[y] for y, _ in scored])
    scale = float(LogisticRegression(C=np.inf).fit(logits[:, None], labels, sample_weight=weights).coef_[0, 0])
    if scale <= 0:
        raise MaibenchError("on the validation splits, higher logits do not mean synthetic; nothing can be calibrated")
    cuts = np.unique(logits)
    rates = np.mean([(x[y == 0][:, None] <= cuts).mean(axis=0) for y, x in scored], axis=0)
    first = int(np.argmax(rates >= tnr))
    # between two logits, so that rounding moves neither across
    cut = cuts[first] if first + 1 == len(cuts) else (cuts[first] + cuts[first + 1]) / 2
    return scale, -scale * float(cut)


def _apply(detector: Detector, scale: float, shift: float) -> None:
    last = [module for module in detector.modules() if isinstance(module, torch.nn.Linear)][-1]
    with torch.no_grad():
        last.weight.mul_(scale)
        last.bias.mul_(scale).add_(shift)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data", action="append", required=True)
    parser.add_argument("--tnr", type=float, help="put P = 0.5 where so many photographs are called real, as in 0.94")
    parser.add_argument("--training-data", default="", help="what it was trained on, in words")
    args = parser.parse_args()
    bundle(args.folder, args.data, tnr=args.tnr, training_data=args.training_data)


if __name__ == "__main__":
    main()
