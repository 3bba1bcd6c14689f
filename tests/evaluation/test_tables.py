"""Tables: what a reader finds in the terminal, in table.md and in table.tex."""

import io
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from maibench.evaluation import tables
from maibench.evaluation.summary import METRICS_COLUMNS, PER_GENERATOR_COLUMNS, ROC_COLUMNS, Summary
from maibench.evaluation.table_formats import escape_latex, escape_markdown

SCRIPT = "<script>alert(1)</script>"
HOSTILE = [SCRIPT, "a|b", "x_y%", "two\nlines", "[red]bold[/red]", "\\{}~^#$&", "[1] first", "*star", "`_it_`"]


def make_summary(
    detectors=("bailu", "mai_cnn"), generators=("sd15", "sdxl"), perturbations=("none",), notes=(), **over
):
    """A summary by hand: accuracy 0.9, 0.8, ... by detector; per generator 0.01 less a generator."""
    metrics, per_generator = [], []
    for i, detector in enumerate(detectors):
        for k, perturbation in enumerate(perturbations):
            key = {"detector": detector, "perturbation": perturbation}
            a = 0.9 - 0.1 * i - 0.05 * k
            row = key | {"n": 100, "n_real": 50, "n_synthetic": 50, "n_failed": 0, "accuracy": a, "auc": a + 0.04}
            row |= {"accuracy_lo": a - 0.05, "accuracy_hi": a + 0.05, "auc_lo": a - 0.01, "auc_hi": a + 0.09}
            row |= {"balanced_accuracy": a, "tpr": a + 0.02, "tnr": a - 0.02, "ap": a, "eer": 1 - a}
            row |= {"interval": "bootstrap of 50 sources", "parameters": 4827365, "images_per_second": 123.4}
            metrics.append(row | {name: values[i] for name, values in over.items()})
            for j, generator in enumerate(generators):
                b = a - 0.01 * j
                part = {"generator": generator, "n_real": 50, "n_synthetic": 25, "accuracy": b, "auc": b + 0.04}
                per_generator.append(key | part | {"seen": (j == 0) if i == 0 else None})
    return Summary(
        pd.DataFrame(metrics, columns=METRICS_COLUMNS).astype({"parameters": "Int64"}),
        pd.DataFrame(per_generator, columns=PER_GENERATOR_COLUMNS).astype({"seen": "boolean"}),
        pd.DataFrame(columns=ROC_COLUMNS),
        list(notes),
    )


def printed(summary, run=None, width=100):
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(tables.terminal(summary, run or {}))
    return console.export_text()


def parsed(markdown):
    """The tables of a Markdown text: lists of rows of unescaped cells, header first."""
    found, rows = [], []
    for line in [*markdown.splitlines(), ""]:
        if line.startswith("| "):
            cells = re.split(r"(?<!\\)\|", line.strip())[1:-1]
            rows.append([unescaped(cell.strip().removeprefix("**").removesuffix("**")) for cell in cells])
        elif rows:
            found.append([row for row in rows if not set("".join(row)) <= set("-:")])
            rows = []
    return found


def unescaped(text):
    text = re.sub(r"\\([^A-Za-z0-9\s])", r"\1", text)
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def test_markdown_holds_every_number_of_the_main_table():
    header, bailu, mai = parsed(tables.markdown(make_summary(), {}))[0]
    assert dict(zip(header, bailu, strict=True)) == {
        "detector": "bailu",
        "accuracy": "0.900 [0.85, 0.95]",
        "bal. acc.": "0.900",
        "TPR": "0.920",
        "TNR": "0.880",
        "AUC": "0.940 [0.89, 0.99]",
        "AP": "0.900",
        "EER": "0.100",
        "params": "4.83 M",
        "img/s": "123",
    }
    assert mai[0] == "mai_cnn"


def test_markdown_tables_per_generator_mark_what_was_seen():
    _, accuracy, auc = parsed(tables.markdown(make_summary(), {}))
    assert accuracy == [["detector", "sd15", "sdxl"], ["bailu", "0.900*", "0.890"], ["mai_cnn", "0.800", "0.790"]]
    assert auc[1] == ["bailu", "0.940*", "0.930"]
    assert "trained on this generator" in tables.markdown(make_summary(), {})


