"""Tables: what a reader finds in the terminal, in table.md and in table.tex."""

import io
import re
import subprocess
import sys

import numpy as np
import pytest
from rich.console import Console

from maibench.config import TABLE_COLUMNS, TableConfig
from maibench.errors import MaibenchError
from maibench.evaluation.statistics.frames import Summary, frame
from maibench.evaluation.tables import main_table
from maibench.evaluation.tables import report_tables as tables
from maibench.evaluation.tables.shown import difference, p_value

SCRIPT = "<script>alert(1)</script>"
HOSTILE = [SCRIPT, "a|b", "x_y%", "two\nlines", "[red]bold[/red]", "\\{}~^#$&", "[1] first", "*star", "`_it_`"]


def make_summary(
    detectors=("bailu", "mai_cnn"), generators=("sd15", "sdxl"), perturbations=("none",), notes=(), frames=None, **over
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
        frame("metrics", metrics).astype({"parameters": "Int64"}),
        frame("per_generator", per_generator).astype({"seen": "boolean"}),
        frame("roc", []),
        list(notes),
        **{name: frame(name, rows) for name, rows in (frames or {}).items()},
    )


def printed(summary, run=None, width=100, style=None):
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(tables.terminal(summary, run or {}, style))
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


def columns(summary, **style):
    """The main table's columns by their headers."""
    header, *rows = parsed(tables.markdown(summary, {}, TableConfig(**style)))[0]
    return {name: [row[i] for row in rows] for i, name in enumerate(header)}


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
    assert tables.markdown(make_summary(), {}).count("trained on this generator") == 1


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


# --- what is best


def test_the_best_is_bold_among_rivals_of_one_perturbation():
    text = tables.markdown(make_summary(perturbations=("none", "jpeg:75")), {})
    assert re.findall(r"\*\*(0\.\d+) \[", text) == ["0.900", "0.940", "0.850", "0.890"]
    assert "**0." not in tables.markdown(make_summary(detectors=["alone"]), {})


def test_who_cannot_be_told_from_the_best_is_bold_too():
    pair = {"perturbation": "none", "n": 100, "p_holm": 0.01}
    rows = [
        pair | {"detector_a": "a", "detector_b": "b", "p_accuracy_holm": 0.2, "p_auc_holm": 0.01},
        pair | {"detector_a": "a", "detector_b": "c", "p_accuracy_holm": 0.04, "p_auc_holm": 0.06},
        pair | {"detector_a": "b", "detector_b": "c", "p_accuracy_holm": 0.9, "p_auc_holm": 0.9},
    ]
    text = tables.markdown(make_summary(("a", "b", "c"), frames={"comparisons": rows}), {}).split("Accuracy per")[0]
    bold = ["0.900", "0.940", "0.800", "0.740"]
    assert re.findall(r"\*\*(0\.\d+) \[", text) == bold, "both of a, accuracy of b, AUC of c"


def test_what_looks_equal_is_equally_best():
    text = tables.markdown(make_summary(accuracy=[0.90001, 0.90004]), {})
    assert text.count("**0.900 [") == 2
    assert tables.markdown(make_summary(accuracy=[0.912, 0.908]), {}, TableConfig(precision=2)).count("**0.91 [") == 2


# --- which rows and columns


def test_perturbation_is_a_column_only_when_there_are_several():
    assert "perturbation" not in parsed(tables.markdown(make_summary(), {}))[0][0]
    main, accuracy, _ = parsed(tables.markdown(make_summary(perturbations=("jpeg:75", "none")), {}))
    assert [row[:2] for row in main[1:3]] == [["bailu", "jpeg:75"], ["bailu", "none"]]
    assert accuracy[1][1] == "0.850*", "per generator: the undisturbed images"


@pytest.mark.parametrize("render", [printed, lambda s: tables.markdown(s, {}), lambda s: tables.latex(s, {})])
def test_failed_images_and_fitted_thresholds_show_only_where_they_exist(render):
    assert "failed" not in render(make_summary()) and "fitted" not in render(make_summary())
    text = render(make_summary(n_failed=[0, 3], accuracy_fitted=[0.91, 0.81], threshold_fitted=[0.62, 0.4]))
    assert "failed" in text and re.search(r"0\.910 (& )?\(0\.62\)", text) and "validation split alone" in text


