"""Pictures that know what was done to them: photographs, disturbed at random, with a caption, questions and answers.

What the nano moondream learns to see and to say before anybody asks it about generators: it never meets a label. Any
number of pictures comes of a few hundred photographs; each is a pure function of the photograph and a random generator.
The answers say what was done, also where a later step has all but wiped it out.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from maibench.datasets.perturb import parse_perturbation

Pixels = NDArray[np.uint8]

SIDES = ("left", "right", "top", "bottom")
NUMBERS = ("None", "One", "Two", "Three", "Four", "Five")
KERNELS = {"nearest": 0, "bilinear": 2, "bicubic": 3, "lanczos": 1}
OPERATIONS = ("resized", "blurred", "sharpened", "noisy", "compressed")
"""What can be done to a picture, in the order in which it is done."""


STRENGTHS = ("", "slightly", "strongly")
CLASSES: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(OPERATIONS, STRENGTHS),
    "kernel": ("", *KERNELS),
    "codec": ("", "JPEG", "WebP"),
    "pasted": NUMBERS,
    "bright": ("", *SIDES),
    "sharp": ("", *SIDES),
}
"""What can be said of a picture: {name: the values that it can have, "" where it does not apply}."""


@dataclass
class Example:
    """pixels: uint8 height x width x 3. caption: one sentence. questions: (question, answer) in random order. facts:
    {name of CLASSES: index of the value}."""

    pixels: Pixels
    caption: str = ""
    questions: list[tuple[str, str]] = field(default_factory=list)
    facts: dict[str, int] = field(default_factory=dict)


def make_example(photograph: Pixels, rng: np.random.Generator) -> Example:
    """Cut a square out of a photograph, disturb it, and say what was done.

    photograph: uint8 height x width x 3, at least 96 pixels a side. The square has 128 to 320 pixels a side, or what
    the photograph has.
    """
    pixels = _cut(photograph, rng)
    facts: dict[str, str] = {}
    pixels = _paste(pixels, facts, rng)
    pixels = _light(pixels, facts, rng)
    done: dict[str, str] = {}
    for operation in OPERATIONS:
        if rng.random() < 0.35:
            strength = "strongly" if rng.random() < 0.5 else "slightly"
            pixels = _operate(pixels, operation, strength, facts, rng)
            done[operation] = strength
    if "blurred" not in done:
        pixels = _focus(pixels, facts, rng)
    questions = _questions(facts, done)
    order = rng.permutation(len(questions))
    known = {name: values.index((facts | done).get(name, "")) for name, values in CLASSES.items()}
    return Example(pixels, _caption(facts, done), [questions[index] for index in order], known)


def _cut(photograph: Pixels, rng: np.random.Generator) -> Pixels:
    """Shrink, which takes earlier compression away, then cut and turn."""
    shortest = min(photograph.shape[:2])
    side = min(shortest, 256 if rng.random() < 0.4 else int(rng.integers(128, 321)))
    scale = max(side / shortest, rng.uniform(0.4, 1.0))
    if scale < 0.98:
        height, width = (max(side, round(length * scale)) for length in photograph.shape[:2])
        photograph = np.asarray(Image.fromarray(photograph).resize((width, height), Image.Resampling.BICUBIC))
    top, left = (int(rng.integers(length - side + 1)) for length in photograph.shape[:2])
    square = photograph[top : top + side, left : left + side]
    return np.array(square[:, ::-1] if rng.random() < 0.5 else square)


def _paste(pixels: Pixels, facts: dict[str, str], rng: np.random.Generator) -> Pixels:
    count = int(rng.integers(1, 6)) if rng.random() < 0.4 else 0
    facts["pasted"] = NUMBERS[count]
    if not count:
        return pixels
    picture = Image.fromarray(pixels)
    draw = ImageDraw.Draw(picture)
    side = pixels.shape[0]
    round_ones = rng.random() < 0.5
    facts["shape"] = "discs" if round_ones else "squares"
    for cell in rng.permutation(9)[:count].tolist():
        row, column = divmod(cell, 3)
        radius = side * rng.uniform(0.05, 0.11)
        y, x = ((place + 0.5) * side / 3 + rng.uniform(-0.04, 0.04) * side for place in (row, column))
        colour = tuple(int(level) for level in rng.integers(0, 256, 3))
        (draw.ellipse if round_ones else draw.rectangle)((x - radius, y - radius, x + radius, y + radius), fill=colour)
    return np.array(picture)


def _light(pixels: Pixels, facts: dict[str, str], rng: np.random.Generator) -> Pixels:
    """Brighten one side and darken the other."""
    if rng.random() > 0.4:
        return pixels
    side = SIDES[rng.integers(4)]
    ramp = np.linspace(1, -1, pixels.shape[0]) * rng.uniform(30, 80)
    ramp = ramp if side in ("left", "top") else ramp[::-1]
    ramp = ramp[None, :, None] if side in ("left", "right") else ramp[:, None, None]
    facts["bright"] = side
    return np.clip(pixels + ramp, 0, 255).round().astype(np.uint8)


def _focus(pixels: Pixels, facts: dict[str, str], rng: np.random.Generator) -> Pixels:
    """Blur one half."""
    if rng.random() > 0.3:
        return pixels
    sharp = SIDES[rng.integers(4)]
    soft = np.array(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(rng.uniform(1.0, 3.0))))
    half = pixels.shape[0] // 2
    rows = {"top": slice(half), "bottom": slice(half, None)}.get(sharp, slice(None))
    columns = {"left": slice(half), "right": slice(half, None)}.get(sharp, slice(None))
    soft[rows, columns] = pixels[rows, columns]
    facts["sharp"] = sharp
    return soft


def _operate(pixels: Pixels, operation: str, strength: str, facts: dict[str, str], rng: np.random.Generator) -> Pixels:
    strong = strength == "strongly"
    if operation == "resized":
        factor = rng.uniform(0.25, 0.45) if strong else rng.uniform(0.5, 0.8)
        facts["kernel"] = str(rng.choice(list(KERNELS)))
        picture = Image.fromarray(pixels)
        small = picture.resize((round(picture.width * factor), round(picture.height * factor)), Image.Resampling.BOX)
        return np.array(small.resize(picture.size, Image.Resampling(KERNELS[facts["kernel"]])))
    if operation == "blurred":
        return parse_perturbation(f"blur:{rng.uniform(1.5, 3) if strong else rng.uniform(0.6, 1.2)}")(pixels, "")
    if operation == "sharpened":
        percent = int(rng.uniform(200, 350) if strong else rng.uniform(70, 150))
        return np.array(Image.fromarray(pixels).filter(ImageFilter.UnsharpMask(1.2, percent, 0)))
    if operation == "noisy":
        sigma = rng.uniform(8, 20) if strong else rng.uniform(2, 6)
        grain = rng.normal(0, sigma, pixels.shape if rng.random() < 0.5 else (*pixels.shape[:2], 1))
        return np.clip(pixels + grain, 0, 255).round().astype(np.uint8)
    quality = int(rng.integers(15, 45) if strong else rng.integers(55, 88))
    facts["codec"] = "JPEG" if rng.random() < 0.7 else "WebP"
    return parse_perturbation(f"{facts['codec'].lower()}:{quality}")(pixels, "")


def _questions(facts: dict[str, str], done: dict[str, str]) -> list[tuple[str, str]]:
    asked = [(f"Is this image {operation}?", "Yes." if operation in done else "No.") for operation in OPERATIONS]
    asked += [(f"How strongly is it {operation}?", f"{strength.capitalize()}.") for operation, strength in done.items()]
    asked.append(("What was done to this image?", _history(done)))
    asked.append(("How many shapes were pasted in?", f"{facts['pasted']}."))
    if "shape" in facts:
        asked.append(("What was pasted in?", f"{facts['shape'].capitalize()}."))
    if "bright" in facts:
        asked.append(("Which side is brighter?", f"The {facts['bright']}."))
    if "sharp" in facts:
        asked.append(("Which half is sharper?", f"The {facts['sharp']} half."))
    if "resized" in done:
        asked.append(("How was it resized?", f"With a {facts['kernel']} kernel."))
    if "compressed" in done:
        asked.append(("How was it compressed?", f"As {facts['codec']}."))
    return asked


def _history(done: dict[str, str]) -> str:
    return f"It was {_and(list(done))}." if done else "Nothing."


def _caption(facts: dict[str, str], done: dict[str, str]) -> str:
    words = [f"{strength} {operation}" for operation, strength in done.items()]
    if "sharp" in facts:
        words.append(f"sharper in the {facts['sharp']} half")
    if "bright" in facts:
        words.append(f"brighter at the {facts['bright']}")
    if "shape" in facts:
        shapes = facts["shape"].removesuffix("s") if facts["pasted"] == "One" else facts["shape"]
        words.append(f"with {facts['pasted'].lower()} {shapes}")
    return f"A photograph, {_and(words)}." if words else "A photograph."


def _and(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
