"""Pipelines, captioners and judges: what is named, what is loaded, what is refused."""

import json
import shutil

import numpy as np
import pytest

from maibench.datasets.twins.captioners import choose_captioner, find_captioner, load_captioner
from maibench.datasets.twins.gates import Judge, Limits, blankness
from maibench.datasets.twins.generate import Maker, candidate_seed, find_pipeline
from maibench.datasets.twins.places import Place, found_at
from maibench.datasets.twins.presets import LISTED, choose_generators, read_presets
from maibench.errors import ImageError, MaibenchError
from maibench.models.weights import BUNDLED
from tests.datasets.twins.conftest import change

SETTINGS = {"num_inference_steps": 2, "width": 64, "height": 64}
KINDS = {"sd1.5": "StableDiffusion", "sdxl": "StableDiffusionXL", "sd3": "StableDiffusion3", "flux": "Flux"}


def maker(folder, **settings) -> Maker:
    """A pipeline with two steps."""
    (generator,) = choose_generators(f"tiny={folder}")
    generator.settings.update(SETTINGS, **settings)
    return Maker(generator, find_pipeline(generator), "cpu")


def captioner(name):
    spec = choose_captioner(str(name))
    return load_captioner(spec, find_captioner(spec), "cpu")


@pytest.mark.parametrize("kind", KINDS)
def test_each_class_makes_the_same_image_of_the_same_seed(tiny_pipeline, kind):
    (listed,) = (preset for preset in read_presets(LISTED).values() if preset.kind == f"{KINDS[kind]}Pipeline")
    more = {key: value for key, value in listed.settings.items() if key not in SETTINGS}
    made = maker(tiny_pipeline(kind), **{**more, "max_sequence_length": 64} if kind in ("sd3", "flux") else more)
    assert made.facts["pipeline"] == listed.kind
    first, again, other = (made.make("A red bus.", seed) for seed in (1, 1, 2))
    assert first.shape == (64, 64, 3)
    assert (first == again).all() and (first != other).any()


def test_presets_are_as_in_mai_and_their_settings_go_with_a_folder_of_the_name(tiny_pipeline):
    sd3, schnell = choose_generators("sd3.5-large, mine=flux.1-schnell")
    assert (sd3.settings["num_inference_steps"], sd3.settings["guidance_scale"]) == (28, 3.5)
    assert sd3.place == Place("stabilityai/stable-diffusion-3.5-large", "ceddf0a7fdf2064ea28e2213e3b84e4afa170a0f")
    assert (schnell.name, schnell.settings["num_inference_steps"]) == ("mine", 4)
    (wrong,) = choose_generators(f"sdxl={tiny_pipeline('sd3')}")
    assert wrong.settings["num_inference_steps"] == 30
    with pytest.raises(MaibenchError, match="holds a StableDiffusion3Pipeline, where 'sdxl' is a StableDiffusionXLP"):
        find_pipeline(wrong)


def test_names_and_presets_that_there_are_not(tmp_path):
    for text, reason in (
        ("", "names no pipeline; there are sd3.5-large, sdxl, sd1.5, flux.1-schnell"),
        ("sdlx", r"unknown pipeline 'sdlx': did you mean 'sdxl'\?"), ("sdxl,sdxl", "two generators are called 'sdxl'"),
        ("real=sdxl", "'real' cannot name a generator"), ("a=no/such/folder", "unknown pipeline 'no/such/folder'"),
        (f"a={tmp_path}", "model_index.json is missing"),
    ):  # fmt: skip
        with pytest.raises(MaibenchError, match=reason):
            choose_generators(text)
    for text, reason in (
        ("a: {repository: x/y, stepps: 3}", "stepps"), ("- a", "cannot be read as presets"),
        ("a: {repository: x/y, settings: {steps: 3}}", "unknown setting 'steps'"),
    ):  # fmt: skip
        (tmp_path / "presets.yaml").write_text(text)
        with pytest.raises(MaibenchError, match=reason):
            choose_generators("sdxl", tmp_path / "presets.yaml")


def test_weights_that_are_absent_partial_or_pickled_are_errors(tiny_pipeline, tmp_path):
    folder = shutil.copytree(tiny_pipeline("sd1.5"), tmp_path / "partial")
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    change(weights, lambda tensors: tensors.pop("conv_out.bias"))
    with pytest.raises(MaibenchError, match=r"unet.*do not fit its configuration \(conv_out.bias, 1 in all\)"):
        maker(folder)
    weights.rename(weights.with_suffix(".bin"))
    with pytest.raises(MaibenchError, match="cannot be loaded as a StableDiffusionPipeline"):
        maker(folder)
    img2img = {"_class_name": "StableDiffusionImg2ImgPipeline"}
    for index, reason in ((img2img, "does not make images of a text alone"), ({}, "does not say its _class_name")):
        (folder / "model_index.json").write_text(json.dumps(index))
        with pytest.raises(MaibenchError, match=reason):
            maker(folder)


