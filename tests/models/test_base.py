"""What every detector inherits: how stacked images are run, and what is pickled."""

import copy
import pickle

import pytest
import torch

import maibench
from maibench.models.mai_cnn import MaiCnn


class Counting(maibench.Detector):
    """The mean of each image; it keeps the sizes of the batches that it computed."""

    card = maibench.Card(name="counting")

    def __init__(self):
        super().__init__()
        self.sizes = []

    def forward(self, batch):
        self.sizes.append(len(batch))
        return batch.mean(dim=(1, 2, 3))


class InThrees(Counting):
    cpu_chunk = 3


@pytest.fixture
def batch():
    torch.manual_seed(0)
    return torch.rand(8, 3, 6, 6)


@pytest.mark.parametrize(("cls", "sizes"), [(Counting, [8]), (InThrees, [3, 3, 2])])
def test_a_core_takes_some_images_at_a_time(batch, cls, sizes):
    detector = cls().eval()
    with torch.inference_mode():
        logits, unsure = detector.answer(batch)
    assert detector.sizes == sizes
    torch.testing.assert_close(logits, batch.mean(dim=(1, 2, 3)))
    assert not unsure.any()


def test_training_takes_a_batch_whole(batch):
    detector = InThrees().train()
    detector.answer(batch)
    assert detector.sizes == [8]


def test_what_is_compiled_answers_unless_gradients_are_wanted(batch):
    detector = Counting().eval()
    detector.compiled = lambda x: x.sum(dim=(1, 2, 3))
    with torch.no_grad():
        torch.testing.assert_close(detector.answer(batch)[0], batch.sum(dim=(1, 2, 3)))
    torch.testing.assert_close(detector.answer(batch)[0], batch.mean(dim=(1, 2, 3)))


def test_a_subclass_that_changes_forward_is_heard(batch):
    class Shifted(MaiCnn):
        def forward(self, batch):
            return super().forward(batch) + 100

    detector = Shifted().eval()
    images = torch.rand(2, 3, 200, 200)
    with torch.inference_mode():
        plain = detector.tensor_logits(images)
        torch.testing.assert_close(detector.answer(images)[0], plain + 100)
        detector.compiled = lambda x: torch.full((len(x),), 7.0)
        torch.testing.assert_close(detector.answer(images)[0], torch.full((2,), 107.0))


@pytest.mark.parametrize("twin_of", [copy.deepcopy, lambda detector: pickle.loads(pickle.dumps(detector))])
def test_what_is_compiled_stays_in_its_process(twin_of):
    detector = MaiCnn()
    detector.compiled = lambda x: x
    assert twin_of(detector).compiled is None
    assert detector.compiled is not None


def test_an_attribute_called_network_is_the_users(batch):
    class Own(maibench.Detector):
        card = maibench.Card(name="own")

        def __init__(self):
            super().__init__()
            self.network = torch.nn.Flatten()

        def forward(self, batch):
            return self.network(batch).mean(dim=1)

    with torch.inference_mode():
        torch.testing.assert_close(Own().answer(batch)[0], batch.mean(dim=(1, 2, 3)))
