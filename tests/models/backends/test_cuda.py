"""CUDA graphs: what a GPU answers from them, and what is said where there is none."""

import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

import maibench
from maibench.errors import MaibenchError
from maibench.models.backends.backend import BACKENDS
from maibench.models.backends.choose import use_backend
from maibench.models.backends.cuda import SHAPES, CudaGraphs
from maibench.models.loading import load_detector

HAS_GPU = torch.cuda.is_available()


def on_gpu(test):
    return pytest.mark.gpu(pytest.mark.skipif(not HAS_GPU, reason="there is no CUDA device")(test))


@pytest.fixture(params=["bailu", "mai_cnn"])
def detector(request):
    return load_detector(request.param, device="cuda")


def stacked(detector, texture, count, size=(256, 256)):
    return torch.stack([detector.preprocess(texture(size, seed)) for seed in range(count)]).to("cuda")


@pytest.mark.parametrize("name", ["cudagraph", "cudagraph-bf16"])
def test_on_a_cpu_it_is_refused(texture, name):
    detector = load_detector("bailu")
    with pytest.raises(MaibenchError, match=rf"backend {name} .*cuda, and the detector is on cpu; .*backend=torch"):
        use_backend(detector, name, [detector.preprocess(texture((256, 256), 1))])
    assert detector.compiled is None


def test_bfloat16_is_known_as_such():
    assert BACKENDS["cudagraph-bf16"].bfloat16
    assert not BACKENDS["cudagraph"].bfloat16


@on_gpu
@pytest.mark.parametrize("count", [1, 5, 32])
def test_a_graph_gives_what_torch_gives(detector, texture, count):
    graphs = CudaGraphs(detector)
    x = stacked(detector, texture, count)
    with torch.inference_mode():
        expected = detector.tensor_logits(x)
        found = [graphs(x) for _ in range(4)]
    assert graphs.shapes == [tuple(x.shape)]
    for logits in found:
        torch.testing.assert_close(logits, expected, rtol=0, atol=1e-5)


@on_gpu
def test_every_replay_answers_for_its_own_batch(detector, texture):
    graphs = CudaGraphs(detector)
    images = stacked(detector, texture, 12)
    with torch.no_grad():
        expected = [detector.tensor_logits(images[n : n + 3]) for n in range(9)]
        found = [graphs(images[n : n + 3]) for n in range(9)]  # read after the last replay
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5)


@on_gpu
def test_shapes_beyond_the_last_run_all_the_same(texture):
    detector = load_detector("bailu", device="cuda")
    graphs = CudaGraphs(detector)
    for _ in range(2):
        for side in range(64, 64 + 16 * (SHAPES + 3), 16):
            x = stacked(detector, texture, 2, (side, 96))
            with torch.inference_mode():
                torch.testing.assert_close(graphs(x), detector.tensor_logits(x), rtol=0, atol=1e-5)
    assert len(graphs.shapes) == SHAPES


@on_gpu
def test_from_several_threads(detector, texture):
    graphs = CudaGraphs(detector)
    images = stacked(detector, texture, 16)
    with torch.inference_mode():
        expected = detector.tensor_logits(images).cpu()

    def one(number):
        with torch.cuda.stream(torch.cuda.Stream()):
            return graphs(images[number : number + 1]).cpu()

    torch.cuda.synchronize()
    with ThreadPoolExecutor(4) as pool:
        found = torch.cat(list(pool.map(one, [*range(16)] * 4)))
    torch.testing.assert_close(found, expected.repeat(4), rtol=0, atol=1e-4)


@on_gpu
def test_what_becomes_of_the_detector_changes_no_graph(detector, texture):
    graphs = CudaGraphs(detector)
    x = stacked(detector, texture, 2)
    expected = [graphs(x) for _ in range(3)][-1]
    with torch.no_grad():
        for parameter in detector.parameters():
            parameter.zero_()
    detector.to("cpu")
    torch.testing.assert_close(graphs(x), expected, rtol=0, atol=0)


@on_gpu
@pytest.mark.parametrize("name", ["cudagraph", "cudagraph-bf16"])
def test_it_passes_the_check_and_leaves_with_a_pickle(detector, texture, name):
    probes = [detector.preprocess(texture((256, 256), seed)) for seed in range(16)]
    assert use_backend(detector, name, probes).name == name
    batch = detector.collate(probes).to("cuda")
    with torch.inference_mode():
        logits = detector.answer(batch)[0]
        again = pickle.loads(pickle.dumps(detector))
        torch.testing.assert_close(logits, again.answer(batch)[0], rtol=0.1, atol=0.1)
    assert logits.dtype == torch.float32
    assert again.compiled is None


@on_gpu
def test_a_network_that_looks_at_a_value_is_refused(texture):
    class Looks(maibench.Detector):
        card = maibench.Card(name="looks")

        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(()))

        def forward(self, batch):
            factor = 2.0 if batch.mean().item() > 0 else 1.0
            return batch.flatten(1).mean(1) * factor * self.weight

    with pytest.raises(MaibenchError, match="cannot be recorded as a CUDA graph"):
        use_backend(Looks().to("cuda").eval(), "cudagraph", [torch.rand(3, 8, 8) for _ in range(4)])
