"""The benchmarks of a GPU run: here on small shapes on a CPU, where their figures mean nothing."""

import pytest
import torch

from benchmarks import gpu, gpu_feeding

ROWS = {gpu: 8, gpu_feeding: 8}


@pytest.mark.parametrize("module", ROWS, ids=lambda module: module.__name__)
def test_all_of_it_runs_on_small_shapes(module, capsys):
    gpu.command(module.measured, module.__doc__, ["--device", "cpu", "--tiny"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == ROWS[module]
    assert all(line.startswith("GPU, ") and "; cpu: " in line for line in lines)
    assert "OTHER BITS" not in " ".join(lines)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device, on which they take minutes")
@pytest.mark.parametrize("module", ROWS, ids=lambda module: module.__name__)
def test_without_a_gpu_they_say_so(module):
    (row,) = module.main()
    assert row.ratio is None
    assert row.verdict == "not measured"
    assert "no GPU here" in row.detail


def test_a_batch_answers_as_the_official_procedure_does():
    """In float32, for images of one crop and of several; the logits of tokens that differ from one another."""
    torch.manual_seed(1)
    model = gpu.MoondreamModel(gpu.SMALL.moondream).eval().requires_grad_(False)
    for parameter in model.parameters():
        parameter.normal_(0, 0.4)
    images = [gpu.picture(side, side) for side in (80, 500, 90)]
    cpu = torch.device("cpu")
    with torch.inference_mode(), gpu.ThreadPoolExecutor(2) as pool:
        one_by_one, together = gpu.official(model, images, cpu), gpu.batched(model, images, pool, cpu)
    assert one_by_one.std() > 0.1
    torch.testing.assert_close(together, one_by_one, rtol=1e-4, atol=1e-3)
