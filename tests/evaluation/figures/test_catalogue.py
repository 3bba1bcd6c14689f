"""All figures of a report together: their files, their bytes, their size in print, and names of any kind."""

import hashlib
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from itertools import combinations
from pathlib import Path

import matplotlib
import numpy as np
import pytest

from maibench.evaluation.figures import FIGURES, plot_all
from maibench.evaluation.figures.drawing import save_pictures, style
from maibench.evaluation.statistics.frames import COLUMNS, Summary, empty

HOSTILE = (
    "<script>alert(1)</script>",
    "$x$ _hidden",
    "探测器 مولد 🙂",
    "a-very-long-name-with-sixty-characters-in-all-and-no-spaces-1",
    "two\nlines\x00",
    r"\frac{$1",
    "_",
    "--> & ]]>",
)
THREE = ("bailu", "mai_cnn", "metadata")
NAMES = [picture.name for picture in FIGURES]


def crowd(n):
    return [*HOSTILE, *(f"stable-diffusion-{i}" for i in range(n))][:n]


def hashes(written):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for paths in written.values() for path in paths}


def drawn_texts(figure, monkeypatch):
    """Texts that are drawn, with what they cover; turned ones, whose boxes are mostly empty, are left out."""
    found = []
    write = matplotlib.text.Text.draw

    def record(self, renderer):
        if self.get_visible() and self.get_text().strip() and self.get_rotation() % 90 == 0:
            found.append((self, self.get_window_extent(renderer)))
        write(self, renderer)

    with monkeypatch.context() as patch:
        patch.setattr(matplotlib.text.Text, "draw", record)
        figure.set_layout_engine("none")
        figure.draw_without_rendering()
    return found


@pytest.fixture(scope="module")
def written(tmp_path_factory, summary):
    """All figures of three detectors."""
    folder = tmp_path_factory.mktemp("report") / "new"
    with matplotlib.rc_context({"font.size": 30, "svg.hashsalt": "mine", "lines.linewidth": 9}):
        paths = plot_all(summary(detectors=THREE), folder)
        assert matplotlib.rcParams["font.size"] == 30 and matplotlib.rcParams["svg.hashsalt"] == "mine"
    return paths


def test_every_figure_is_written_in_every_format(written):
    assert list(written) == NAMES
    for name, paths in written.items():
        assert [path.name for path in paths] == [f"{name}.svg", f"{name}.png", f"{name}.pdf"]
        assert ElementTree.parse(paths[0]).getroot().tag.endswith("svg")
        assert paths[1].read_bytes().startswith(b"\x89PNG")
        assert paths[2].read_bytes().startswith(b"%PDF")
        assert b"/Type3" not in paths[2].read_bytes()
    assert len(list(written["roc"][0].parent.iterdir())) == 3 * len(NAMES)


@pytest.mark.slow
def test_same_numbers_same_bytes_in_another_process_and_whatever_the_users_settings(written, tmp_path):
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import conftest; "
        "from maibench.evaluation.figures import plot_all; "
        "plot_all(conftest.make_summary(detectors=('bailu', 'mai_cnn', 'metadata')), sys.argv[2])"
    )
    command = [sys.executable, "-c", code, str(Path(__file__).parent), str(tmp_path / "b")]
    subprocess.run(command, check=True, env={"PYTHONHASHSEED": "7", "PATH": "", "MPLBACKEND": "svg"})
    again = {name: [tmp_path / "b" / path.name for path in paths] for name, paths in written.items()}
    assert hashes(written) == hashes(again)


def test_what_has_no_data_is_not_drawn_and_an_earlier_picture_of_it_goes(summary, tmp_path):
    for name in NAMES:
        for ending in ("svg", "png", "pdf"):
            (tmp_path / f"{name}.{ending}").touch()
    (tmp_path / "mine.svg").touch()
    poorer = summary(detectors=("bailu",), generators=("sd15",))
    poorer.robustness = empty("robustness")
    written = plot_all(poorer, tmp_path)
    gone = {"comparisons", "ranks", "released", "transfer", "robustness", "robustness_dots"}
    assert set(NAMES) - set(written) == gone
    assert {path.stem for path in tmp_path.iterdir()} == {"mine", *written}


@pytest.mark.parametrize("detectors", [(), THREE])
def test_no_rows_make_no_figures(detectors, summary, tmp_path):
    nothing = Summary(**{name: empty(name) for name in COLUMNS})
    names = summary(detectors=detectors).metrics[["detector", "perturbation"]]
    nothing.metrics = names.reindex(columns=COLUMNS["metrics"])
    assert plot_all(nothing, tmp_path) == {}


