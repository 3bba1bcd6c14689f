"""hf: a classifier of transformers as a detector."""

import copy
import json
import pickle
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import pipeline

from maibench import load_detector
from maibench.errors import DetectorError, ImageError, MaibenchError
from maibench.models.backends.choose import use_backend
from maibench.models.loading import fingerprint


@pytest.fixture(scope="module")
def folder(classifier):
    return classifier("artificial", "human", facts="license: apache-2.0")


@pytest.fixture(scope="module")
def detector(folder):
    return load_detector(f"hf:{folder}")


@pytest.fixture(scope="module")
def images(texture):
    return [texture((90, 70), 1), texture((33, 200), 2), texture((32, 32), 3)]


def scores(detector, images):
    with torch.inference_mode():
        return detector.answer(detector.collate([detector.preprocess(image) for image in images]))[0]


def test_scores_are_those_of_the_pipeline_of_transformers(detector, folder, images):
    theirs = pipeline("image-classification", model=str(folder), device="cpu")
    theirs.image_processor = detector.processor
    found = [{one["label"]: one["score"] for one in theirs(Image.fromarray(image))}["artificial"] for image in images]
    np.testing.assert_allclose(scores(detector, images).sigmoid(), found, atol=1e-5)
    assert max(found) - min(found) > 1e-3


def test_the_order_of_the_classes_does_not_matter(classifier, images):
    one, other = (load_detector(f"hf:{classifier(*labels)}") for labels in (("fake", "real"), ("real", "fake")))
    torch.testing.assert_close(scores(one, images), -scores(other, images))


def test_the_card_says_what_was_loaded(detector, folder):
    card = detector.card
    assert (card.input_size, card.mean, card.parameters) == (32, (0.5, 0.5, 0.5), 5138)
    assert card.input_policy.startswith("resized to 32 x 32 (bilinear, aspect ratio not kept), by its own ViT")
    assert card.licence == "apache-2.0 (as its README states)"
    assert card.notes == "classes: synthetic: 0 'artificial'; real: 1 'human'"
    assert card.weights == str(folder) and len(card.sha256) == 64
    assert card.trained_on is None


@pytest.mark.parametrize("size", [(1, 1), (1, 3), (3, 1), (3, 200), (200, 3), (4096, 3)])
def test_odd_images_have_a_logit(detector, size):
    image = np.full((*size, 3), (10, 200, 90), np.uint8)
    assert torch.isfinite(scores(detector, [image])).all()
    # of one colour, it is that colour at every size: rows are not taken for channels
    torch.testing.assert_close(
        detector.preprocess(image), detector.preprocess(np.full((9, 9, 3), (10, 200, 90), np.uint8))
    )


@pytest.mark.parametrize("image", [np.zeros((8, 8), np.uint8), np.zeros((8, 8, 3)), np.zeros((8, 8, 4), np.uint8), "x"])
def test_what_is_no_image_is_refused(detector, image):
    with pytest.raises(ImageError, match="expected uint8 height x width x 3"):
        detector.preprocess(image)


def test_images_of_several_sizes_are_scored_one_by_one(classifier, texture):
    detector = load_detector(f"hf:{classifier('real', 'ai', kind='convnext')}")
    images = [texture((40, 64), 1), texture((64, 40), 2), texture((40, 64), 3)]
    assert detector.card.input_size is None
    torch.testing.assert_close(scores(detector, images), torch.cat([scores(detector, [image]) for image in images]))


def test_another_class_of_synthetic_changes_the_fingerprint_and_a_copy_does_not(detector, folder):
    other = load_detector(f"hf:{folder}", synthetic="human")
    assert (
        fingerprint(pickle.loads(pickle.dumps(detector)))
        == fingerprint(copy.deepcopy(detector))
        == fingerprint(detector)
    )
    assert fingerprint(other) != fingerprint(detector)


def test_a_folder_that_was_moved_is_the_same_detector(detector, folder, tmp_path):
    shutil.copytree(folder, tmp_path / "moved")
    assert fingerprint(load_detector(f"hf:{tmp_path / 'moved'}")) == fingerprint(detector)


