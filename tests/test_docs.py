"""The pages of docs/ become a site that fetches nothing, and what they show works: commands, code, notebook, table."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from typer.main import get_command

from maibench.cli import app
from maibench.config import OF_THE_HARNESS, label_specs, split_list
from maibench.models.baseline_table import END, START, with_table
from maibench.models.loading import options_of
from maibench.models.registry import BUILT_IN, detector_class, scheme_of
from tests.dummy_detectors import Brightness
from tests.test_scaling_docs import commands

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("*.md"))
NOTEBOOK = json.loads((DOCS / "notebooks" / "compare.ipynb").read_text())
CELLS = [cell for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]


def test_the_site_is_built_without_a_warning_and_fetches_nothing(tmp_path: Path):
    for package in ("mkdocs", "material", "mkdocstrings"):
        pytest.importorskip(package)
    nowhere = dict.fromkeys(("http_proxy", "https_proxy"), "http://127.0.0.1:9")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    quiet = os.environ | nowhere | {"NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(command, cwd=ROOT, env=quiet, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    pages = {page.name: page.read_text() for page in tmp_path.glob("*.html")}
    assert {f"{page.stem}.html" for page in PAGES} | {"notebook.html"} <= set(pages)
    for name, html in pages.items():
        links = re.findall(r"<(?:script|link|img|iframe)[^>]+(?:src|href)=\"?([^\"\s>]+)", html)
        assert links and not [link for link in links if re.match(r"(?:https?:)?//", link)], name
    assert 'src="data:image/png;base64,' in pages["notebook.html"]
    assert 'id="maibench.models.base.Detector.preprocess"' in pages["api.html"]
    assert "configs/cluster/slurm.sh" in pages["scaling.html"]


def test_every_page_is_in_the_navigation():
    named = [page for entry in _mkdocs()["nav"] for page in entry.values()]
    assert {page.name for page in PAGES} | {"notebook.md"} == set(named)
    assert _mkdocs()["theme"]["font"] is False


def _mkdocs() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "mkdocs.yml").read_text())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_commands_of_a_page_exist(page: Path):
    for words in commands(page.read_text().replace("\\\n", " ")):
        command, rest = get_command(app), words
        while rest and rest[0] in getattr(command, "commands", {}):
            command, rest = command.commands[rest[0]], rest[1:]
        assert not hasattr(command, "commands"), words
        known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        assert {word for word in rest if word.startswith("--")} <= known, words


@pytest.mark.parametrize("page", sorted({*PAGES} - {DOCS / "add_a_detector.md"}), ids=lambda page: page.name)
def test_the_detectors_and_options_of_a_page_exist(page: Path):
    text = page.read_text()
    for models in re.findall(r"--models (\"[^\"]+\"|\S+)", text):
        for spec in label_specs(split_list(models.strip('"`'))).values():
            is_placeholder = spec.isupper() or "/" in spec or "..." in spec
            assert is_placeholder or scheme_of(spec) or spec in BUILT_IN, (models, spec)
    for name, option in re.findall(rf"\b({'|'.join(BUILT_IN)})\.(\w+)=", text):
        assert option in (*options_of(detector_class(name)), *OF_THE_HARNESS, "weights"), f"{name}.{option}"


def test_the_links_between_pages_and_files_are_there():
    for page in PAGES:
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (DOCS / link).exists() or link == "notebook.md", (page.name, link)


def test_the_table_of_published_detectors_is_that_of_the_cards():
    page = (DOCS / "baselines.md").read_text()
    assert with_table(page) == page, "run python -m maibench.models.baseline_table"
    rows = page.partition(START)[2].partition(END)[0]
    assert "| `mai_cnn` | three conv-pool stages and three linear layers | 4,827,365 |" in rows
    assert {line.count(" | ") for line in rows.splitlines() if line} == {5}


def test_the_code_of_the_page_about_python_runs(data_set, write_image, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("my_images/real/a", "my_images/sdxl/b"):
        write_image(tmp_path / f"{name}.png")
    write_image(tmp_path / "photo.jpg", (300, 280))
    text = (DOCS / "api.md").read_text()
    quick = "figures=False, gallery=0, audit=False, resamples=10"
    scope: dict[str, Any] = {"my_detector": Brightness()}
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        code = re.sub(r'data="(demo|my_images)"', rf'data="\1", {quick}', block).replace("demo", str(data_set()))
        exec(code, scope)
    assert list(scope["run"].metrics["detector"]) == ["bailu", "mine"]
    assert isinstance(scope["logit"], float)
    assert (tmp_path / "roc.pdf").stat().st_size > 1000


def test_the_cells_of_the_notebook_run(demo_cache: Path, tmp_path: Path, monkeypatch):
    monkeypatch.setenv("MAIBENCH_CACHE", str(demo_cache))
    monkeypatch.chdir(tmp_path)
    scope: dict[str, Any] = {}
    for cell in CELLS:
        body = ast.parse("".join(cell["source"])).body
        last = body.pop() if isinstance(body[-1], ast.Expr) else None
        exec(compile(ast.Module(_smaller(body), []), "<cell>", "exec"), scope)
        shown = eval(compile(ast.Expression(last.value), "<cell>", "eval"), scope) if last else None
        for output in cell["outputs"]:
            for kind in {"text/html", "image/png"} & set(output["data"]):
                assert getattr(shown, f"_repr_{kind.split('/')[1]}_")()
    assert list(scope["run"].metrics["detector"]) == ["bailu", "mai_cnn"]
    assert list(scope["mine"].metrics["perturbation"]) == ["none", "jpeg:75"] * 2


def _smaller(body: list[ast.stmt]) -> list[ast.stmt]:
    """A cell's statements with few images and resamples in each dictionary of settings."""
    few = ast.parse('{"limit": 16, "resamples": 10}').body[0].value
    for node in ast.walk(ast.Module(body, [])):
        if isinstance(node, ast.Dict) and "gallery" in {getattr(key, "value", None) for key in node.keys}:
            node.keys += few.keys
            node.values += few.values
    return body


def test_the_notebook_was_run_as_it_stands():
    """After a change: jupyter nbconvert --to notebook --execute --inplace docs/notebooks/compare.ipynb"""
    assert [cell["execution_count"] for cell in CELLS] == list(range(1, len(CELLS) + 1))
    outputs = [output for cell in CELLS for output in cell["outputs"]]
    assert {output["output_type"] for output in outputs} == {"execute_result"}  # no errors, no warnings
    assert len(json.dumps(outputs)) < 60_000
    assert not re.search(r"/(?:home|work|tmp|root)/", json.dumps(outputs))
    kept = pd.read_csv(ROOT / "results" / "reference" / "demo" / "metrics.csv").set_index("detector")
    for name in ("bailu", "mai_cnn"):
        rates = [f"{kept.loc[name, metric]:.3f}" for metric in ("accuracy", "balanced_accuracy", "tpr", "tnr", "auc")]
        row = re.search(rf"<td[^>]*>{name}</td>(.*?)</tr>", "".join(outputs[0]["data"]["text/html"]))
        assert row and [rate for rate in rates if rate not in row.group(1)] == []
