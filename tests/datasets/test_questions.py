"""Pictures that know what was done to them: what is said agrees with itself, and with the pixels where they tell."""

from __future__ import annotations

import re

import numpy as np
import pytest
from scipy import ndimage

from maibench.datasets.questions import OPERATIONS, make_example

STRENGTHS = ("slightly", "strongly")
NUMBERS = ("None", "One", "Two", "Three", "Four", "Five")
SIDES = ("left", "right", "top", "bottom")
ANSWERS = {
    **{f"Is this image {operation}?": r"Yes\.|No\." for operation in OPERATIONS},
    **{f"How strongly is it {operation}?": r"Slightly\.|Strongly\." for operation in OPERATIONS},
    "What was done to this image?": r"Nothing\.|It was [a-z, ]+\.",
    "How many shapes were pasted in?": r"(None|One|Two|Three|Four|Five)\.",
    "What was pasted in?": r"(Discs|Squares)\.",
    "Which side is brighter?": r"The (left|right|top|bottom)\.",
    "Which half is sharper?": r"The (left|right|top|bottom) half\.",
    "How was it resized?": r"With a (nearest|bilinear|bicubic|lanczos) kernel\.",
    "How was it compressed?": r"As (JPEG|WebP)\.",
}


def draw(photograph, seed):
    return make_example(photograph, np.random.default_rng(seed))


@pytest.fixture(scope="module")
def examples(texture):
    """300 pictures of one photograph."""
    photograph = texture((150, 132), 5)
    return [draw(photograph, seed) for seed in range(300)]


@pytest.fixture(scope="module")
def plain():
    """400 pictures of an even grey: whatever can be seen in them was drawn into them."""
    photograph = np.full((128, 128, 3), 128, np.uint8)
    return [draw(photograph, seed) for seed in range(400)]


def done(example):
    answers = dict(example.questions)
    return {operation for operation in OPERATIONS if answers[f"Is this image {operation}?"] == "Yes."}


def halves(pixels, side):
    """The half on a side, and the other."""
    middle = pixels.shape[0] // 2
    turned = {"left": pixels.swapaxes(0, 1), "right": pixels.swapaxes(0, 1)[::-1], "bottom": pixels[::-1]}
    seen = turned.get(side, pixels)
    return seen[:middle], seen[middle:]


def test_a_picture_is_a_function_of_photograph_and_generator(texture):
    photograph = texture((150, 132), 5)
    before = photograph.copy()
    photograph.setflags(write=False)
    for seed in range(12):
        one, again = draw(photograph, seed), draw(photograph, seed)
        assert np.array_equal(one.pixels, again.pixels)
        assert (one.caption, one.questions) == (again.caption, again.questions)
    assert np.array_equal(photograph, before)
    assert not np.array_equal(draw(photograph, 0).pixels, draw(photograph, 1).pixels)


@pytest.mark.parametrize("size", [(96, 96), (96, 300), (500, 340)])
def test_sizes(texture, size):
    photograph = texture(size, 6)
    sides = set()
    for seed in range(20):
        pixels = draw(photograph, seed).pixels
        assert pixels.dtype == np.uint8
        assert pixels.shape == (len(pixels), len(pixels), 3)
        sides.add(len(pixels))
    assert all(min(128, *size) <= side <= min(320, *size) for side in sides)
    assert len(sides) > 1 or min(size) <= 128


def test_every_question_is_asked_once_with_an_answer_that_fits_it(examples):
    for example in examples:
        assert len(dict(example.questions)) == len(example.questions)
        for question, answer in example.questions:
            assert re.fullmatch(ANSWERS[question], answer), (question, answer)


def test_every_question_and_answer_occurs(examples):
    pairs = {pair for example in examples for pair in example.questions}
    assert {question for question, _ in pairs} == set(ANSWERS)
    assert {f"{number}." for number in NUMBERS} == {a for q, a in pairs if q == "How many shapes were pasted in?"}
    assert {f"The {side}." for side in SIDES} == {a for q, a in pairs if q == "Which side is brighter?"}
    assert {f"The {side} half." for side in SIDES} == {a for q, a in pairs if q == "Which half is sharper?"}
    assert len({a for q, a in pairs if q == "How was it resized?"}) == 4
    assert len({a for q, a in pairs if q == "How was it compressed?"}) == 2
    for operation in OPERATIONS:
        assert {a for q, a in pairs if q == f"Is this image {operation}?"} == {"Yes.", "No."}
        assert {a for q, a in pairs if q == f"How strongly is it {operation}?"} == {"Slightly.", "Strongly."}
    assert ("What was done to this image?", "Nothing.") in pairs


def test_questions_come_in_any_order(examples):
    assert len({example.questions[0][0] for example in examples}) > 8