def test_unsure_answers_have_a_column_where_there_are_any():
    def rows(n):
        return [{"detector": "mai_cnn", "perturbation": "none", "n_unsure": n, "n": 100}]

    assert "unsure" not in columns(make_summary(frames={"unsure": rows(0)}))
    assert columns(make_summary(frames={"unsure": rows(7)}))["unsure"] == ["0", "7"]


def test_seen_and_unseen_have_columns_where_both_exist():
    key = {"detector": "bailu", "perturbation": "none", "n_generators": 2, "n_real": 50, "n_synthetic": 50}
    seen, unseen = key | {"group": "seen", "auc": 0.95}, key | {"group": "unseen", "auc": 0.7}
    found = columns(make_summary(frames={"aggregates": [seen, unseen]}))
    assert (found["AUC seen"], found["AUC unseen"]) == (["0.950", "–"], ["0.700", "–"])
    assert "AUC seen" not in columns(make_summary(frames={"aggregates": [seen]}))
    assert "trained on, by its card, and all others" in tables.markdown(
        make_summary(frames={"aggregates": [seen, unseen]}), {}
    )


def test_columns_are_those_asked_for_names_first():
    summary = make_summary(perturbations=("none", "jpeg:75"), images_per_second=[50, 0.5], ece=[0.02, np.nan])
    found = columns(summary, columns=["ms", "ece", "detector", "accuracy"])
    assert list(found) == ["detector", "perturbation", "ms/img", "ECE", "accuracy"]
    assert found["ms/img"] == ["20", "20", "2000", "2000"] and found["ECE"] == ["0.020", "0.020", "–", "–"]
    assert "balanced" not in tables.markdown(summary, {}, TableConfig(columns=["ap"])).split("per generator")[0]


def test_every_column_of_the_configuration_exists_in_its_order():
    assert tuple(main_table.COLUMNS) == TABLE_COLUMNS
    assert len(columns(make_summary(), columns=list(TABLE_COLUMNS))) == len(TABLE_COLUMNS)


def test_rows_are_those_asked_for_in_every_table():
    summary = make_summary(("a", "b", "c"), perturbations=("none", "jpeg:75"))
    style = TableConfig(detectors=["c", "a"], perturbations=["jpeg:75"])
    main, accuracy, _ = parsed(tables.markdown(summary, {}, style))
    assert [row[0] for row in main[1:]] == ["c", "a"] and main[2][1] == "0.850 [0.80, 0.90]"
    assert [row[0] for row in accuracy[1:]] == ["c", "a"] and accuracy[2][1] == "0.850*"
    by_auc = parsed(tables.markdown(summary, {}, TableConfig(detectors=["c", "a", "c"], order="auc")))[0]
    assert [row[0] for row in by_auc[1:]] == [*"aacc"]
    assert [*summary.metrics["detector"]] == [*"aabbcc"], "the summary itself is as it was"


@pytest.mark.parametrize(
    ("style", "reason"),
    [
        ({"detectors": ["balu"]}, "table.detectors: no detector is called 'balu' here; did you mean 'bailu'?"),
        ({"perturbations": ["x"]}, "table.perturbations: no perturbation is called 'x' here; there are: none"),
    ],
)
def test_rows_that_are_not_there(style, reason):
    with pytest.raises(MaibenchError) as error:
        tables.markdown(make_summary(), {}, TableConfig(**style))
    assert str(error.value) == reason


@pytest.mark.parametrize(
    ("order", "expected"),
    [("request", "abc"), ("auc", "bca"), ("brier", "cba"), ("failed", "cab"), ("fitted", "bac"), ("unsure", "acb")],
)
def test_order_is_best_first_and_what_is_missing_last(order, expected):
    unsure = [{"detector": d, "perturbation": "none", "n_unsure": n, "n": 9} for d, n in (("b", 3), ("c", 2))]
    summary = make_summary(
        ("a", "b", "c"), auc=[np.nan, 0.9, 0.8], brier=[np.nan, 0.2, 0.1], n_failed=[2, 3, 0],
        accuracy_fitted=[0.7, 0.8, np.nan], threshold_fitted=[0.5, 0.5, np.nan], frames={"unsure": unsure},
    )  # fmt: skip
    main, accuracy, _ = parsed(tables.markdown(summary, {}, TableConfig(order=order)))
    assert "".join(row[0] for row in main[1:]) == expected
    assert "".join(row[0] for row in accuracy[1:]) == expected


