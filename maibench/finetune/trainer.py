"""Train a detector from a recipe: one loop that can be read from top to bottom, on any number of devices, stopped
anywhere, and gone on with."""

from __future__ import annotations

import contextlib
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import broadcast_object_list
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from maibench.datasets.manifest import Manifest
from maibench.errors import ImageError, MaibenchError
from maibench.files import disk_error, make_folder, remove_parts
from maibench.finetune.averaging import WeightAverage
from maibench.finetune.batches import Batches
from maibench.finetune.checkpoint import Checkpoint
from maibench.finetune.curve import append_curve, plot_curve
from maibench.finetune.export import Origin, export
from maibench.finetune.recipe import Recipe
from maibench.finetune.samples import Pictures, SampleSource, check_classes
from maibench.finetune.schedule import warm_cosine
from maibench.finetune.validation import Validation
from maibench.models.base import Detector
from maibench.models.device import choose_device, to_device
from maibench.models.loading import build, load_detector
from maibench.models.registry import detector_class
from maibench.models.weights import load_weights
from maibench.progress import Progress

NORMALISING = 64
"""Batches that batch normalisation is estimated on for averaged weights; with 16 the validation AUC still moves by 0.01
from one draw to another."""


class Objective(nn.Module):
    """A detector's loss as a forward pass, which is what data parallelism wraps."""

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, batch: Any, labels: Tensor) -> Tensor:
        return self.detector.loss(batch, labels)


def train(
    recipe: Recipe,
    manifests: list[Manifest],
    out: Path,
    device: str = "auto",
    progress: Progress | None = None,
    workers: int | None = None,
    pictures: Pictures | None = None,
) -> Path:
    """Train and write a folder that `load_detector` loads: config.json, model.safetensors (with `lora` a PEFT adapter),
    card.json, README.md, curve.csv and curve.png.

    The weights with the best mean AUC over the validation splits are kept. The same call goes on from the last
    checkpoint and ends in the same weights, bit for bit, on the same machine and number of threads. workers: threads
    that prepare batches; one a core, but one, where there is none given. pictures: decoded images that the
    next training of this process may want again. Raises MaibenchError for data without both
    classes or a validation split, for another recipe's checkpoint, for a loss that is not a number, and for an image
    that cannot be read any more; the last checkpoint is kept.
    """
    progress = progress or Progress()
    workers = workers or max(1, _cores() - 1)
    make_folder(out)
    accelerator = _accelerator(recipe, out, device)
    if not accelerator.is_main_process:
        progress = Progress()
    torch.manual_seed(recipe.seed)
    detector = make_detector(recipe, str(accelerator.device))
    check_classes(manifests, [*recipe.exclude, *recipe.hold_out])
    validation = Validation(manifests, detector, recipe.exclude, recipe.hold_out, recipe.validation_images, workers)
    progress.say("reading the training images")
    source = SampleSource(manifests, recipe.exclude, recipe.hold_out, recipe.smallest_image, workers, pictures=pictures)
    progress.say(source.described())
    if bool(recipe.pairs) != bool(source.pairs) and source.singles:
        progress.say(
            "there are no pairs to draw" if recipe.pairs else "pairs is 0 in the recipe: none of them is drawn"
        )
    batches = Batches(source, recipe, detector, accelerator.process_index, workers)
    steps = recipe.count_steps(source.per_epoch, accelerator.num_processes)
    average = WeightAverage(detector, recipe.averaging, recipe.anchor)
    optimiser = make_optimiser(recipe, detector)
    checkpoint = Checkpoint(out / "checkpoint.pt", recipe, manifests)
    state = checkpoint.load(detector, average, optimiser)
    if accelerator.is_main_process:
        remove_parts(out, below=False)
        if not state["step"]:
            (out / "curve.csv").unlink(missing_ok=True)
    objective, optimiser = accelerator.prepare(Objective(detector), optimiser)
    origin = Origin(recipe, source, manifests)
    if _has_stalled(state, recipe):
        steps = state["step"]

    upcoming = batches.between(state["step"] + 1, steps)
    with progress.running(steps, state["step"]), contextlib.closing(upcoming):
        for step in range(state["step"] + 1, steps + 1):
            for group in optimiser.param_groups:
                group["lr"] = recipe.lr * warm_cosine(step, steps, recipe.warmup_steps(steps))
            detector.train()
            for part in range(recipe.accumulate):
                images, labels = to_device(_next(upcoming, out), accelerator.device)
                # what dropout draws depends on the place in the training alone, so that nothing has to be kept of it
                torch.manual_seed(_seed(recipe.seed, step, part, accelerator.process_index))
                with accelerator.accumulate(objective), accelerator.autocast():
                    loss = objective(images, labels)
                    accelerator.backward(loss)
                    if accelerator.sync_gradients:
                        accelerator.clip_grad_norm_(objective.parameters(), recipe.clip)
                    optimiser.step()
                    optimiser.zero_grad()
                state["loss"] += (0.02 / recipe.accumulate) * (_finite(loss, step, out) - state["loss"])
            average.update()
            progress.advance(1, _note(state))
            if step % recipe.validate_every == 0 or step == steps:
                _check_weights(detector, step, out)
                state["step"] = step
                if accelerator.is_main_process:
                    with average.in_place():
                        told = _validate(detector, validation, batches, state, out, origin)
                    progress.say(f"step {step} of {steps}: {told}")
                    checkpoint.save(state, detector, average, optimiser)
                state.update(broadcast_object_list([state])[0])
                accelerator.log({"loss": state["loss"], "auc": state["auc"]}, step=step)
                if _has_stalled(state, recipe):
                    progress.say(f"no better validation AUC for {step - state['best_step']} steps: stopped early")
                    break
    accelerator.end_training()
    return out