def test_images_that_show_nothing(broken_pipeline):
    assert blankness(maker(broken_pipeline(-1.0)).make("A bus.", 0)) == "black"
    assert blankness(maker(broken_pipeline(0.0)).make("A bus.", 0)) == "blank: a single colour"
    with pytest.raises(ImageError, match="not numbers"):
        maker(broken_pipeline(float("nan"))).make("A bus.", 0)


def test_a_prompt_that_a_pipeline_fails_with_is_one_image_a_pipeline_that_fails_is_all(tiny_pipeline, tmp_path):
    with pytest.raises(MaibenchError, match=r"the pipeline 'tiny' fails .*divisible by"):
        maker(tiny_pipeline("sd1.5"), width=63).make("A bus.", 0)
    folder = shutil.copytree(tiny_pipeline("sd1.5"), tmp_path / "letter")
    file = folder / "tokenizer" / "tokenizer.json"
    text = json.loads(file.read_text())
    text["model"]["vocab"]["z</w>"] = 600  # which its text encoder does not have
    file.write_text(json.dumps(text))
    made = maker(folder)
    with pytest.raises(ImageError, match="the generator fails with this caption"):
        made.make("A z.", 0)
    assert made.make("A bus.", 0).any()


def test_seeds_differ_by_all_that_they_are_drawn_from():
    asked = [(0, "a", "x", 0), (1, "a", "x", 0), (0, "b", "x", 0), (0, "a", "y", 0), (0, "a", "x", 1)] * 2
    seeds = [candidate_seed(*given) for given in asked]
    assert len(set(seeds)) == 5 and seeds[:5] == seeds[5:] and all(0 <= seed < 2**32 for seed in seeds)


def test_captioners_always_say_the_same(tiny_captioner, texture, tmp_path):
    shutil.copytree(BUNDLED / "moondream", tmp_path / "copy")
    shutil.copy(BUNDLED / "moondream.safetensors", tmp_path / "copy" / "model.safetensors")
    said = []
    for name in ("moondream-nano", f"moondream:{tmp_path / 'copy'}", tiny_captioner):
        found = captioner(name)
        first, again = (found.caption(texture((120, 100), 1)) for _ in range(2))
        assert first == again != ""
        assert found.facts["settings"]["temperature"] == 0
        said.append((first, found.facts["weights"]))
    assert said[0] == said[1] != said[2]


def test_models_that_are_none_and_models_that_fail(tmp_path, tiny_clip, tiny_captioner, texture):
    with pytest.raises(MaibenchError, match=r"no captioner at 'blip': .*; moondream; or moondream-nano"):
        choose_captioner("blip")
    for folder in (tmp_path, tiny_clip):
        with pytest.raises(MaibenchError, match="cannot be loaded as a captioner"):
            captioner(folder)
    with pytest.raises(MaibenchError, match="its weights do not fit"):
        Judge(found_at(Place(str(tiny_captioner))), Limits(), "cpu")
    folder = shutil.copytree(tiny_captioner, tmp_path / "large")
    file = folder / "processor_config.json"
    file.write_text(file.read_text().replace('"height": 32', '"height": 40'))
    with pytest.raises(MaibenchError, match="the captioner 'large' fails"):
        captioner(folder).caption(texture((64, 64), 0))
    folder = shutil.copytree(tiny_clip, tmp_path / "nan")
    change(folder / "model.safetensors", lambda tensors: tensors["visual_projection.weight"].fill_(np.nan))
    with pytest.raises(MaibenchError, match=r"the judge 'nan' fails .*NaN"):
        Judge(found_at(Place(str(folder))), Limits(), "cpu").judge(texture((64, 64), 0), "A bus.")


def test_the_judge_measures_what_clip_says(tiny_clip, texture):
    import torch
    from PIL import Image
    from transformers import AutoProcessor, CLIPModel

    pixels, caption = texture((100, 80), 3), "A red bus. " * 30  # too long: cut
    judge = Judge(found_at(Place(str(tiny_clip))), Limits(alignment=-1, photo=0, unsafe=1), "cpu")
    scores, failures = judge.judge(pixels, caption)
    model, processor = CLIPModel.from_pretrained(tiny_clip), AutoProcessor.from_pretrained(tiny_clip, backend="pil")
    given = processor(text=[caption], images=Image.fromarray(pixels), return_tensors="pt", truncation=True)
    with torch.no_grad():
        made = model(**given)
    assert np.isclose(scores.alignment, float(made.logits_per_image) / model.logit_scale.exp().item(), atol=1e-4)
    assert failures == []
    assert len(scores.failures(Limits(alignment=1.1, photo=1.1, unsafe=-0.1))) == 3
