"""Put a head that tells generators apart into the package: the head alone, in half precision if that changes no answer.

python -m maibench.finetune.bundle_attribution runs/attribution attribution-demo --data demo
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import torch

from maibench.datasets.readers import open_data
from maibench.errors import MaibenchError
from maibench.evaluation.attribution import attribute
from maibench.files import write_text
from maibench.models.attribution import TRUNK, Attribution
from maibench.models.loading import load_detector
from maibench.models.registry import detector_class
from maibench.models.weights import BUNDLED, read_tensors, sha256, write_tensors


def bundle_head(folder: Path, name: str, sources: list[str], target: Path = BUNDLED, training_data: str = "") -> Path:
    """Write NAME.safetensors and NAME.json to `target`.

    training_data: in words, for the card, in place of names and fingerprints. Raises MaibenchError where the trunk is
    not that of bailu's bundled weights, where the class NAME has other classes or another way to tell the unknown, and
    where half precision changes an answer on a validation image of `sources`; nothing is written then.
    """
    trained, cls = load_detector(str(folder)), detector_class(name)
    if not (isinstance(trained, Attribution) and issubclass(cls, Attribution)):
        raise MaibenchError(f"{folder} and {name} have to be heads that tell generators apart")
    bundled = cls()
    expected, found = (
        {option: getattr(network, option) for option in ("classes", "pooled", "measure", "head")}
        for network in (bundled, trained)
    )
    if str(expected) != str(found):
        raise MaibenchError(f"the class of {name} says {expected}, but {folder} holds {found}; change the class")
    trunk = BUNDLED / "bailu.safetensors"
    own = trained.state_dict()
    for tensor_name, tensor in read_tensors(trunk).items():
        if not tensor_name.startswith("head.") and not torch.equal(tensor.float(), own[tensor_name].float()):
            raise MaibenchError(f"{folder}: its trunk is not that of bailu's bundled weights ('{tensor_name}' differs)")
    # the threshold lies between two images, and four bytes are four bytes
    tensors = {key: value if key == "threshold" else value.half() for key, value in trained.head_tensors().items()}
    tensors[TRUNK] = torch.tensor(list(bytes.fromhex(sha256(trunk))), dtype=torch.uint8)
    file = target / f"{name}.safetensors"
    part = target / f".{name}.half.safetensors"
    write_tensors(tensors, part)
    try:
        bundled.load_state_dict(bundled.rename_official(read_tensors(part)))
        _check_answers(trained, bundled, sources)
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)
    card = json.loads((folder / "card.json").read_text())
    card |= {"name": name, "weights": "bundled", "sha256": sha256(file)}
    card |= {"training_data": training_data} if training_data else {}
    write_text(target / f"{name}.json", json.dumps(card, indent=2) + "\n")
    return file


def _check_answers(trained: Attribution, halved: Attribution, sources: list[str]) -> None:
    for source in sources:
        if not len(open_data(source).split("validation")):
            continue
        with tempfile.TemporaryDirectory() as folder:
            before, after = (
                attribute(network, source, folder, split="validation", resamples=2).images
                for network in (trained, halved)
            )
        changed = int((before["attributed"] != after["attributed"]).sum() + (before["answer"] != after["answer"]).sum())
        if changed:
            raise MaibenchError(f"half precision changes {changed} answers on {source}; nothing was bundled")


def main() -> None:
    """The command line of this module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("name")
    parser.add_argument("--data", action="append", required=True)
    parser.add_argument("--training-data", default="")
    given = parser.parse_args()
    print(bundle_head(given.folder, given.name, given.data, training_data=given.training_data))


if __name__ == "__main__":
    main()
