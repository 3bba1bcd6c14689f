"""hf-vlm: VLMs of several architectures, asked one question."""

import copy
import pickle
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from PIL import Image

from maibench import load_detector
from maibench.errors import DetectorError, ImageError, MaibenchError
from maibench.models.loading import fingerprint

NEEDS_TORCHVISION = pytest.mark.skipif(
    find_spec("torchvision") is None, reason="transformers' processor needs torchvision"
)
KINDS = ["llava", *(pytest.param(kind, marks=NEEDS_TORCHVISION) for kind in ("idefics3", "qwen2_vl"))]
SIZES = [(64, 64), (30, 80), (100, 200), (17, 40), (50, 3)]


@pytest.fixture(scope="module")
def folders(vlm):
    made = {}

    def of(kind):
        if kind not in made:
            made[kind] = vlm(kind)
        return made[kind]

    return of


@pytest.fixture(scope="module")
def llava(folders):
    return load_detector(f"hf-vlm:{folders('llava')}")


@pytest.fixture(scope="module")
def images(texture):
    return [texture(size, seed) for seed, size in enumerate(SIZES)]


def answers(detector, images):
    with torch.inference_mode():
        return detector.answer(detector.collate([detector.preprocess(image) for image in images]))


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_of_any_sizes_is_its_images_one_by_one(folders, images, kind):
    detector = load_detector(f"hf-vlm:{folders(kind)}")
    together = answers(detector, images)[0]
    alone = torch.cat([answers(detector, [image])[0] for image in images])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)
    assert together.std() > 1e-3  # the image is seen


@pytest.mark.parametrize("kind", KINDS)
def test_batches_are_those_of_the_models_own_processor(folders, images, kind):
    detector = load_detector(f"hf-vlm:{folders(kind)}")
    theirs = detector.processor(
        text=[detector.prompt] * 3,
        images=[[Image.fromarray(image)] for image in images[:3]],
        padding=True,
        padding_side="left",
        add_special_tokens=False,  # the template wrote them
        return_tensors="pt",
    )
    (ours,) = detector.collate([detector.preprocess(image) for image in images[:3]])
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_scores_are_those_of_the_first_generated_token(llava, images):
    inputs = llava.collate([llava.preprocess(images[0])])[0]
    made = llava.network.generate(
        **inputs, max_new_tokens=1, do_sample=False, output_scores=True, return_dict_in_generate=True
    )
    chances = made.scores[0][0].softmax(-1)
    vocabulary = llava.tokenizer.get_vocab()
    yes, no = (sum(chances[vocabulary[word]] for word in words) for words in (("yes", "Yes"), ("no", "No", "NO")))
    logit, unsure = answers(llava, images[:1])
    assert logit.item() == pytest.approx((yes / no).log().item(), abs=1e-4)
    assert unsure.item() == bool(yes + no < 0.5)


def test_little_mass_on_both_answers_is_unsure(folders, images):
    spec = f"hf-vlm:{folders('llava')}"
    assert not answers(load_detector(spec, min_mass=0), images[:2])[1].any()
    assert answers(load_detector(spec, min_mass=1), images[:2])[1].all()


def test_half_precision_is_close(llava, folders, images):
    spec = f"hf-vlm:{folders('llava')}"
    for half in (load_detector(spec, dtype="bfloat16"), load_detector(spec).to(torch.bfloat16)):
        assert half.preprocess(images[0])["pixel_values"].dtype == torch.bfloat16
        torch.testing.assert_close(answers(half, images)[0], answers(llava, images)[0], atol=0.15, rtol=0)


def test_prompt_and_answers_are_options(llava, folders, images):
    spec = f"hf-vlm:{folders('llava')}"
    assert llava.prompt == "<s>User: <image>Is this image AI-generated? Answer yes or no. Assistant:"
    asked = load_detector(spec, yes="real", no=["photo", "Photo"])
    assert "Answer real or photo." in asked.prompt
    assert asked.answers == {
        "yes": {"real": asked.tokenizer.get_vocab()["real"]},
        "no": {"photo": asked.answers["no"]["photo"]},
    }
    turned = load_detector(spec, yes="no", no="yes", prompt="Is this image AI-generated? Answer yes or no.")
    torch.testing.assert_close(answers(turned, images)[0], -answers(llava, images)[0])
    assert len({fingerprint(one) for one in (llava, asked, turned)}) == 3
    fresh = load_detector(spec)  # after its first image transformers' hooks are on it
    assert fingerprint(pickle.loads(pickle.dumps(fresh))) == fingerprint(copy.deepcopy(llava)) == fingerprint(llava)
    assert llava.facts()["yes"].startswith("'yes' (")


def test_a_model_without_a_chat_template_is_asked_by_one_of_the_users(vlm, llava, images):
    folder = vlm("llava", template=False)
    with pytest.raises(DetectorError, match=r"no chat template.*--set LABEL\.template="):
        load_detector(f"hf-vlm:{folder}")
    asked = load_detector(f"hf-vlm:{folder}", template="<s>User: <image>{question} Assistant:")
    torch.testing.assert_close(answers(asked, images)[0], answers(llava, images)[0])
    with pytest.raises(DetectorError, match="cannot be used"):
        load_detector(f"hf-vlm:{folder}", template="<image><image>{question}")
    with pytest.raises(MaibenchError, match=r"with \{question\} where"):
        load_detector(f"hf-vlm:{folder}", template="<image> real?")


def test_a_tokenizer_without_a_single_token_yes_is_one_detector_that_cannot_be_used(vlm):
    with pytest.raises(DetectorError, match=r"llava.*writes 'yes' as 3 tokens"):
        load_detector(f"hf-vlm:{vlm('llava', words='')}")


@pytest.mark.parametrize("size", [(1, 1), (3, 1), (1, 3), (3, 3), (4096, 3)])
def test_odd_images_have_a_logit(llava, size):
    assert torch.isfinite(answers(llava, [np.full((*size, 3), 7, np.uint8)])[0]).all()


@NEEDS_TORCHVISION
def test_what_the_processor_refuses_is_a_failed_image(folders):
    detector = load_detector(f"hf-vlm:{folders('qwen2_vl')}")
    with pytest.raises(ImageError, match=r"4096 x 3 pixels: the model's own processor fails .*aspect ratio"):
        detector.preprocess(np.zeros((3, 4096, 3), np.uint8))


def test_the_card_says_what_was_asked(llava):
    assert llava.card.notes == "asked: Is this image AI-generated? Answer yes or no."
    assert llava.card.input_policy.startswith("resized (bicubic) to shortest edge 32, then centre crop of 32 x 32")
    assert llava.card.parameters == sum(tensor.numel() for tensor in llava.network.parameters())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prompt": " "}, "prompt is a question"),
        ({"min_mass": 2}, "min_mass is a share"),
        ({"yes": "yes", "no": "YES"}, "share the token"),
        ({"adapter": "no/such/adapter/here"}, "no such folder"),
    ],
)
def test_wrong_options_are_a_wrong_request(folders, options, message):
    with pytest.raises(MaibenchError, match=message) as error:
        load_detector(f"hf-vlm:{folders('llava')}", **options)
    assert not isinstance(error.value, DetectorError)


@pytest.mark.slow  # transformers lists all that it knows
def test_a_classifier_is_no_vlm(classifier):
    with pytest.raises(DetectorError, match="cannot be loaded by AutoModelForImageTextToText"):
        load_detector(f"hf-vlm:{classifier('real', 'fake')}")