def _cores() -> int:
    # which cores this process may use is known on Linux alone
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _accelerator(recipe: Recipe, out: Path, device: str) -> Accelerator:
    if choose_device(device) not in ("cpu", "cuda"):
        raise MaibenchError(
            f"--device {device}: a training takes auto, cpu or cuda; CUDA_VISIBLE_DEVICES chooses among GPUs"
        )
    # an earlier training of this process may have had another precision; the processes themselves stay connected
    AcceleratorState._reset_state()
    try:
        accelerator = Accelerator(
            cpu=device == "cpu",
            mixed_precision="bf16" if recipe.precision == "bf16" else "no",
            gradient_accumulation_steps=recipe.accumulate,
            log_with="tensorboard" if recipe.tensorboard else None,
            project_dir=str(out),
        )
        if recipe.tensorboard:
            if not accelerator.log_with:
                raise MaibenchError("tensorboard: true needs a package: pip install tensorboard")
            accelerator.init_trackers("tensorboard", {"recipe": recipe.model_dump_json(exclude_defaults=True)})
    except (ImportError, ValueError) as error:
        raise MaibenchError(f"training cannot begin: {error}") from error
    launched = int(os.environ.get("WORLD_SIZE", 1))
    if launched != accelerator.num_processes:
        raise MaibenchError(
            f"{launched} processes were launched, but would train each for itself: on processors they need --device cpu"
        )
    return accelerator


def make_detector(recipe: Recipe, device: str) -> Detector:
    """The network that a recipe begins with. Raises MaibenchError for a detector that no gradient leads through."""
    cls = detector_class(recipe.detector)
    if cls.fitted:
        raise MaibenchError(f"{recipe.detector} is fitted by the comparison itself; there is nothing to finetune")
    if cls.reads != "pixels":
        raise MaibenchError(f"{recipe.detector} reads files; only detectors that read pixels can be finetuned")
    if "weights" in cls.loads:
        detector = load_detector(recipe.detector, device=device, **recipe.options)
    else:
        detector = build(cls, recipe.detector, recipe.options).to(device)
    if recipe.start:
        load_weights(detector, Path(recipe.start))
    if recipe.lora is not None:
        detector.add_adapter(**recipe.lora.model_dump())
    if recipe.checkpointing:
        detector.save_memory()
    return detector


def make_optimiser(recipe: Recipe, detector: Detector) -> torch.optim.Optimizer:
    """Over what is trained: all parameters, or those of the adapter. Raises MaibenchError where that is nothing."""
    trained = [parameter for parameter in detector.parameters() if parameter.requires_grad]
    if not trained:
        raise MaibenchError(f"{recipe.detector} is trained through an adapter: the recipe needs 'lora'")
    if recipe.optimiser == "rmsprop":
        return torch.optim.RMSprop(trained, lr=recipe.lr, weight_decay=recipe.weight_decay)
    return torch.optim.AdamW(trained, lr=recipe.lr, weight_decay=recipe.weight_decay)


def _note(state: dict[str, Any]) -> str:
    validated = "" if math.isnan(state["auc"]) else f", validation AUC {state['auc']:.3f}"
    return f"loss {state['loss']:.3f}{validated}"


def _has_stalled(state: dict[str, Any], recipe: Recipe) -> bool:
    return bool(recipe.patience) and state["step"] - state["best_step"] >= recipe.patience


def _next(upcoming: Any, out: Path) -> Any:
    try:
        return next(upcoming)
    except ImageError as error:
        raise MaibenchError(f"{error} (the last checkpoint in {out} is kept)") from error


def _seed(*place: int) -> int:
    return int(np.random.SeedSequence(place).generate_state(1)[0])


def _finite(loss: Tensor, step: int, out: Path) -> float:
    value = loss.item()
    if not math.isfinite(value):
        raise MaibenchError(f"the loss is {value} at step {step}; {_last_kept(out)}")
    return value


def _check_weights(detector: Detector, step: int, out: Path) -> None:
    """Raise MaibenchError for weights that no checkpoint should hold: the loss can be finite, its gradient not."""
    for name, parameter in detector.named_parameters():
        if parameter.requires_grad and not parameter.isfinite().all():
            raise MaibenchError(f"the weights '{name}' are not finite after step {step}; {_last_kept(out)}")


def _last_kept(out: Path) -> str:
    return f"the last checkpoint in {out} is kept: lower lr or clip, or use precision: float32"


def _validate(
    detector: Detector,
    validation: Validation,
    batches: Batches,
    state: dict[str, Any],
    out: Path,
    origin: Origin,
) -> str:
    """Score the averaged weights, note it in the curve, and keep them where they are the best so far."""
    # averaged weights produce other statistics than the weights that they are an average of
    # (each in a list of its own: of a batch that is a list itself, update_bn would take the first image alone)
    update_bn(([to_device(batch, detector.device)] for batch in batches.first(NORMALISING)), detector)
    scores = validation.scores(detector)
    state["auc"] = scores["auc"]
    append_curve(out / "curve.csv", {"step": state["step"], "loss": state["loss"], **scores})
    plot_curve(out / "curve.csv", out / "curve.png")
    if scores["auc"] > state["best"]:
        state["best"], state["best_step"] = scores["auc"], state["step"]
        try:
            export(detector, out, origin, state["step"], scores)
        except OSError as error:
            raise disk_error(out, error) from error
    told = ", ".join(f"{name} {value:.3f}" for name, value in scores.items())
    return f"loss {state['loss']:.3f}, {told}"
