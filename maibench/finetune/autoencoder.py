"""Train the demo's nano autoencoders on the real photographs of a manifest.

    python -m maibench.finetune.autoencoder --data shared/data/manifest.csv --out maibench/datasets/weights

L1 on pixels and on their first differences plus a small penalty on the latent's size (Rombach et al. 2022, arXiv
2112.10752, without the adversarial and perceptual parts: a nano decoder has no capacity to spend on invented texture;
and without sampling: the demo decodes the posterior's mean). Only rows of split train are read.
"""

from __future__ import annotations

import argparse
import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from maibench.datasets.autoencoders import ARCHITECTURES, build_autoencoder, save_autoencoder
from maibench.datasets.image import decode
from maibench.datasets.manifest import Manifest
from maibench.datasets.readers import open_data

CROP = 96


def load_photographs(manifest: Manifest) -> list[np.ndarray]:
    """The real training photographs of a manifest, uint8 height x width x 3."""
    rows = manifest.split("train")
    paths = rows.loc[rows["label"] == 0, "path"]
    return [decode(manifest.read(path).data) for path in paths]


def random_batch(photographs: list[np.ndarray], size: int, rng: random.Random) -> torch.Tensor:
    """(size, 3, CROP, CROP) in [-1, 1]: random crops and flips; half of them first shrunk, as the demo's are."""
    crops: list[np.ndarray] = []
    while len(crops) < size:
        image = rng.choice(photographs)
        if rng.random() < 0.4:
            scale = rng.uniform(0.5, 1.0)
            side = (max(CROP, round(image.shape[1] * scale)), max(CROP, round(image.shape[0] * scale)))
            image = np.asarray(Image.fromarray(image).resize(side, Image.Resampling.LANCZOS))
        top, left = (rng.randrange(n - CROP + 1) for n in image.shape[:2])
        crop = image[top : top + CROP, left : left + CROP]
        crops.append(crop[:, ::-1] if rng.random() < 0.5 else crop)
    return torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float() / 127.5 - 1


def loss_terms(model: Any, batch: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(training loss, mean absolute pixel error in [-1, 1] units)."""
    latent = model.encode(batch).latent_dist.mode()
    decoded = model.decode(latent).sample.float()
    pixel = (decoded - batch).abs().mean()
    error = decoded - batch
    gradient = error.diff(dim=2).abs().mean() + error.diff(dim=3).abs().mean()
    return pixel + 0.5 * gradient + 1e-4 * latent.float().square().mean(), pixel.detach()


def train(
    name: str, photographs: list[np.ndarray], steps: int, batch_size: int, seed: int
) -> tuple[torch.nn.Module, dict[str, Any]]:
    """Train with a cosine learning rate and weight averaging. Returns the averaged model and what was done."""
    torch.manual_seed(seed)
    rng = random.Random(seed)
    model = build_autoencoder(name).train()
    average = torch.optim.swa_utils.AveragedModel(model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.995))
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=1e-4)
    running = 0.2
    for step in range(1, steps + 1):
        for group in optimiser.param_groups:
            group["lr"] = 3e-3 * min(1, step / 50) * (0.5 + 0.5 * math.cos(math.pi * step / steps)) + 1e-5
        batch = random_batch(photographs, batch_size, rng)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss, pixel = loss_terms(model, batch)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        average.update_parameters(model)
        running = 0.98 * running + 0.02 * pixel.item()
        if step % 100 == 0:
            print(f"{name} step {step} of {steps}: mean absolute error {running * 127.5:.2f} of 255", flush=True)
    facts = {
        "steps": steps,
        "seed": seed,
        "batch": batch_size,
        "crop": CROP,
        "mean_absolute_error_255": round(running * 127.5, 2),
    }
    return average.module, facts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, help="a manifest with real rows of split train")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--names", default=",".join(ARCHITECTURES))
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    photographs = load_photographs(open_data(args.data))
    for name in args.names.split(","):
        model, facts = train(name, photographs, args.steps, args.batch_size, args.seed)
        facts["trained_on"] = f"{len(photographs)} real photographs of split train"
        save_autoencoder(model, name, args.out, facts)


if __name__ == "__main__":
    main()
