"""Images whose scores are known, and the dummy detectors that score them."""

from __future__ import annotations

import shutil
import subprocess
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image


@pytest.fixture
def warnings_are_errors() -> Iterator[None]:
    """But for those of what other tests left open, which come whenever Python tidies up."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", ResourceWarning)
        yield


@pytest.fixture(scope="session")
def dummies() -> str:
    """The file of the dummy detectors: f"{dummies}:Brightness" is a SPEC."""
    return str(Path(__file__).parents[1] / "dummy_detectors.py")


@pytest.fixture(scope="session")
def greys(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """greys(images, folder=None) -> the path of a manifest.csv beside plain grey images.

    images: (value, label) or (value, label, split) for each; Brightness gives the logit (value - 127.5) / 10. Every
    image is its own source; the synthetic ones are of "gen-a" and "gen-b" in turns.
    """

    def make(images: Sequence[tuple], folder: Path | None = None) -> Path:
        folder = folder or tmp_path_factory.mktemp("greys")
        rows = []
        for index, (value, label, *split) in enumerate(images):
            path = f"{index:03d}.png"
            Image.fromarray(np.full((70, 80, 3), value, dtype=np.uint8)).save(folder / path)
            generator = ("gen-a", "gen-b")[index % 2] if label else "real"
            rows.append((path, label, generator, f"source-{index}", split[0] if split else "test"))
        frame = pd.DataFrame(rows, columns=["path", "label", "generator", "source", "split"])
        frame.to_csv(folder / "manifest.csv", index=False)
        return folder / "manifest.csv"

    return make


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports without their figures, which take most of the time that a small report takes."""
    monkeypatch.setattr("maibench.evaluation.figures.plot_all", lambda *_: {})


@pytest.fixture
def compile_paper(tmp_path: Path) -> Callable[[str], str]:
    """compile_paper(the text of a table.tex) -> pdflatex' log of a two-column paper that has nothing else in it.

    Skips where pdflatex or siunitx is missing (Debian: texlive-latex-extra, texlive-science); fails where LaTeX does.
    """
    if not shutil.which("pdflatex"):
        pytest.skip("pdflatex is not installed")
    for package in ("booktabs.sty", "siunitx.sty"):
        if not subprocess.run(["kpsewhich", package], capture_output=True).stdout.strip():
            pytest.skip(f"LaTeX has no {package}")

    def compile_(text: str) -> str:
        (tmp_path / "table.tex").write_text(text, encoding="utf-8")
        (tmp_path / "paper.tex").write_text(
            r"\documentclass[twocolumn]{article}\usepackage{booktabs,siunitx}"
            r"\begin{document}\input{table}\clearpage the end\end{document}"
        )
        command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace", timeout=120)
        assert done.returncode == 0, done.stdout[-3000:]
        return (tmp_path / "paper.log").read_text(errors="replace")

    return compile_