def test_order_goes_by_the_shown_perturbation_and_keeps_rows_together():
    summary = make_summary(("a", "b"), perturbations=("jpeg:75", "none"), eer=[0.2, 0.1])
    main = parsed(tables.markdown(summary, {}, TableConfig(order="eer")))[0]
    assert [row[:2] for row in main[1:]] == [["b", "jpeg:75"], ["b", "none"], ["a", "jpeg:75"], ["a", "none"]]


@pytest.mark.parametrize(
    ("style", "text"),
    [
        ({"precision": 4}, "0.9000 [0.850, 0.950]"),
        ({"precision": 2}, "0.90 [0.85, 0.95]"),
        ({"precision": 1}, "0.9 [0.9, 1.0]"),
        ({"intervals": False}, "0.900"),
    ],
)
def test_precision_and_intervals(style, text):
    found = columns(make_summary(accuracy_lo=[0.8501, 0.7], accuracy_hi=[0.9501, 0.9]), **style)
    assert found["accuracy"][0] == text
    assert ("95 %" in tables.markdown(make_summary(), {}, TableConfig(**style))) == style.get("intervals", True)


BOOTSTRAP, EACH = "bootstrap of 50 sources, 20 resamples", "accuracy: Wilson, 120 images; AUC: DeLong, 120 images"


@pytest.mark.parametrize(
    ("methods", "line"),
    [
        ([BOOTSTRAP, BOOTSTRAP], f"95 % intervals: {BOOTSTRAP}"),
        ([BOOTSTRAP, "Wilson, 120 images"], f"95 % intervals: {BOOTSTRAP}; Wilson, 120 images"),
        ([EACH, EACH], f"95 % intervals ({EACH})"),
        ([BOOTSTRAP, EACH], f"95 % intervals ({BOOTSTRAP}) or ({EACH})"),
        (
            [f"accuracy: {BOOTSTRAP}; AUC: none: fewer than 10 sources of real images"] * 2,
            f"95 % intervals (accuracy: {BOOTSTRAP}; AUC: none, fewer than 10 sources of real images)",
        ),
    ],
)
def test_the_methods_of_intervals_are_told_apart(methods, line):
    assert f"in square brackets, {line}" in tables.remarks(make_summary(interval=methods), {})


def test_the_headline_counts_the_images_of_one_detector():
    counts = {"n": [100, 90], "n_real": [60, 40], "n_synthetic": [40, 50]}
    assert tables.headline(make_summary(**counts), {}) == (
        "2 detectors: 100 images scored (60 real, 40 synthetic), by some detectors only 90"
    )


def test_a_run_says_how_its_tables_look():
    run = {"config": {"table": {"columns": ["auc"], "precision": 2}}}
    assert parsed(tables.markdown(make_summary(), run))[0][0] == ["detector", "AUC"]
    assert "0.94 [0.89, 0.99]" in printed(make_summary(), run)
    assert parsed(tables.markdown(make_summary(), run, TableConfig()))[0][0] != ["detector", "AUC"]
    with pytest.raises(MaibenchError, match=r"run\.json: config\.table\.precision: "):
        tables.markdown(make_summary(), {"config": {"table": {"precision": "much"}}})


# --- numbers


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


def test_differences_and_p_values():
    assert [difference(x) for x in (0.0124, -0.0124, 0.0001, -0.0004)] == ["+0.012", "-0.012", "0.000", "0.000"]
    assert difference(np.nan) == "–"
    assert [p_value(x) for x in (0.0126, 0.0009, 0.001, 1.0, None)] == ["0.013", "<0.001", "0.001", "1.000", "–"]


# --- the lines, and every format