def test_many_generators_are_rows_on_paper():
    names = [f"g{i}" for i in range(7)]
    accuracy = parsed(tables.markdown(make_summary(generators=names), {}))[1]
    assert accuracy[0] == ["generator", "bailu", "mai_cnn"]
    assert [row[0] for row in accuracy[1:]] == names
    assert accuracy[1][1] == "0.900*" and accuracy[7][2] == "0.740"


def test_markdown_brings_hostile_names_back_whole_and_in_their_cells():
    text = tables.markdown(make_summary(detectors=HOSTILE, generators=HOSTILE[:5], notes=["a <b> note"]), {})
    main, accuracy, _ = parsed(text)
    expected = [" ".join(name.split()) for name in HOSTILE]
    assert [row[0] for row in main[1:]] == expected
    assert accuracy[0][1:] == expected[:5]
    assert {len(row) for row in main} == {10}
    assert "<" not in text


def test_markdown_leaves_plain_names_alone():
    assert escape_markdown("mai_cnn v2-b:75") == "mai_cnn v2-b:75"


def test_best_is_bold_among_rivals_of_one_perturbation():
    text = tables.markdown(make_summary(perturbations=("none", "jpeg:75")), {})
    assert re.findall(r"\*\*(0\.\d+) \[", text) == ["0.900", "0.940", "0.850", "0.890"]
    assert "**0." not in tables.markdown(make_summary(detectors=["alone"]), {})


def test_what_looks_equal_is_equally_best():
    text = tables.markdown(make_summary(accuracy=[0.90001, 0.90004]), {})
    assert text.count("**0.900 [") == 2


def test_perturbation_is_a_column_only_when_there_are_several():
    assert "perturbation" not in parsed(tables.markdown(make_summary(), {}))[0][0]
    main, accuracy, _ = parsed(tables.markdown(make_summary(perturbations=("jpeg:75", "none")), {}))
    assert [row[:2] for row in main[1:3]] == [["bailu", "jpeg:75"], ["bailu", "none"]]
    assert accuracy[1][1] == "0.850*", "per generator: the undisturbed images"


@pytest.mark.parametrize("render", [printed, lambda s: tables.markdown(s, {}), lambda s: tables.latex(s, {})])
def test_failed_images_and_fitted_thresholds_show_only_where_they_exist(render):
    assert "failed" not in render(make_summary()) and "fitted" not in render(make_summary())
    text = render(make_summary(n_failed=[0, 3], accuracy_fitted=[0.91, 0.81], threshold_fitted=[0.62, 0.4]))
    assert "failed" in text and "0.910 (0.62)" in text and "validation split alone" in text


def test_empty_values_are_dashes():
    nothing = [np.nan, np.nan]
    summary = make_summary(
        auc=nothing, accuracy_lo=nothing, parameters=[None, 1_930_000_000], images_per_second=nothing
    )
    header, bailu, mai = parsed(tables.markdown(summary, {}))[0]
    row = dict(zip(header, bailu, strict=True))
    assert (row["AUC"], row["accuracy"], row["params"], row["img/s"]) == ("–", "0.900", "–", "–")
    assert "1.93 B" in mai
    assert "–" not in tables.latex(summary, {}), "LaTeX writes its own dash"


@pytest.mark.parametrize(("n", "text"), [(42, "42"), (999_999, "1 M"), (812_345, "812 k"), (11_700_000, "11.7 M")])
def test_parameters_have_three_digits_and_a_unit(n, text):
    assert parsed(tables.markdown(make_summary(parameters=[n, n]), {}))[0][1][-2] == text


def test_reported_numbers_stand_beside_measured_ones():
    run = {"detectors": [{"label": "bailu", "card": {"reported": {"accuracy": 0.9588, "on": "their own set"}}}]}
    line = "bailu: reported accuracy 0.9588 on their own set; measured 0.900 here: not comparable, another test set"
    assert line in " ".join(printed(make_summary(), run, width=200).split())
    assert f"- {line}" in tables.markdown(make_summary(), run)
    assert line in tables.latex(make_summary(), run)


def test_run_json_with_empty_parts_is_no_obstacle():
    run = {"detectors": [{"label": "bailu", "card": None}, {"label": "gone", "card": {"reported": None}}], "data": None}
    assert "bailu" in tables.markdown(make_summary(), run)


def test_notes_are_in_every_format():
    summary = make_summary(notes=["majority class: 50.0 % of the images", "no interval: 3 sources"])
    for text in (printed(summary), tables.markdown(summary, {})):
        assert "majority class: 50.0 % of the images" in text and "no interval: 3 sources" in text
    assert r"majority class: 50.0 \% of the images" in tables.latex(summary, {})