def blank(frame, share, rng):
    """The frame with this share of its measurements empty; names, counts and places on axes stay."""
    kept = {"n", "n_real", "n_synthetic", "n_blocks", "bin", "lo", "hi", "label", "severity", "seen"}
    measured = [c for c in frame.select_dtypes("number") if c not in kept or share == 1]
    return frame.assign(**{c: frame[c].astype(float).mask(rng.random(len(frame)) < share) for c in measured})


def test_numbers_that_are_all_empty_make_no_figures(summary, draw):
    full = summary(detectors=THREE)
    frames = {name: blank(frame, 1, np.random.default_rng(0)) for name, frame in full.frames().items()}
    assert draw(Summary(**frames, released=full.released)) == {}


def test_some_empty_numbers_are_left_out(summary, draw):
    full = summary(detectors=THREE, generators=("a", "b", "c"))
    rng = np.random.default_rng(1)
    frames = {name: blank(frame, 0.3, rng) for name, frame in full.frames().items()}
    assert set(draw(Summary(**frames, released=full.released))) >= set(NAMES) - {"ranks"}


CASES = {
    "one": {"detectors": ("bailu",), "generators": ("sd15",)},
    "three": {"detectors": THREE, "generators": ("sd15", "sdxl", "flux.1")},
    "crowded": {"detectors": HOSTILE, "generators": crowd(40), "points": 200},
}


@pytest.mark.parametrize("case", CASES)
def test_figures_are_readable_in_print(case, summary, draw, monkeypatch):
    for name, figure in draw(summary(**CASES[case])).items():
        texts = drawn_texts(figure, monkeypatch)
        assert texts, name
        assert min(text.get_fontsize() for text, _ in texts) >= 7, name
        for (one, a), (other, b) in combinations(texts, 2):
            overlap = min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0)
            assert min(overlap) < 2, f"{name}: {one.get_text()!r} lies on {other.get_text()!r}"
        # a heat map grows with its cells
        assert figure.get_tightbbox().width <= 7.05 or name in ("heatmap", "transfer"), name


def test_no_text_of_the_data_is_in_an_svg(summary, tmp_path):
    written = plot_all(summary(detectors=HOSTILE[:4], generators=HOSTILE[4:]), tmp_path)
    assert len(written) == len(NAMES)
    for paths in written.values():
        svg = paths[0].read_text("utf-8")
        assert not any(
            word in svg for word in ("script", "alert", "hidden", "sixty", "frac", "stable", "<!--", "<text")
        )


def test_an_alternative_text_and_a_title_for_each():
    assert len(set(NAMES)) == len({picture.title for picture in FIGURES}) == len(FIGURES)
    assert all(len(picture.alt) > 20 for picture in FIGURES)


def test_a_detector_has_one_colour_everywhere(summary, draw):
    looks = {name: set() for name in THREE}
    for figure in draw(summary(detectors=THREE)).values():
        for legend in figure.legends:
            for handle, text in zip(legend.legend_handles, legend.get_texts(), strict=True):
                name = text.get_text().split("   ")[0]
                if name in looks:
                    looks[name].add(handle.get_color())
    assert all(len(colours) == 1 for colours in looks.values())
    assert len(set.union(*looks.values())) == 3


def test_the_perturbation_is_said_where_images_are_disturbed(summary, draw, texts):
    beside = {"robustness", "robustness_dots", "transfer", "ranks"}
    figures = draw(summary(detectors=THREE, perturbations=("jpeg:75", "blur:1")))
    assert {name for name, figure in figures.items() if "images after jpeg:75" in texts(figure)} == set(NAMES) - beside
    figures = draw(summary(detectors=THREE, perturbations=("jpeg:75", "none")))
    assert not any("images after" in text for figure in figures.values() for text in texts(figure))


def test_pictures_of_other_modules_keep_working(tmp_path):
    from matplotlib.figure import Figure

    with style():
        figure = Figure(figsize=(4, 1), layout="constrained")
        figure.subplots().plot([0, 1], [0, 1])
        figure.supxlabel("a caption that is wider than its figure, " * 3)
        paths = save_pictures(figure, tmp_path, "wide")
    assert [path.suffix for path in paths] == [".svg", ".png", ".pdf"]
    assert float(ElementTree.parse(paths[0]).getroot().get("viewBox").split()[2]) > 5 * 72


def test_importing_figures_imports_no_torch_and_nothing_to_draw_with():
    code = (
        "import sys, maibench.evaluation.figures; "
        "print(sorted({'torch', 'matplotlib', 'scipy', 'sklearn'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
