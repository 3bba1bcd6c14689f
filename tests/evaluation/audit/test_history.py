"""Whether the past of the images tells the label: what was planted is blamed, and nothing else."""

import io

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from maibench.evaluation.audit.history import MARKS, MeanImages, history, history_part, thumbnail
from tests.evaluation.audit.photos import jpeg, photo, resized

N = 40


def part_of(real, synthetic, stored="PNG"):
    """The part of N images of each class, each made of a photograph by its class's function."""
    rows, means = [], MeanImages()
    for seed in range(2 * N):
        label = seed % 2
        pixels = np.ascontiguousarray((synthetic if label else real)(photo(seed, (160, 160)))[:160, :160])
        generator = "made" if label else "real"
        listed = {"path": f"{seed}", "label": label, "generator": generator, "source": f"{seed}", "split": "test"}
        rows.append(listed | {"format": stored} | history(pixels))
        means.add(generator, f"{seed}", thumbnail(pixels))
    return history_part(pd.DataFrame(rows), means, seed=0)


def lights(part):
    return {finding.name: finding.light for finding in part.findings}


def same(pixels):
    return pixels


def framed(pixels):
    pixels = pixels.copy()
    pixels[:4] = 255
    return pixels


@pytest.mark.parametrize(
    ("real", "synthetic", "blamed"),
    [
        (lambda p: jpeg(p, 80), same, {"earlier JPEG"}),
        (lambda p: jpeg(p, 75)[3:, 5:], same, {"earlier JPEG, cropped since"}),
        (same, lambda p: resized(p, 1.5), {"resampling"}),
        (same, framed, {"frames", MARKS}),
    ],
)
def test_what_one_class_went_through_is_found_and_nothing_else_is_blamed(real, synthetic, blamed):
    part = part_of(real, synthetic)
    found = lights(part)
    assert {name for name, light in found.items() if light == "red"} == blamed | {"all traces together"}
    assert all(
        light == "green" for name, light in found.items() if name not in {*blamed, "all traces together", "sharpness"}
    )
    assert part.name == "history"
    assert all(finding.todo for finding in part.findings if finding.light == "red")
    assert [grid.title for grid in part.grids][:2] == ["Traces of the past", "Traces by generator"]
    with Image.open(io.BytesIO(part.shots[0].png)) as sheet:
        assert sheet.format == "PNG"


def test_a_set_whose_classes_have_one_past_is_green():
    part = part_of(lambda p: jpeg(p, 85), lambda p: jpeg(p, 85))
    found = {finding.name: finding for finding in part.findings}
    assert {name for name, one in found.items() if one.light != "green"} <= {
        "all traces together",
        "earlier JPEG",
        "sharpness",
    }
    assert all("cannot be told with 40 sources" in one.says for one in found.values() if one.light != "green")
    assert "red" not in part.shots[0].caption


def test_marks_are_green_only_where_most_images_could_be_judged():
    means, enough = MeanImages(), thumbnail(photo(0, (64, 64)))
    facts = pd.DataFrame(
        {"label": y, "generator": name, "source": f"{name}{i}", "format": "JPEG"} | history(photo(i, (64, 64)))
        for y, name, n in ((0, "real", 30), (1, "large", 25), (1, "small", 5), (1, "few", 15))
        for i in range(n)
    )
    rng = np.random.default_rng(0)
    for name, source in zip(facts["generator"], facts["source"], strict=True):
        if name != "few":
            means.add(name, source, rng.permutation(enough))
    judged = history_part(facts, means).findings[-1]
    assert (judged.name, judged.light) == (MARKS, "green")
    assert judged.says == "nothing stands still; 1 of 2 generators could be judged, with 83 % of the synthetic images"
    for i in range(30):
        means.add("few", f"few{i % 3}", rng.permutation(enough))
    part = history_part(facts, means)
    assert part.findings[-1].light == "grey"
    assert part.findings[-1].says.startswith("only 1 of 3 generators could be judged, with 42 % of the synthetic")
    assert part.shots[0].caption.endswith(
        "Not shown: 1 generator of fewer than 20 images, as a mean of so few shows what they show."
    )


def test_a_first_compression_shows_under_the_one_that_all_files_share():
    part = part_of(lambda p: jpeg(jpeg(p, 70), 90), lambda p: jpeg(p, 90), stored="JPEG")
    found = {finding.name: finding for finding in part.findings}
    assert found["two JPEG compressions"].light == "red"
    assert "real: 100.0 % have traces (median first quality 70)" in found["two JPEG compressions"].says
    assert found["earlier JPEG"].light == "green" and "every image is a JPEG" in found["earlier JPEG"].says
    assert found["all traces together"].lo > 0.65


def test_how_images_are_stored_is_not_their_past():
    """Real ones JPEG, synthetic ones PNG, none compressed before: the part "files" blames that, not this one."""
    rows = []
    for seed in range(2 * N):
        label = seed % 2
        pixels = photo(seed, (160, 160))
        listed = {"label": label, "generator": "made" if label else "real", "source": str(seed)}
        rows.append(listed | {"format": ("JPEG", "PNG")[label]} | history(pixels if label else jpeg(pixels, 90)))
    part = history_part(pd.DataFrame(rows), None)
    assert lights(part)["all traces together"] == "green"
    assert lights(part)["earlier JPEG"] == "grey" and lights(part)[MARKS] == "grey" and part.shots == []


def test_one_class_or_few_sources_are_grey_with_the_reason():
    rows = [
        {"label": label, "generator": "real", "source": f"{label}{i}", "format": "PNG"} | history(photo(i, (64, 64)))
        for label in (0, 1)
        for i in range(4)
    ]
    for chosen in (rows, rows[:4]):
        part = history_part(pd.DataFrame(chosen), MeanImages())
        assert set(lights(part).values()) == {"grey"} and all("could not be measured" in f.says for f in part.findings)
