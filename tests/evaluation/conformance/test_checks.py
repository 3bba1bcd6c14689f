"""What the conformance check finds of detectors that break one promise each."""

import itertools
import time

import numpy as np
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

import maibench
from maibench import load_detector
from maibench.cli import app
from maibench.errors import ImageError
from maibench.evaluation.conformance import check, harness, is_clean
from maibench.evaluation.conformance.probes import COUNT, probe_data, probes_of
from maibench.models.mai_cnn import MaiCnn
from tests.dummy_detectors import Attackable, Brightness, Broken, NanDetector, RaisesInPreprocess, Rooted, WrongShape


class Probability(Brightness):
    card = maibench.Card(name="probability")

    def forward(self, batch):
        return super().forward(batch).sigmoid()


class Moody(Brightness):
    """Another answer every time."""

    card = maibench.Card(name="moody")

    def forward(self, batch):
        return super().forward(batch) + torch.rand(len(batch))


class Sociable(Brightness):
    """Images of one batch see each other."""

    card = maibench.Card(name="sociable")

    def forward(self, batch):
        return super().forward(batch) - super().forward(batch).mean()


class Shuffles(Brightness):
    card = maibench.Card(name="shuffles")

    def forward(self, batch):
        return super().forward(batch).sort().values


class Narrow(Brightness):
    """Cannot read what is smaller than 3 x 3, and raises what comes."""

    card = maibench.Card(name="narrow")

    def preprocess(self, image):
        return torch.nn.functional.avg_pool2d(torch.tensor(image).double().permute(2, 0, 1), 3).mean()


class Picky(Brightness):
    card = maibench.Card(name="picky")

    def preprocess(self, image):
        if min(image.shape[:2]) < 8:
            raise ImageError("smaller than 8 pixels")
        return super().preprocess(image)


class Divides(Brightness):
    """Of an image of one colour, 0 / 0."""

    card = maibench.Card(name="divides")

    def preprocess(self, image):
        with np.errstate(invalid="ignore"):
            return torch.tensor(float((image - image.mean()).mean() / image.std()), dtype=torch.float64)


class Paints(Brightness):
    """Writes through torch, which read-only arrays do not stop."""

    card = maibench.Card(name="paints")

    def preprocess(self, image):
        found = super().preprocess(image)
        torch.from_numpy(image)[0] = 0
        return found


class Learns(Brightness):
    card = maibench.Card(name="learns")

    def __init__(self):
        super().__init__()
        self.register_buffer("scored", torch.zeros(()))

    def forward(self, batch):
        self.scored += len(batch)
        return super().forward(batch)


class Scribbles(Brightness):
    """Keeps what it is working on in `self`, and says that threads may share it."""

    card = maibench.Card(name="scribbles")
    concurrent = True

    def forward(self, batch):
        self.now = batch
        time.sleep(0.002)
        return super().forward(self.now)


class Otherwise(Attackable):
    card = maibench.Card(name="otherwise")

    def differentiable(self, pixels):
        return pixels.double().mean() + 100


class Stiff(Attackable):
    card = maibench.Card(name="stiff")

    def differentiable(self, pixels):
        return pixels.double().mean().detach()


class Forgetful(Brightness):
    """Leaves its middle behind when it is pickled."""

    card = maibench.Card(name="forgetful")

    def __getstate__(self):
        return super().__getstate__() | {"_buffers": {"middle": torch.tensor(0.0)}}


class Dropout(Brightness):
    """As it should be: random in training alone."""

    card = maibench.Card(name="dropout")

    def __init__(self):
        super().__init__()
        self.drop = nn.Dropout(0.5)

    def forward(self, batch):
        return self.drop(super().forward(batch))


@pytest.fixture(scope="module")
def small(data_set):
    """A few small images."""
    return probes_of(str(data_set(n_real=3, n_synthetic=3, splits=("train", "test"))))


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(harness, "SECONDS", 0)


def outcomes(findings):
    """{what: outcome} of what is not ok."""
    return {finding.what: finding.outcome for finding in findings if finding.outcome != "ok"}


