"""Detectors whose class says `concurrent` answer several threads at once as they answer one."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numpy as np
import pytest
import torch

from maibench.cores import stay_on_one_core
from maibench.models.backends.backend import BACKENDS
from maibench.models.backends.choose import use_backend
from maibench.models.base import Detector
from maibench.models.loading import build, load_detector
from maibench.models.metadata import Metadata
from maibench.models.registry import detector_class, names
from maibench.models.timm_backbone import TimmDetector

THREADS = 3
ROUNDS = 2


def same_in_threads(detector, batches):
    """Each of several threads answers for all batches, all starting together; every answer is one thread's."""

    def logits(batch):
        with torch.inference_mode():
            return detector.answer(batch)[0]

    def work(barrier):
        stay_on_one_core()
        barrier.wait()
        return [logits(batch) for _ in range(ROUNDS) for batch in batches]

    with ThreadPoolExecutor(1) as one:
        wanted = one.submit(work, Barrier(1)).result()
    detector.train().eval()  # what it keeps between calls is made anew, by all threads at once
    barrier = Barrier(THREADS)
    with ThreadPoolExecutor(THREADS) as threads:
        found = [task.result() for task in [threads.submit(work, barrier) for _ in range(THREADS)]]
    assert all(torch.equal(a, b) for answers in found for a, b in zip(answers, wanted, strict=True))
    assert len({float(value) for answer in wanted for value in answer}) > 1


def batches_of(detector, texture, sizes):
    items = [detector.preprocess(texture(size, seed)) for seed, size in enumerate(sizes)]
    return [detector.collate(items[:1]), detector.collate(items[1:])]


def test_every_bundled_class_says_so():
    assert {name for name in names() if not detector_class(name).concurrent} == set()
    assert not Detector.concurrent


@pytest.mark.parametrize("name", ["bailu", "mai_cnn", "mai_resnet", "moondream"])
def test_bundled(texture, name):
    torch.manual_seed(0)
    detector = build(detector_class(name), name, {}).eval() if name == "mai_resnet" else load_detector(name)
    same_in_threads(detector, batches_of(detector, texture, [(120, 90), (300, 200)]))


@pytest.mark.parametrize("name", ["torch-bf16", "onnx", "openvino"])
def test_backends(texture, name):
    if missing := BACKENDS[name].missing:
        pytest.skip(f"{missing} is not installed")
    detector = load_detector("bailu")
    items = [detector.preprocess(texture((120, 90), seed)) for seed in range(4)]
    use_backend(detector, name, items)
    same_in_threads(detector, batches_of(detector, texture, [(120, 90), (120, 90), (300, 200)]))


@pytest.mark.parametrize("backbone", ["mobilenetv4_conv_small", "levit_128s"])
def test_timm(texture, backbone):
    pytest.importorskip("timm")
    torch.manual_seed(0)
    detector = TimmDetector(backbone=backbone).eval()
    same_in_threads(detector, batches_of(detector, texture, [(230, 230)] * 2))


def test_metadata():
    detector = Metadata()
    features = np.random.default_rng(0).normal(size=(40, len(detector.edges))).astype(np.float32)
    detector.fit(features, np.arange(40) % 2)
    rows = torch.from_numpy(features).double()
    same_in_threads(detector, [rows[:3], rows[3:], rows])
