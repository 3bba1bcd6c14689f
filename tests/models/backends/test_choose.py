"""Backends: what is taken, what is refused and in which words, and that what is taken is what computes."""

import copy
import pickle

import pytest
import torch

from maibench.errors import MaibenchError
from maibench.models.backends import backend as backends
from maibench.models.backends import choose
from maibench.models.backends.choose import TORCH, use_backend
from maibench.models.loading import fingerprint, load_detector
from maibench.models.registry import detector_class, names

from .networks import Branching, CountsPixels, Failing, Listed, OwnAnswer, Rounded, Sleepy, Tiny, Unknown

CPU = ("torch-bf16", "onnx", "openvino", "openvino-bf16")


@pytest.fixture(scope="module")
def images(texture):
    return [texture((90, 70), seed) for seed in range(9)]


def items_of(detector, images):
    return [detector.preprocess(image) for image in images]


def ready(name):
    """The backend's name, where its packages are here."""
    if missing := backends.BACKENDS[name].missing:  # never imported here: not every import is a quiet one
        pytest.skip(f"{missing} is not installed")
    return name


def answers(detector, images):
    with torch.inference_mode():
        return detector.answer(detector.collate(items_of(detector, images)))[0]


@pytest.mark.parametrize("name", CPU)
def test_a_backend_computes_what_torch_computes(images, name):
    detector = Tiny().eval()
    wanted = answers(detector, images)
    chosen = use_backend(detector, ready(name), items_of(detector, images))
    assert detector.compiled is not None
    found = answers(detector, images)
    assert found.dtype == torch.float32
    bound = backends.BACKENDS[name].bound
    torch.testing.assert_close(found, wanted, atol=bound, rtol=bound)
    assert chosen.name == name
    assert chosen.version[0].isdigit()
    assert chosen.facts["images"] == "9"
    difference = float(chosen.facts["largest difference"])
    assert difference == pytest.approx(float((found - wanted).abs().max()), abs=1e-6 + difference / 10)
    assert (difference > 1e-4) == name.endswith("bf16")
    assert "the same labels and logits within" in chosen.says


def test_torch_needs_no_images_and_undoes_what_was_compiled(images):
    detector = Tiny().eval()
    use_backend(detector, "torch-bf16", items_of(detector, images))
    assert use_backend(detector, "torch", []) == TORCH
    assert detector.compiled is None
    assert TORCH.version == torch.__version__


@pytest.mark.parametrize("name", ["onnx", "openvino"])
def test_batches_of_any_number_and_size(texture, images, name):
    detector = Tiny().eval()
    use_backend(detector, ready(name), items_of(detector, images))
    for size, count in (((90, 70), 1), ((64, 81), 3), ((31, 200), 20)):
        x = torch.stack(items_of(detector, [texture(size, seed) for seed in range(count)]))
        with torch.inference_mode():
            torch.testing.assert_close(detector.run(x), detector.run_in_torch(x), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ["onnx", "openvino"])
def test_bailu_groups_images_by_size_and_tiles_around_any_backend(texture, name):
    detector = load_detector("bailu")
    images = [texture(size, seed) for seed, size in enumerate([(70, 90), (300, 200), (64, 64), (70, 90)])]
    wanted = answers(detector, images)
    use_backend(detector, ready(name), items_of(detector, images))
    found = answers(detector, images)
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)
    assert not torch.equal(found, wanted)  # another order of the same sums: torch did not compute this


@pytest.mark.parametrize(
    ("cls", "name", "message"),
    [
        (Unknown, "onnx", "cannot be exported to ONNX: .*linalg_eigvalsh"),
        (Branching, "onnx", r"on 9 images: [1-9] other labels, [1-9] logits further off than 0\.001 x max"),
        (CountsPixels, "onnx", r"on 8 images, one alone or of another size: .* the furthest by 0\.7"),
        (Rounded, "torch-bf16", "on 9 images: 9 other labels, 0 logits further off than 0.1 x max"),
        (Listed, "onnx", "its batches are not one tensor of images: it has torch alone"),
        (OwnAnswer, "onnx", "its batches are not one tensor of images: it has torch alone"),
        (Failing, "torch-bf16", "the detector itself fails: ValueError: out of order"),
    ],
)
def test_refused(images, cls, name, message):
    ready(name)
    detector = cls().eval()
    items = items_of(detector, images)
    if cls is Branching:  # the last piece, of one image, takes the other way
        items = [item * (0.4 if index < 8 else 1.5) for index, item in enumerate(items)]
    with pytest.raises(MaibenchError, match=f"the backend {name} cannot be used: .*{message}") as caught:
        use_backend(detector, name, items)
    assert "--set LABEL.backend=torch" in str(caught.value)
    assert detector.compiled is None
    chosen = use_backend(detector, "auto", items)
    if name == "onnx":
        assert chosen.name == "torch"
        assert detector.compiled is None