@pytest.mark.parametrize(
    ("cls", "failed", "reason"),
    [
        (Broken, "answers", "RuntimeError: out of order (line"),
        (WrongShape, "answers", "logits have shape [1, 2] for 1 images, not [1]"),
        (RaisesInPreprocess, "answers", "of dummy_detectors.py)"),
        (NanDetector, "finite", "logits are NaN or infinite"),
        (Moody, "repeatable", "another logit the second time"),
        (Sociable, "batch = single", "must not see each other"),
        (Shuffles, "batch = single", "must keep their order"),
        (Narrow, "odd sizes", "1 x 1: RuntimeError"),
        (Divides, "flat images", "grey: logit nan"),
        (Paints, "image untouched", "copy them first"),
        (Otherwise, "differentiable", "other logits than preprocess"),
        (Stiff, "differentiable", "no gradient reaches the pixels"),
        (Scribbles, "threads", "answer (concurrent = True) has other results in 4 threads"),
        (Rooted, "pickles", "cannot pickle"),
        (Forgetful, "pickles", "__getstate__"),
        (Learns, "self untouched", "scoring changed scored"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
@pytest.mark.filterwarnings("ignore:The given NumPy array is not writable")
def test_what_fails(small, cls, failed, reason):
    findings = check(cls(), small)
    found = {finding.what: finding for finding in findings if finding.outcome == "failed"}
    assert failed in found
    assert reason in found[failed].says
    also = {NanDetector: {"flat images"}, Moody: {"batch = single", "threads", "pickles"}}
    assert set(found) == {failed} | also.get(cls, set())
    assert not is_clean(findings)


@pytest.mark.parametrize("cls", [Brightness, Attackable, Picky, Dropout])
def test_what_passes(small, cls):
    findings = check(cls(), small)
    assert set(outcomes(findings).values()) <= {"advice"}
    assert is_clean(findings)


def test_a_network_passes_everything_but_its_card(small):
    torch.manual_seed(0)
    found = outcomes(check(MaiCnn(), small))
    found.pop("logits", None)  # of random weights they may lie anywhere
    assert found == {"card": "advice"}


def test_a_fitted_detector_is_fitted_first(small):
    findings = check(load_detector("metadata"), small)
    assert findings[1].what == "fit" and is_clean(findings)


def test_what_cannot_be_fitted_is_not_asked(data_set):
    findings = check(load_detector("metadata"), probes_of(str(data_set(n_real=2, n_synthetic=2))))
    assert [finding.what for finding in findings] == ["card", "fit"]
    assert "training split" in findings[-1].says


def test_probabilities_are_told_from_logits():
    said = {finding.what: finding for finding in check(Probability(), seconds=1000)}
    assert said["logits"].outcome == "failed"
    assert "torch.logit(p)" in said["logits"].says


def test_few_images_do_not_convict(small):
    said = {finding.what: finding.outcome for finding in check(Probability(), small)}
    assert said["logits"] == "advice"


def test_a_slow_detector_is_asked_less(small):
    heard = []
    findings = check(Brightness(), small, seconds=0, told=heard.append)
    assert heard == findings
    assert "for each of 4 images" in next(finding.says for finding in findings if finding.what == "answers")


def test_probes_are_what_they_say():
    probes = probe_data()
    assert probes.rows.groupby("split").size().tolist() == [COUNT] * 3
    images = [probes.read(path) for path in probes.split("test")["path"]]
    assert len({image.image_id for image in images}) == COUNT
    assert images[3].data == probe_data().read(images[3].path).data
    assert len({(image.width, image.height) for image in images}) > 3
    assert all(a.path != b.path for a, b in itertools.pairwise(images))


class TestCommand:
    def test_ok(self, data_set):
        data = str(data_set())
        done = CliRunner().invoke(app, ["check", f"{__file__}:Brightness", "--data", data, "--set", "middle=0"])
        assert done.exit_code == 0, done.output
        assert "ok      answers" in done.stdout
        assert "advice  card" in done.stdout

    def test_failed(self, data_set):
        done = CliRunner().invoke(app, ["check", f"{__file__}:WrongShape", "--data", str(data_set())])
        assert done.exit_code == 1
        assert "failed  answers         logits have shape" in done.stdout

    def test_the_device_may_be_a_setting(self):
        done = CliRunner().invoke(app, ["check", "bailu", "--set", "device=nowhere"])
        assert (done.exit_code, "unknown device 'nowhere'" in done.stderr) == (2, True)

    def test_wrong_request(self):
        done = CliRunner().invoke(app, ["check", "bailo"])
        assert done.exit_code == 2
        assert "unknown detector 'bailo'" in done.stderr