@pytest.mark.parametrize("width", [80, 100])
def test_terminal_never_breaks_a_row_and_loses_no_generator(width):
    names = [f"generator-{i:02}" for i in range(15)]
    text = printed(make_summary(generators=names, perturbations=("none", "resize:0.5+jpeg:75")), width=width)
    assert max(len(line) for line in text.splitlines()) <= width
    for name in names:
        assert len(re.findall(rf"\b{name}\b", text)) == 2, "once for accuracy, once for AUC"
    cells = re.findall(r"0\.\d{3}", text.split("Accuracy per generator")[1].split("AUC per generator")[0])
    assert len(cells) == 2 * 15


def test_terminal_fits_the_default_comparison_into_100_columns_in_one_block():
    text = printed(make_summary(detectors=("bailu", "mai_cnn", "moondream")))
    assert any(line.startswith("moondream") and line.rstrip().endswith("123") for line in text.splitlines())


def test_terminal_digits_stay_in_line_beside_a_mark():
    lines = printed(make_summary()).split("Accuracy per generator")[1].splitlines()
    marked, plain = (next(line for line in lines if line.startswith(name)) for name in ("bailu", "mai_cnn"))
    assert marked.index("0.900*") == plain.index("0.800")


def test_terminal_prints_markup_and_control_characters_as_text():
    text = printed(make_summary(detectors=["[red]x[/red]", "a\x1b[31m\nb"]))
    assert "[red]x[/red]" in text and "\x1b" not in text and "a [31m b" in text


def test_latex_escapes_every_special_character():
    text = tables.latex(make_summary(detectors=HOSTILE, generators=HOSTILE), {})
    body = re.sub(r"\\(textbackslash|textasciitilde|textasciicircum)\{\}|\\[{}_%&#$]", "", text)
    depth = 0
    for character in body:
        depth += {"{": 1, "}": -1}.get(character, 0)
        assert depth >= 0
    assert depth == 0
    assert not set("#$^~_<>|") & set(body)
    assert not re.search("%", body.split("\n", 1)[1]), "a comment would swallow the rest of its line"
    assert escape_latex("50% of $x_1 & 中") == r"50\% of \$x\_1 \& U+4E2D"


def test_latex_rows_have_as_many_cells_as_columns_and_none_starts_an_argument():
    text = tables.latex(make_summary(detectors=HOSTILE, perturbations=("none", "jpeg:75")), {})
    for tabular in re.findall(r"\\begin\{tabular\}(.*?)\\end\{tabular\}", text, flags=re.DOTALL):
        columns = len(re.match(r"\{([lr]+)\}", tabular).group(1))
        rows = [line for line in tabular.splitlines() if line.endswith(r"\\")]
        assert {len(re.findall(r"(?<!\\)&", row)) for row in rows} == {columns - 1}
        assert not any(row.startswith(("[", "*")) for row in rows)


def test_latex_has_floats_with_captions_labels_and_bold_best():
    run = {"data": {"source": "my_data", "split": "test"}}
    text = tables.latex(make_summary(), run)
    assert re.findall(r"\\label\{(.*?)\}", text) == ["tab:maibench", "tab:maibench-accuracy", "tab:maibench-auc"]
    caption = r"2 detectors on my\_data, test split: 100 images scored (50 real, 50 synthetic)."
    assert rf"\caption{{{caption}}}" in text
    assert re.findall(r"\\textbf\{(.*?)\}", text) == ["0.900 [0.85, 0.95]", "0.940 [0.89, 0.99]"]
    assert text.count(r"\toprule") == text.count(r"\midrule") == text.count(r"\bottomrule") == 3


def test_no_rows_make_empty_tables():
    summary = make_summary(detectors=(), notes=["every table is empty: no predictions"])
    assert "no predictions" in printed(summary)
    assert parsed(tables.markdown(summary, {}))[0][0][0] == "detector"
    assert r"\end{tabular}" in tables.latex(summary, {})


def test_tables_figures_and_page_import_neither_torch_nor_what_they_draw_with():
    code = (
        "import sys, maibench.evaluation.tables, maibench.evaluation.figures, maibench.evaluation.page; "
        "print(sorted({'torch', 'transformers', 'matplotlib', 'rich', 'jinja2'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
