"""Pipelines, captioners and judges: what is named, what is loaded, what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from maibench.datasets.twins.captioners import choose_captioner, find_captioner, load_captioner
from maibench.datasets.twins.gates import Judge, Limits, blankness
from maibench.datasets.twins.generate import Maker, candidate_seed, find_pipeline
from maibench.datasets.twins.places import Place, found_at
from maibench.datasets.twins.presets import LISTED, choose_generators, read_presets
from maibench.errors import ImageError, MaibenchError
from maibench.models.weights import BUNDLED

SETTINGS = {"num_inference_steps": 2, "width": 64, "height": 64}


def maker(folder: Path, **settings) -> Maker:
    """A pipeline with two steps."""
    (generator,) = choose_generators(f"tiny={folder}")
    generator.settings.update(SETTINGS, **settings)
    return Maker(generator, find_pipeline(generator), "cpu")


@pytest.mark.parametrize("kind", ["sd1.5", "sdxl", "sd3", "flux"])
def test_each_class_makes_the_same_image_of_the_same_seed(tiny_pipeline, kind):
    (listed,) = (p for p in read_presets(LISTED).values() if p.kind == CLASSES[kind])
    more = {key: value for key, value in listed.settings.items() if key not in SETTINGS}
    made = maker(tiny_pipeline(kind), **{**more, "max_sequence_length": 64} if kind in ("sd3", "flux") else more)
    assert made.facts["pipeline"] == CLASSES[kind]
    first, again, other = (made.make("A red bus.", seed) for seed in (1, 1, 2))
    assert first.shape == (64, 64, 3)
    assert (first == again).all()
    assert (first != other).any()


CLASSES = {
    "sd1.5": "StableDiffusionPipeline", "sdxl": "StableDiffusionXLPipeline", "sd3": "StableDiffusion3Pipeline",
    "flux": "FluxPipeline",
}  # fmt: skip


def test_presets_are_as_in_mai():
    sd3, schnell = choose_generators("sd3.5-large, mine=flux.1-schnell")
    assert (sd3.settings["num_inference_steps"], sd3.settings["guidance_scale"]) == (28, 3.5)
    assert sd3.place == Place("stabilityai/stable-diffusion-3.5-large", "ceddf0a7fdf2064ea28e2213e3b84e4afa170a0f")
    assert (schnell.name, schnell.settings["num_inference_steps"]) == ("mine", 4)


def test_a_folder_takes_the_settings_of_the_preset_that_it_is_named_after(tiny_pipeline):
    (named,) = choose_generators(f"sdxl={tiny_pipeline('sdxl')}")
    assert named.settings["num_inference_steps"] == 30
    (wrong,) = choose_generators(f"sdxl={tiny_pipeline('sd3')}")
    with pytest.raises(MaibenchError, match="holds a StableDiffusion3Pipeline, where 'sdxl' is a StableDiffusionXLP"):
        find_pipeline(wrong)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "names no pipeline; there are sd3.5-large, sdxl, sd1.5, flux.1-schnell"),
        ("sdlx", "unknown pipeline 'sdlx': did you mean 'sdxl'?"),
        ("sdxl,sdxl", "two generators are called 'sdxl'"),
        ("real=sdxl", "'real' cannot name a generator"),
        ("a=no/such/folder", "unknown pipeline 'no/such/folder'"),
        ("a={empty}", "model_index.json is missing"),
    ],
)
def test_names_that_there_are_not(tmp_path, text, reason):
    with pytest.raises(MaibenchError, match=reason.replace("?", r"\?")):
        choose_generators(text.format(empty=tmp_path))


def test_presets_in_another_form(tmp_path):
    for text, reason in (
        ("a: {repository: x/y, stepps: 3}", "a.*stepps|stepps"), ("- a", "cannot be read as presets"),
        ("a: {repository: x/y, settings: {steps: 3}}", "unknown setting 'steps'"),
    ):  # fmt: skip
        (tmp_path / "presets.yaml").write_text(text)
        with pytest.raises(MaibenchError, match=reason):
            choose_generators("sdxl", tmp_path / "presets.yaml")


def test_weights_that_are_absent_partial_or_pickled_are_errors(tiny_pipeline, tmp_path):
    folder = shutil.copytree(tiny_pipeline("sd1.5"), tmp_path / "partial")
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(weights)
    tensors.pop("conv_out.bias")
    save_file(tensors, weights)
    with pytest.raises(MaibenchError, match=r"unet.*do not fit its configuration \(conv_out.bias, 1 in all\)"):
        maker(folder)
    weights.rename(weights.with_suffix(".bin"))
    with pytest.raises(MaibenchError, match="cannot be loaded as a StableDiffusionPipeline"):
        maker(folder)
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusionImg2ImgPipeline"}))
    with pytest.raises(MaibenchError, match="does not make images of a text alone"):
        maker(folder)
    (folder / "model_index.json").write_text("{}")
    with pytest.raises(MaibenchError, match="does not say its _class_name"):
        maker(folder)


def test_images_that_show_nothing(broken_pipeline):
    assert blankness(maker(broken_pipeline(-1.0)).make("A bus.", 0)) == "black"
    assert blankness(maker(broken_pipeline(0.0)).make("A bus.", 0)) == "blank: a single colour"
    with pytest.raises(ImageError, match="not numbers"):
        maker(broken_pipeline(float("nan"))).make("A bus.", 0)


def test_what_a_pipeline_refuses_is_one_line(tiny_pipeline):
    with pytest.raises(MaibenchError, match=r"the pipeline 'tiny' fails .*divisible by"):
        maker(tiny_pipeline("sd1.5"), width=63).make("A bus.", 0)


def test_seeds_differ_by_all_that_they_are_drawn_from():
    asked = [(0, "a", "x", 0), (1, "a", "x", 0), (0, "b", "x", 0), (0, "a", "y", 0), (0, "a", "x", 1)]
    seeds = [candidate_seed(*given) for given in asked]
    assert len(set(seeds)) == len(asked)
    assert seeds == [candidate_seed(*given) for given in asked]
    assert all(0 <= seed < 2**32 for seed in seeds)


def test_captioners_always_say_the_same(tiny_captioner, texture, tmp_path):
    shutil.copytree(BUNDLED / "moondream", tmp_path / "copy")
    shutil.copy(BUNDLED / "moondream.safetensors", tmp_path / "copy" / "model.safetensors")
    said = {}
    for name in (str(tiny_captioner), "moondream-nano", f"moondream:{tmp_path / 'copy'}"):
        spec = choose_captioner(name)
        captioner = load_captioner(spec, find_captioner(spec), "cpu")
        first, again = (captioner.caption(texture((120, 100), 1)) for _ in range(2))
        assert first == again != ""
        assert captioner.facts["settings"]["temperature"] == 0
        said[spec.name] = (first, captioner.facts["weights"])
    assert said["moondream-nano"] == said["copy"] != said[tiny_captioner.name]


def test_captioners_that_there_are_not(tmp_path, tiny_clip):
    with pytest.raises(MaibenchError, match=r"no captioner at 'blip': .*; moondream; or moondream-nano"):
        choose_captioner("blip")
    for folder in (tmp_path, tiny_clip):
        spec = choose_captioner(str(folder))
        with pytest.raises(MaibenchError, match="cannot be loaded as a captioner"):
            load_captioner(spec, find_captioner(spec), "cpu")


def test_the_judge_measures_what_clip_says(tiny_clip, texture):
    import torch
    from PIL import Image
    from transformers import CLIPModel, CLIPProcessor

    pixels, caption = texture((100, 80), 3), "A red bus. " * 30  # too long: cut
    judge = Judge(found_at(Place(str(tiny_clip))), Limits(alignment=-1, photo=0, unsafe=1), "cpu")
    scores, failures = judge.judge(pixels, caption)
    model, processor = CLIPModel.from_pretrained(tiny_clip), CLIPProcessor.from_pretrained(tiny_clip)
    given = processor(text=[caption], images=Image.fromarray(pixels), return_tensors="pt", truncation=True)
    with torch.no_grad():
        made = model(**given)
    assert np.isclose(scores.alignment, float(made.logits_per_image) / model.logit_scale.exp().item(), atol=1e-4)
    assert failures == []
    assert len(scores.failures(Limits(alignment=1.1, photo=1.1, unsafe=-0.1))) == 3


def test_a_model_that_compares_nothing_is_no_judge(tiny_captioner):
    with pytest.raises(MaibenchError, match="its weights do not fit"):
        Judge(found_at(Place(str(tiny_captioner))), Limits(), "cpu")
