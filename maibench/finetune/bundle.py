"""Put a finetuned folder's weights into the package, in half precision if that changes no decision.

python -m maibench.finetune.bundle runs/bailu --data demo --data MANIFEST
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch

from maibench.datasets.image import decode, read_file
from maibench.datasets.readers import open_data
from maibench.errors import ImageError, MaibenchError
from maibench.evaluation.files import write_text
from maibench.models.base import Detector
from maibench.models.loading import load_detector
from maibench.models.weights import BUNDLED, load_weights, save_weights, sha256


def bundle(folder: Path, sources: list[str], target: Path = BUNDLED) -> Path:
    """Write NAME.safetensors and NAME.json to `target`.

    The validation images of `sources` are scored with both precisions; raises MaibenchError when one of them changes
    sides.
    """
    detector = load_detector(str(folder))
    name = json.loads((folder / "config.json").read_text())["detector"]
    options = json.loads((folder / "config.json").read_text())["options"]
    before = _logits(detector, sources)
    file = target / f"{name}.safetensors"
    part = target / f".{name}.half.safetensors"
    save_weights(detector, part, half=True)
    load_weights(detector, part)
    after = _logits(detector, sources)
    changed = int(((before > 0) != (after > 0)).sum())
    if changed:
        part.unlink()
        raise MaibenchError(f"half precision changes {changed} of {len(before)} decisions; nothing was bundled")
    part.replace(file)
    card = json.loads((folder / "card.json").read_text())
    card |= {"weights": "bundled", "sha256": sha256(file)}
    card["notes"] = f"stored in half precision; options {options}" if options else "stored in half precision"
    write_text(target / f"{name}.json", json.dumps(card, indent=2) + "\n")
    print(f"{file}: {file.stat().st_size:,} bytes; {len(before)} decisions equal, largest change of a logit "
          f"{np.abs(before - after).max():.4f}")  # fmt: skip
    return file


@torch.inference_mode()
def _logits(detector: Detector, sources: list[str]) -> np.ndarray:
    logits = []
    for manifest in map(open_data, sources):
        for row in manifest.split("validation").to_dict("records"):
            try:
                item = detector.preprocess(decode(read_file(manifest.root, row["path"]).data))
            except ImageError:
                continue
            logits.append(float(detector(detector.collate([item]))))
    return np.array(logits)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data", action="append", required=True)
    args = parser.parse_args()
    bundle(args.folder, args.data)


if __name__ == "__main__":
    main()
