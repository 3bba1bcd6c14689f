"""What the tests of finetuning share: a plug-in that trains in no time, and a disk that is soon full."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from maibench.finetune.recipe import Recipe

WORDS = ("<|endoftext|>", "<|1|>", "<|2|>", "<|3|>", "Is", "this", "image", "AI-generated?", "Yes", "No", "[UNK]")
ENTRY_POINTS = "[maibench.detectors]\ntiny = tiny_detector:Tiny\ntiny_breaking = tiny_detector:Breaking\n"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The detectors `tiny` and `tiny_breaking` as an installed plug-in; the environment that other processes find it
    with."""
    folder = tmp_path_factory.mktemp("plugin")
    shutil.copy(Path(__file__).parent / "tiny_detector.py", folder)
    (folder / "tiny-1.0.dist-info").mkdir()
    (folder / "tiny-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
    (folder / "tiny-1.0.dist-info" / "entry_points.txt").write_text(ENTRY_POINTS)
    sys.path.insert(0, str(folder))
    yield {"PYTHONPATH": os.pathsep.join([str(folder), str(Path(__file__).parents[2])])}
    sys.path.remove(str(folder))
    sys.modules.pop("tiny_detector", None)


@pytest.fixture(scope="session")
def tiny_moondream(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random moondream 2 with a tokenizer of whole words."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers

    from maibench.models.moondream.config import MoondreamConfig
    from maibench.models.moondream.model import MoondreamModel
    from maibench.models.moondream.tensors import save_folder

    torch.manual_seed(3)
    settings = MoondreamConfig.model_validate(
        {
            "text": {"dim": 32, "ff_dim": 48, "n_layers": 2, "vocab_size": 16, "n_heads": 2, "n_kv_heads": 2},
            "vision": {
                "enc_dim": 16, "enc_ff_dim": 24, "enc_n_layers": 1, "enc_n_heads": 2, "proj_inner_dim": 24,
                "proj_out_dim": 32,
            },
            "tokenizer": {"templates": {"query": {"prefix": [1, 2], "suffix": [3]}}},
        }
    )  # fmt: skip
    model = MoondreamModel(settings)
    for parameter in model.parameters():
        parameter.data.normal_(0, 0.3)
    folder = tmp_path_factory.mktemp("weights")
    save_folder(model, folder)
    tokenizer = Tokenizer(models.WordLevel({word: token for token, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture(scope="session")
def tiny_recipe() -> Callable[..., Recipe]:
    """tiny_recipe(**changes) -> a recipe of `tiny` in float32, 8 steps of 4 images, validated once."""

    def make(**changes: object) -> Recipe:
        values = {
            "detector": "tiny", "lr": 0.1, "steps": 8, "warmup": 2, "batch_size": 4, "crop": 64, "averaging": 0.5,
            "validate_every": 8, "precision": "float32", "augmentation": {"jpeg": 0, "pair_jpeg": 0, "resize": 0},
        }  # fmt: skip
        return Recipe.model_validate({**values, **changes})

    return make


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """small_disk(room) -> a folder on a disk where so many bytes are free, in steps of 4 kB; what lies there stays."""
    disk, size = tmp_path / "disk", 256 * 1024
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", disk]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("a small disk can be mounted by root only")

    def leave(room: int) -> Path:
        filler = disk / "filler"
        filler.unlink(missing_ok=True)
        free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_bsize
        filler.write_bytes(bytes(free - room))
        return disk

    yield leave
    subprocess.run(["umount", "--lazy", disk], check=True)