def test_answers_agree_with_each_other(examples):
    for example in examples:
        answers, found = dict(example.questions), done(example)
        history = answers["What was done to this image?"]
        assert re.findall("|".join(OPERATIONS), history) == [o for o in OPERATIONS if o in found]
        assert (history == "Nothing.") == (not found)
        assert {o for o in OPERATIONS if f"How strongly is it {o}?" in answers} == found
        assert ("How was it resized?" in answers) == ("resized" in found)
        assert ("How was it compressed?" in answers) == ("compressed" in found)
        assert ("What was pasted in?" in answers) == (answers["How many shapes were pasted in?"] != "None.")


def test_the_caption_says_what_the_answers_say(examples):
    for example in examples:
        answers, caption = dict(example.questions), example.caption
        expected = [
            f"{answers[f'How strongly is it {operation}?'].lower().rstrip('.')} {operation}"
            for operation in OPERATIONS
            if operation in done(example)
        ]
        assert re.findall(f"(?:{'|'.join(STRENGTHS)}) (?:{'|'.join(OPERATIONS)})", caption) == expected
        sharper, brighter = answers.get("Which half is sharper?"), answers.get("Which side is brighter?")
        assert re.findall(r"sharper in the (\w+) half", caption) == re.findall(r"The (\w+) half", sharper or "")
        assert re.findall(r"brighter at the (\w+)", caption) == re.findall(r"The (\w+)", brighter or "")
        number = answers["How many shapes were pasted in?"].lower().rstrip(".")
        shapes = answers.get("What was pasted in?", "").lower().rstrip(".")
        shapes = shapes.removesuffix("s") if number == "one" else shapes
        assert re.findall(r"with (\w+) (\w+)", caption) == ([(number, shapes)] if shapes else [])
        assert re.fullmatch(r"A photograph(, [a-z, ]+)?\.", caption)


def test_an_even_picture_stays_even_where_nothing_was_drawn(plain):
    quiet = noisy = 0
    for example in plain:
        answers = dict(example.questions)
        if "Which side is brighter?" in answers or "What was pasted in?" in answers:
            continue
        if "noisy" in done(example):
            noisy += 1
            if "compressed" not in done(example):  # which can take slight noise away
                assert (example.pixels.std() > 7) == (answers["How strongly is it noisy?"] == "Strongly.")
                assert example.pixels.std() > 1
        else:
            quiet += 1
            assert np.abs(example.pixels.astype(int) - 128).max() <= 2  # what compression does to a grey
    assert min(quiet, noisy) > 10


def test_the_shapes_can_be_counted(plain):
    counted = set()
    for example in plain:
        answers = dict(example.questions)
        if done(example) or "Which side is brighter?" in answers or "Which half is sharper?" in answers:
            continue
        _, count = ndimage.label((example.pixels != 128).any(-1))
        assert f"{NUMBERS[count]}." == answers["How many shapes were pasted in?"]
        counted.add(count)
    assert counted >= {0, 1, 2}


def test_the_bright_side_is_the_bright_one(plain):
    checked = set()
    for example in plain:
        answers = dict(example.questions)
        if "Which side is brighter?" in answers and "What was pasted in?" not in answers:
            side = answers["Which side is brighter?"].removeprefix("The ").rstrip(".")
            here, there = halves(example.pixels, side)
            assert here.mean() > there.mean() + 10
            checked.add(side)
    assert checked == set(SIDES)


def test_the_sharp_half_is_the_sharp_one(examples):
    checked = set()
    for example in examples:
        answers = dict(example.questions)
        if "Which half is sharper?" not in answers or done(example) or "What was pasted in?" in answers:
            continue
        side = answers["Which half is sharper?"].removeprefix("The ").removesuffix(" half.")
        detail = np.abs(ndimage.laplace(example.pixels.astype(float).mean(-1)))
        here, there = halves(detail[:, :, None], side)
        assert here.mean() > 1.2 * there.mean()
        checked.add(side)
    assert len(checked) >= 2
    assert not any("Which half is sharper?" in dict(e.questions) and "blurred" in done(e) for e in examples)


def test_facts_are_the_answers_as_numbers(examples):
    from maibench.datasets.questions import CLASSES

    for example in examples:
        assert example.facts.keys() == CLASSES.keys()
        said = {name: CLASSES[name][index] for name, index in example.facts.items()}
        answers = dict(example.questions)
        for operation in OPERATIONS:
            assert said[operation] == answers.get(f"How strongly is it {operation}?", "").lower().rstrip(".")
        assert f"{said['pasted']}." == answers["How many shapes were pasted in?"]
        for name, question in (("bright", "Which side is brighter?"), ("sharp", "Which half is sharper?")):
            assert said[name] in answers.get(question, "")
            assert bool(said[name]) == (question in answers)