def test_half_precision_is_close(detector, folder, images):
    half = load_detector(f"hf:{folder}", dtype="bfloat16")
    assert next(half.parameters()).dtype == torch.bfloat16
    assert scores(half, images).dtype == torch.float32
    torch.testing.assert_close(scores(half, images), scores(detector, images), atol=0.1, rtol=0.1)


def test_a_backend_computes_it(folder, images):
    pytest.importorskip("onnxruntime")
    detector = load_detector(f"hf:{folder}")
    assert use_backend(detector, "onnx", [detector.preprocess(image) for image in images]).name == "onnx"
    assert detector.compiled is not None


def test_a_model_without_a_usable_label_map_is_one_detector_that_cannot_be_used(classifier):
    folder = classifier("LABEL_0", "LABEL_1")
    with pytest.raises(DetectorError, match=r"0 'LABEL_0', 1 'LABEL_1'"):
        load_detector(f"hf:{folder}")
    assert load_detector(f"hf:{folder}", synthetic=1).sides.synthetic == (1,)
    with pytest.raises(MaibenchError, match="synthetic=LABEL_7: no such class"):
        load_detector(f"hf:{folder}", synthetic="LABEL_7")
    many = classifier("real", "fake", problem_type="multi_label_classification")
    with pytest.raises(DetectorError, match="do not exclude one another"):
        load_detector(f"hf:{many}")


@pytest.mark.parametrize("loss", ["a tensor", "the processor", "the architecture", "half a file"])
def test_a_folder_that_is_not_whole_is_one_detector_that_cannot_be_used(folder, tmp_path, loss):
    broken = tmp_path / "broken"
    shutil.copytree(folder, broken)
    weights = broken / "model.safetensors"
    if loss == "a tensor":
        tensors = load_file(weights)
        del tensors["classifier.weight"]
        save_file(tensors, weights, metadata={"format": "pt"})
    elif loss == "the processor":
        (broken / "preprocessor_config.json").unlink()
    elif loss == "the architecture":
        (broken / "config.json").write_text(
            json.dumps({"model_type": "mine", "auto_map": {"AutoConfig": "mine.Config"}})
        )
        (broken / "mine.py").write_text("raise SystemExit('foreign code was run')")
    else:
        weights.write_bytes(weights.read_bytes()[:2000])
    with pytest.raises(DetectorError, match="broken"):
        load_detector(f"hf:{broken}")


def test_wrong_options_are_a_wrong_request(folder):
    for options, message in (
        ({"dtype": "int8"}, "dtype 'int8'"),
        ({"weights": "file.safetensors"}, "leave the option weights out"),
        ({"model": "other"}, "said by the SPEC already"),
        ({"labels": 1}, "has no option 'labels'"),
    ):
        with pytest.raises(MaibenchError, match=message) as error:
            load_detector(f"hf:{folder}", **options)
        assert not isinstance(error.value, DetectorError)


def test_a_network_of_timm_is_read_as_timm_reads_it(tmp_path):
    timm = pytest.importorskip("timm")
    from transformers import TimmWrapperConfig, TimmWrapperForImageClassification

    network = TimmWrapperForImageClassification(TimmWrapperConfig(architecture="test_resnet", num_labels=2))
    network.save_pretrained(tmp_path)
    facts = {
        "input_size": [3, 64, 64],
        "mean": [0.4] * 3,
        "std": [0.2] * 3,
        "interpolation": "bicubic",
        "crop_pct": 0.9,
    }
    config = json.loads((tmp_path / "config.json").read_text())
    config |= {"pretrained_cfg": facts, "num_classes": 2, "label_names": ["real", "fake"]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    detector = load_detector(f"hf:{tmp_path}")
    image = np.random.default_rng(0).integers(0, 255, (90, 70, 3), dtype=np.uint8)
    transform = timm.data.create_transform(**timm.data.resolve_data_config(facts))
    torch.testing.assert_close(detector.preprocess(image), transform(Image.fromarray(image)))
    assert detector.card.input_policy.startswith("resized (bicubic), then a crop of 64 x 64 (crop_pct 0.9, center)")
    assert (detector.card.mean, detector.card.input_size) == ((0.4, 0.4, 0.4), 64)