def test_reported_numbers_stand_beside_measured_ones():
    run = {"detectors": [{"label": "bailu", "card": {"reported": {"accuracy": 0.9588, "on": "their own set"}}}]}
    line = "bailu: reported accuracy 0.9588 on their own set; measured 0.900 here: not comparable, another test set"
    assert line in " ".join(printed(make_summary(), run, width=200).split())
    assert parsed(tables.markdown(make_summary(), run))[-1][1] == [
        "bailu", "accuracy", "0.9588", "0.900", "-0.059", "their own set", "not comparable, another test set",
    ]  # fmt: skip
    assert r"\label{tab:maibench-reported}" in tables.latex(make_summary(), run)


def test_run_json_with_empty_parts_is_no_obstacle():
    run = {"detectors": [{"label": "bailu", "card": None}, {"label": "gone", "card": {"reported": None}}], "data": None}
    assert "bailu" in tables.markdown(make_summary(), run | {"config": None})


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
        assert len(re.findall(rf"\b{name}\b", text)) == 1
    cells = re.findall(r"0\.\d{3}", text.split("AUC per generator")[1])
    assert len(cells) == 2 * 15


def test_terminal_fits_the_default_comparison_into_100_columns_in_one_block():
    text = printed(make_summary(detectors=("bailu", "mai_cnn", "moondream")))
    assert any(line.startswith("moondream") and line.rstrip().endswith("123") for line in text.splitlines())


def test_terminal_digits_stay_in_line_beside_a_mark():
    lines = printed(make_summary()).split("AUC per generator")[1].splitlines()
    marked, plain = (next(line for line in lines if line.startswith(name)) for name in ("bailu", "mai_cnn"))
    assert marked.index("0.940*") == plain.index("0.840")


def test_terminal_prints_markup_and_control_characters_as_text():
    text = printed(make_summary(detectors=["[red]x[/red]", "a\x1b[31m\nb"]))
    assert "[red]x[/red]" in text and "\x1b" not in text and "a [31m b" in text


def test_latex_has_floats_with_captions_labels_and_bold_best():
    run = {"data": {"source": "my_data", "split": "test"}}
    text = tables.latex(make_summary(), run)
    assert re.findall(r"\\label\{(.*?)\}", text) == ["tab:maibench", "tab:maibench-accuracy", "tab:maibench-auc"]
    caption = r"2 detectors on my\_data, test split: 100 images scored (50 real, 50 synthetic)."
    assert rf"\caption{{{caption}}}" in text
    assert re.findall(r"\\bfseries (\S+) & (\[.*?\])", text) == [("0.900", "[0.85, 0.95]"), ("0.940", "[0.89, 0.99]")]
    assert text.count(r"\toprule") == text.count(r"\midrule") == text.count(r"\bottomrule") == 3
    assert text.splitlines()[0].startswith(r"% Needs \usepackage{booktabs} and \usepackage{siunitx}")


def test_no_rows_make_empty_tables():
    summary = make_summary(detectors=(), notes=["every table is empty: no predictions"])
    assert "no predictions" in printed(summary)
    assert parsed(tables.markdown(summary, {}))[0][0][0] == "detector"
    assert r"\end{tabular}" in tables.latex(summary, {})


def test_a_report_of_hostile_names_compiles_in_a_two_column_paper(compile_paper):
    names = [*HOSTILE, "a-very-long-name:of_a/detector+that@nobody.would=give", "中文 é"]
    run = {"data": {"name": HOSTILE[5], "split": "x" * 70}}
    summary = make_summary(names, names, ("none", HOSTILE[5], "resize:0.5+jpeg:75"), notes=HOSTILE, n_failed=range(11))
    log = compile_paper(tables.latex(summary, run))
    assert not re.findall(r"Overfull|too large|Warning: (?!Label)", log)


def test_tables_figures_and_page_import_neither_torch_nor_what_they_draw_with():
    code = (
        "import sys, maibench.evaluation.figures; "
        "from maibench.evaluation.page import page; from maibench.evaluation.tables import report_tables; "
        "print(sorted({'torch', 'transformers', 'matplotlib', 'rich', 'jinja2'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
