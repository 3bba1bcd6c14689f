"""What docs/add_a_detector.md shows is run: its files, its check, its server; its commands exist."""

import itertools
import re
import shlex
import threading
import tomllib
from http.server import ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from typer.main import get_command

import maibench
from maibench.cli import app
from maibench.config import label_specs, split_list
from maibench.evaluation.conformance import harness
from maibench.models import registry

ROOT = Path(__file__).parents[1]
DOCS = (ROOT / "docs" / "add_a_detector.md").read_text()


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", DOCS, re.MULTILINE | re.DOTALL)


def commands():
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    return [shlex.split(line, comments=True) for line in lines]


def test_the_first_block_is_what_new_detector_writes():
    template = ROOT / "maibench" / "plugins" / "template" / "my_detector.py"
    assert blocks("python")[0] == template.read_text()
    code = [line for line in blocks("python")[0].split("class MyDetector")[1].splitlines() if line.strip()]
    assert len(code) <= 30


def test_a_network_its_weights_a_notebook_and_the_check(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(registry, "_registered", {})
    monkeypatch.setattr(harness, "SECONDS", 0)
    torch.manual_seed(0)
    network, weights, notebook, check = blocks("python")[1:5]
    Path("small_net.py").write_text(network)
    namespace = {"__name__": "notebook"}
    exec(network, namespace)
    exec(weights, namespace)
    trained = namespace["trained"].state_dict()
    for name in ("detector", "again"):
        tensors = namespace[name].state_dict()
        assert tensors.keys() == trained.keys()
        assert all(torch.equal(tensor, trained[key]) for key, tensor in tensors.items())
    exec(notebook, namespace)
    assert namespace["detector"].net[0].out_channels == 8
    exec(check.replace("check(detector)", "check(detector, seconds=0)"), namespace)
    assert "ok batch = single" in capsys.readouterr().out
    listed = ", ".join(re.findall(r"^\| ([a-z][^|`]*) \| ", DOCS, re.MULTILINE)).split(", ")
    assert {finding.what for finding in namespace["check"](namespace["detector"], seconds=0)} <= set(listed)


def test_the_server_answers_what_the_detector_does(data_set, tmp_path):
    namespace = {"__name__": "server"}
    exec(blocks("python")[5], namespace)
    server = ThreadingHTTPServer(("127.0.0.1", 0), namespace["Handler"])
    namespace["Handler"].log_message = lambda *arguments: None
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        run = maibench.compare(
            models=["bailu", f"served=http://127.0.0.1:{server.server_port}/"], data=str(data_set()), resamples=10,
            out=str(tmp_path / "out"), perturb=["none", "jpeg:75"], figures=False, gallery=0, audit=False,
        )  # fmt: skip
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert run.clean
    logits = run.predictions.pivot(index=["path", "perturbation"], columns="detector", values="logit")
    assert len(logits) == 16
    np.testing.assert_allclose(logits["served"], logits["bailu"], atol=1e-4)


def test_the_scores_are_a_table_of_scores(tmp_path):
    (block,) = blocks("csv")
    (tmp_path / "closed.csv").write_text(block)
    detector = maibench.load_detector(f"scores:{tmp_path / 'closed.csv'}")
    assert detector.card.name == "closed"
    assert pd.read_csv(tmp_path / "closed.csv")["score"].between(0, 1).all()


def test_the_group_of_entry_points():
    (block,) = blocks("toml")
    points = tomllib.loads(block)["project"]["entry-points"]
    assert list(points) == [registry.GROUP]


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_a_command_exists(words):
    assert words[0] in ("maibench", "python")
    name, *rest = words[1:]
    command = get_command(app).commands["compare" if name == "compare.py" else name]
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    assert {word for word in rest if word.startswith("--")} <= known
    for flag, value in itertools.pairwise(rest):
        if flag == "--models":
            assert label_specs(split_list(value))


def test_schemes_are_all_there_and_links_lead_somewhere():
    for scheme in registry.SCHEMES:
        assert re.search(rf"`{scheme}[:(]", DOCS) or f"or `{scheme}`" in DOCS, scheme
    links = re.findall(r"\]\((\.\.?/[^)]+)\)", DOCS)
    assert links and all((ROOT / "docs" / link).exists() for link in links)
