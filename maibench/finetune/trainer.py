"""Train a detector from a recipe: one loop that can be read from top to bottom, on any number of devices, stopped
anywhere, and gone on with."""

from __future__ import annotations

import contextlib
import copy
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from maibench.datasets.manifest import Manifest
from maibench.errors import ImageError, MaibenchError
from maibench.files import disk_error, make_folder, remove_parts
from maibench.finetune.averaging import WeightAverage
from maibench.finetune.batches import Batches
from maibench.finetune.checkpoint import Checkpoint
from maibench.finetune.curve import Curve, append_curve
from maibench.finetune.export import Origin, export
from maibench.finetune.processes import check_alike, connect, cores, on_this_machine, spreads_weights, together
from maibench.finetune.recipe import Recipe
from maibench.finetune.samples import MEMORY, Pictures, SampleSource, check_classes
from maibench.finetune.schedule import warm_cosine
from maibench.finetune.sharding import gather, own_piece
from maibench.finetune.validation import Validation
from maibench.models.base import Detector
from maibench.models.device import to_device
from maibench.models.loading import build_to_train, load_detector
from maibench.models.registry import detector_class
from maibench.models.weights import load_weights
from maibench.progress import Progress

NORMALISING = 64
"""Batches that batch normalisation is estimated on for averaged weights; with 16 the validation AUC still moves by 0.01
from one draw to another."""


class Objective(nn.Module):
    """A detector's loss as a forward pass, which is what data parallelism wraps; where weights are spread over
    processes, each layer that a library says not to split is put together by itself."""

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.detector = detector
        layers = {name for module in detector.modules() for name in getattr(module, "_no_split_modules", None) or ()}
        self._no_split_modules = sorted(layers & {type(module).__name__ for module in detector.modules()})

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
    checkpoint and ends in the same weights, bit for bit, on the same machine and number of threads. Several processes,
    launched by torchrun or accelerate, train as one with as many times the batch; the first of them validates and
    writes. workers: threads that prepare batches; one a core, but one, where there is none given. pictures: decoded
    images that the next training of this process may want again. Raises MaibenchError for data without both classes or
    a validation split, for the checkpoint of another recipe or number of processes, for a loss that is not a number,
    for an image that cannot be read any more, and where another process has ended; the last checkpoint is kept.
    """
    if recipe.head is not None or recipe.detector == "attribution":
        from maibench.finetune.attribution import train_attribution

        return train_attribution(recipe, manifests, out, device, progress, workers)
    make_folder(out)
    accelerator = connect(recipe, out, device)
    with together(out):
        _train(accelerator, recipe, manifests, out, progress or Progress(), workers, pictures)
        accelerator.end_training()
    return out


def _train(
    accelerator: Accelerator,
    recipe: Recipe,
    manifests: list[Manifest],
    out: Path,
    progress: Progress,
    workers: int | None,
    pictures: Pictures | None,
) -> None:
    workers = workers or max(1, cores() - 1)
    is_main = accelerator.is_main_process
    if not is_main:
        progress = Progress()
    torch.manual_seed(recipe.seed)
    detector = make_detector(recipe, str(accelerator.device))
    check_classes(manifests, [*recipe.exclude, *recipe.hold_out])
    left_out = (recipe.exclude, recipe.hold_out)
    validation = Validation(manifests, detector, *left_out, recipe.validation_images, workers) if is_main else None
    progress.say("reading the training images")
    memory = MEMORY // on_this_machine()
    source = SampleSource(manifests, *left_out, recipe.smallest_image, workers, memory, pictures)
    progress.say(source.described())
    if bool(recipe.pairs) != bool(source.pairs) and source.singles:
        progress.say(
            "there are no pairs to draw" if recipe.pairs else "pairs is 0 in the recipe: none of them is drawn"
        )
    processes = accelerator.num_processes
    batches = Batches(source, recipe, detector, accelerator.process_index, workers, processes)
    steps = recipe.count_steps(source.per_epoch, processes)
    # what is validated and kept: the detector, or where each process will have a piece of it alone, a copy of it
    kept = detector if not spreads_weights(accelerator) else copy.deepcopy(detector) if is_main else None
    objective, optimiser = accelerator.prepare(Objective(detector), make_optimiser(recipe, detector))
    average = WeightAverage(detector, recipe.averaging, recipe.anchor)
    checkpoint = Checkpoint(out / "checkpoint.pt", recipe, manifests, processes, writes=is_main)
    state = checkpoint.load(detector, average, optimiser)
    check_alike(state, checkpoint.file)
    if is_main:
        remove_parts(out, below=False)
        if not state["step"]:
            (out / "curve.csv").unlink(missing_ok=True)
    origin = Origin(recipe, source, manifests)
    if _has_stalled(state, recipe):
        steps = state["step"]

    curve = Curve(out)
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
                mean = accelerator.reduce(loss.detach(), "mean")
                state["loss"] += (0.02 / recipe.accumulate) * (_finite(mean, step, out) - state["loss"])
            average.update()
            progress.advance(1, _note(state))
            if step % recipe.validate_every == 0 or step == steps:
                _check_weights(detector, step, out)
                state["step"] = step
                with average.in_place():
                    gather(detector, kept)
                    if kept and validation:
                        told = _validate(kept, validation, batches, state, out, origin)
                        progress.say(f"step {step} of {steps}: {told}")
                        curve.draw(at_once=step == steps or _has_stalled(state, recipe))
                checkpoint.save(state, detector, average, optimiser)
                state.update(broadcast_object_list([state])[0])
                accelerator.log({"loss": state["loss"], "auc": state["auc"]}, step=step)
                if _has_stalled(state, recipe):
                    progress.say(f"no better validation AUC for {step - state['best_step']} steps: stopped early")
                    break


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
        detector = build_to_train(recipe.detector, recipe.options).to(device)
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
        if parameter.requires_grad and not own_piece(parameter).isfinite().all():
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
    if scores["auc"] > state["best"]:
        state["best"], state["best_step"] = scores["auc"], state["step"]
        try:
            export(detector, out, origin, state["step"], scores)
        except OSError as error:
            raise disk_error(out, error) from error
    told = ", ".join(f"{name} {value:.3f}" for name, value in scores.items())
    return f"loss {state['loss']:.3f}, {told}"