def test_auto_says_why_it_stays_with_torch(images):
    ready("onnx")
    detector = Unknown().eval()
    chosen = use_backend(detector, "auto", items_of(detector, images))
    assert chosen.name == "torch"
    assert "not onnx: its network cannot be exported to ONNX" in chosen.says
    assert "its batches are not one tensor" in use_backend(Listed().eval(), "auto", items_of(Listed(), images)).says
    assert "no image" in use_backend(Tiny().eval(), "auto", []).says


def test_auto_takes_what_is_faster_and_says_how_much(images):
    ready("onnx")
    detector = Sleepy().eval()
    chosen = use_backend(detector, "auto", items_of(detector, images))
    assert chosen.name in ("onnx", "openvino")
    assert float(chosen.facts["times torch"]) >= choose.WORTH
    assert f"{chosen.facts['times torch']} times torch" in chosen.says
    assert detector.compiled is not None


def test_auto_stays_with_torch_where_nothing_is_faster(images, monkeypatch):
    ready("onnx")
    monkeypatch.setattr(choose, "WORTH", 1e6)
    detector = Tiny().eval()
    chosen = use_backend(detector, "auto", items_of(detector, images))
    assert chosen.name == "torch"
    assert detector.compiled is None
    assert "times as fast" in chosen.says


def test_batches_of_other_numbers_than_float32(images):
    detector = load_detector("tests/dummy_detectors.py:Brightness")
    with pytest.raises(MaibenchError, match=r"its batches are of torch\.float64, not of torch\.float32"):
        use_backend(detector, "torch-bf16", items_of(detector, images))


def test_bundled_detectors_that_have_torch_alone():
    takes = {name: backends.takes_backends(detector_class(name)) for name in names()}
    alone = {"aeroblade", "bilora", "metadata", "moondream", "spectrum"}
    assert {name for name, answer in takes.items() if not answer} == alone
    detector = load_detector("metadata")
    with pytest.raises(MaibenchError, match="it has torch alone"):
        use_backend(detector, "torch-bf16", [torch.zeros(17)])
    assert use_backend(detector, "auto", [torch.zeros(17)]).name == "torch"


def test_no_images_to_check_on():
    with pytest.raises(MaibenchError, match="there is no image that its answers could be checked on"):
        use_backend(Tiny(), "torch-bf16", [])


def test_unknown_backend():
    with pytest.raises(MaibenchError, match="unknown backend 'onyx': did you mean onnx"):
        use_backend(Tiny(), "onyx", [])


def test_a_missing_package_is_named_with_the_extra_that_has_it(images, monkeypatch):
    absent = backends.Backend("onnx", "onnx", ("cpu",), ("no_such_package_here", "onnx"), "onnx")
    monkeypatch.setitem(backends.BACKENDS, "onnx", absent)
    with pytest.raises(MaibenchError, match=r'no_such_package_here is not installed: pip install "maibench\[onnx\]"'):
        use_backend(Tiny().eval(), "onnx", items_of(Tiny(), images))
    assert "onnx" not in backends.installed()


def test_another_device_than_the_backends(images):
    with pytest.raises(MaibenchError, match="it computes on cuda, and the detector is on cpu"):
        use_backend(Tiny().eval(), "cudagraph", items_of(Tiny(), images))


def test_gradients_are_torchs(images):
    detector = Tiny().eval()
    use_backend(detector, "torch-bf16", items_of(detector, images))
    x = detector.collate(items_of(detector, images)).requires_grad_()
    detector.answer(x)[0].sum().backward()
    assert x.grad.abs().sum() > 0


@pytest.mark.parametrize("name", ["torch-bf16", "onnx", "openvino"])
def test_what_is_compiled_is_neither_pickled_nor_copied_nor_part_of_the_fingerprint(images, name):
    detector = load_detector("bailu")
    before = fingerprint(detector)
    use_backend(detector, ready(name), items_of(detector, images))
    assert fingerprint(detector) == before
    for twin in (pickle.loads(pickle.dumps(detector)), copy.deepcopy(detector)):
        assert twin.compiled is None
        assert fingerprint(twin) == before
        use_backend(twin, name, items_of(twin, images))
        assert torch.equal(answers(twin, images), answers(detector, images))
    assert detector.compiled is not None
