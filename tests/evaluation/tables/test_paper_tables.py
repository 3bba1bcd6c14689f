"""The tables beside the main one: what each says, and that all of them compile."""

import dataclasses
import re

import pytest

from maibench.config import TableConfig
from maibench.evaluation.statistics.frames import Summary, frame
from maibench.evaluation.statistics.ranks import ranks_over_generators
from maibench.evaluation.tables import report_tables as tables
from maibench.evaluation.tables.paper_tables import paper_tables
from maibench.evaluation.tables.shown import arranged

A, B = {"detector": "a"}, {"detector": "b"}
CLEAN = {"perturbation": "none"}
BOUNDS = {"accuracy_lo": 0.8, "accuracy_hi": 0.92, "auc_lo": 0.85, "auc_hi": 0.95}

FRAMES = {
    "aggregates": [
        A | CLEAN | BOUNDS | {"group": "seen", "n_generators": 2, "n_real": 50, "n_synthetic": 1500, "accuracy": 0.86}
        | {"balanced_accuracy": 0.8, "tpr": 0.7, "tnr": 0.9, "auc": 0.9, "ap": 0.91},
    ],
    "spread": [
        A | CLEAN | {"over": "generators", "metric": "auc", "n": 3, "mean": 0.8, "sd": 0.1, "worst": 0.7, "best": 0.9}
        | {"worst_name": "sd_15|x"},
        A | CLEAN | {"over": "runs", "metric": "auc", "n": 3, "mean": 0.1},
        A | {"perturbation": "jpeg:75", "over": "generators", "metric": "auc", "n": 3, "mean": 0.1},
    ],
    "comparisons": [
        {"detector_a": "a", "detector_b": "b", "n": 97, "delta_accuracy": 0.1, "p_accuracy_holm": 0.0004} | CLEAN
        | {"delta_accuracy_lo": 0.04, "delta_accuracy_hi": 0.16, "delta_auc": -0.0204, "p_auc_holm": 0.4567}
        | {"delta_auc_lo": -0.1, "delta_auc_hi": 0.06, "p_mcnemar": 0.03, "p_accuracy": 0.0002, "p_auc": 0.2},
    ],
    "thresholds": [
        A | CLEAN | {"rule": "FPR 1 %", "threshold": 0.8765, "n_validation": 60, "accuracy": 0.7}
        | {"balanced_accuracy": 0.71, "tpr": 0.45, "tnr": 0.97},
    ],
    "calibration": [
        A | CLEAN | {"method": m, "slope": 1, "intercept": 0, "ece": e, "brier": 0.1, "reliability": 0.01}
        | {"resolution": 0.16, "uncertainty": 0.25, "nll": 0.3} for m, e in (("raw", 0.12), ("platt", 0.03))
    ],
    "robustness_scores": [
        A | {"suite": "social", "n_perturbations": 4, "accuracy_relative": 0.9, "auc_relative": 0.95}
        | {"accuracy_relative_lo": 0.85, "accuracy_relative_hi": 0.96, "auc_relative_lo": 0.9, "auc_relative_hi": 0.99}
        | {"worst_perturbation": "longest:1080+jpeg:75", "worst_auc": 0.61},
    ],
    "transfer": [
        {"perturbation": "attack:pgd:2", "made_on": m, "detector": d, "n": 100, "accuracy": x, "auc": x + 0.01}
        for m, d, x in (("none", "a", 0.9), ("none", "b", 0.8), ("a", "a", 0.05), ("a", "b", 0.7), ("b", "b", 0.1))
    ],
    "coverage": [
        key | CLEAN | {"coverage": i / 200, "n": i, "accuracy": 1 - k * i / 1000, "score_margin": 0.1}
        for k, key in ((1, A), (2, B)) for i in range(1, 201)
    ],
    "ranks": [
        key | {"blocks": "generators", "metric": "auc", "n_blocks": 3, "mean_rank": rank, "critical_difference": 1.13}
        | {"friedman": 4.5, "p_friedman": 0.0004} for key, rank in ((A, 1.667), (B, 1.333))
    ],
    "rank_stability": [
        {"metric": "auc", "data_a": x, "data_b": y, "n": 3, "spearman": r}
        for x, y, r in (("g", "h", 0.5), ("g", "i", -0.25), ("h", "i", None))
    ],
}  # fmt: skip
RUN = {"detectors": [{"label": "b", "card": {"reported": {"auc": 0.9, "on": "theirs"}}}]}


def make_summary():
    rates = {"accuracy": 0.86, "balanced_accuracy": 0.86, "tpr": 0.9, "tnr": 0.82, "auc": 0.9, "ap": 0.9, "eer": 0.1}
    metrics = [
        key
        | {"perturbation": name, "n": 100, "n_real": 50, "n_synthetic": 50, "n_failed": 0, "interval": "Wilson"}
        | rates
        | BOUNDS
        for key in (A, B)
        for name in ("none", "jpeg:75")
    ]
    generators = [
        {"generator": g, "n_real": 50, "n_synthetic": 20, "seen": True, "accuracy": 0.8, "auc": 0.9} for g in "ghi"
    ]
    per_generator = [key | CLEAN | row for key in (A, B) for row in generators]
    return Summary(
        frame("metrics", metrics).astype({"parameters": "Int64"}),
        frame("per_generator", per_generator).astype({"seen": "boolean"}),
        frame("roc", []),
        **{name: frame(name, rows) for name, rows in FRAMES.items()},
    )


def written(key, run=RUN, **style):
    """(header, rows, notes) of a table, as text."""
    item = next(t for t in paper_tables(make_summary(), run, TableConfig(**style)) if t.key == key)
    return item.table.headers, [[cell.text for cell in row] for row in item.table.rows], list(item.notes)


def test_every_frame_has_its_table_and_none_is_empty():
    keys = [item.key for item in paper_tables(make_summary(), RUN)]
    assert keys == [
        "accuracy", "auc", "seen", "spread", "comparisons", "thresholds", "calibration", "robustness",
        "transfer-accuracy", "transfer-auc", "coverage", "ranks", "reported",
    ]  # fmt: skip
    bare = Summary(make_summary().metrics, frame("per_generator", []), frame("roc", []))
    assert paper_tables(bare, {}) == []


def test_seen_and_unseen():
    header, rows, _ = written("seen")
    assert dict(zip(header, rows[0], strict=True)) == {
        "detector": "a", "generators": "seen", "how many": "2", "synthetic images": "1500",
        "accuracy": "0.860 [0.80, 0.92]", "bal. acc.": "0.800", "TPR": "0.700", "TNR": "0.900",
        "AUC": "0.900 [0.85, 0.95]", "AP": "0.910",
    }  # fmt: skip
    assert written("seen", intervals=False)[1][0][4] == "0.860"


def test_spread_is_over_generators_of_the_shown_perturbation():
    header, rows, _ = written("spread")
    assert header[2:] == ["generators", "mean", "sd", "best", "worst", "which"]
    assert rows == [["a", "AUC", "3", "0.800", "0.100", "0.900", "0.700", "sd_15|x"]]


def test_comparisons_have_signs_intervals_and_adjusted_p_values():
    header, rows, _ = written("comparisons")
    assert dict(zip(header[:5], rows[0], strict=False)) == {
        "a": "a", "b": "b", "images": "97", "accuracy: a - b": "+0.100 [+0.04, +0.16]", "p (Holm)": "<0.001",
    }  # fmt: skip
    assert rows[0][5:] == ["-0.020 [-0.10, +0.06]", "0.457", "0.030"]
    assert header[5:] == ["AUC: a - b", "p (Holm)", "p (McNemar)"], "no DeLong where there is none"


def test_thresholds_and_calibration():
    assert written("thresholds", precision=2)[1] == [["a", "FPR 1 %", "0.88", "0.70", "0.71", "0.45", "0.97"]]
    header, rows, notes = written("calibration")
    assert [row[:3] for row in rows] == [["a", "as scored", "0.120"], ["a", "Platt", "0.030"]]
    assert header[2:] == ["ECE", "Brier", "reliability", "resolution", "NLL"]
    assert notes[0] == "Platt scaling: fitted on the undisturbed validation split alone"
    assert written("thresholds")[2] == ["rules other than P = 0.5: fitted on the undisturbed validation split alone"]


def test_nothing_is_called_fitted_without_a_validation_split():
    summary = make_summary()
    half, raw = summary.thresholds.assign(rule="P = 0.5"), summary.calibration.query("method == 'raw'")
    summary = dataclasses.replace(summary, thresholds=half, calibration=raw)
    tables_of = {item.key: item for item in paper_tables(summary, RUN)}
    assert (tables_of["thresholds"].title, list(tables_of["thresholds"].notes)) == ("Operating points", [])
    assert list(tables_of["calibration"].notes) == ["of ECE (15 equal bins), Brier and NLL, less is better"]
    assert not re.search("fitted|validation", tables.markdown(summary, RUN))


def test_robustness_is_a_row_a_detector_and_suite():
    header, rows, _ = written("robustness")
    assert header[1:4] == ["disturbed in", "accuracy / clean", "AUC / clean"]
    assert rows == [["a", "4", "0.900 [0.85, 0.96]", "0.950 [0.90, 0.99]", "0.610", "longest:1080+jpeg:75"]]


def test_transfer_has_a_row_an_origin_and_a_column_a_scorer():
    header, rows, _ = written("transfer-accuracy")
    assert header == ["attack", "made on", "a", "b"]
    assert [row[1:] for row in rows] == [
        ["none (undisturbed)", "0.900", "0.800"],
        ["a", "0.050", "0.700"],
        ["b", "–", "0.100"],
    ]
    assert written("transfer-auc")[1][1][2:] == ["0.060", "0.710"]


def test_accuracy_at_coverage():
    header, rows, _ = written("coverage")
    assert header == ["detector", "100 % answered", "90 % answered", "80 % answered", "50 % answered"]
    assert rows == [["a", "0.800", "0.820", "0.840", "0.900"], ["b", "0.600", "0.640", "0.680", "0.800"]]


def test_ranks_are_best_first_with_their_tests():
    header, rows, notes = written("ranks")
    assert (header, rows) == (["detector", "mean rank, AUC"], [["b", "1.33"], ["a", "1.67"]])
    assert notes == [
        "AUC, 3 generators: Friedman's chi-squared 4.50, p < 0.001; mean ranks 1.13 apart differ at 5 % (Nemenyi); "
        "Spearman's rho between two of them: 0.12 on average, -0.25 at least (g, i)",
        "generators share their real images and are no independent blocks: p and the critical difference are "
        "approximate",
    ]


def ranked(style):
    """Title and rows of the table of ranks, of three detectors whose order differs between perturbations."""
    names, generators = "abc", "ghij"
    aucs = {"none": (0.9, 0.8, 0.7), "jpeg:75": (0.5, 0.6, 0.7)}
    rows = [
        {"detector": d, "perturbation": p, "generator": g, "n_real": 9, "n_synthetic": 9, "auc": auc}
        for p, values in aucs.items() for d, auc in zip(names, values, strict=True) for g in generators
    ]  # fmt: skip
    per_generator = frame("per_generator", rows).astype({"seen": "boolean"})
    metrics = [{"detector": d, "perturbation": p, "n": 18, "accuracy": 0.5} for d in names for p in aucs]
    ranks, stability = ranks_over_generators(per_generator, "none")
    summary = Summary(frame("metrics", metrics), per_generator, frame("roc", []), ranks=ranks, rank_stability=stability)
    found = [item for item in paper_tables(arranged(summary, style), {}, style) if item.key == "ranks"]
    return [(item.title, [[cell.text for cell in row] for row in item.table.rows]) for item in found]


def test_ranks_are_shown_only_with_the_perturbation_that_they_are_of():
    whole = [("Ranks over generators", [["a", "1.00"], ["b", "2.00"], ["c", "3.00"]])]
    assert ranked(TableConfig()) == ranked(TableConfig(perturbations=["none"])) == whole
    assert ranked(TableConfig(perturbations=["jpeg:75", "none"], order="auc")) == whole
    assert ranked(TableConfig(perturbations=["jpeg:75"])) == []


def test_ranks_are_among_the_detectors_shown():
    assert ranked(TableConfig(detectors=["c", "b"])) == [("Ranks over generators", [["b", "1.00"], ["c", "2.00"]])]
    assert ranked(TableConfig(detectors=["c"])) == []


def test_rows_that_are_not_asked_for_are_in_no_table():
    style = TableConfig(detectors=["a"], order="auc")
    text = tables.markdown(make_summary(), RUN, style) + tables.latex(make_summary(), RUN, style)
    assert not re.findall(r"^\|? ?b +[|&]", text, flags=re.MULTILINE)
    assert "Paired comparisons" not in text and "Reported by" not in text
    assert r"\label{tab:maibench-coverage}" in text


@pytest.mark.parametrize("style", [TableConfig(), TableConfig(precision=2, intervals=False, order="auc")])
def test_the_whole_report_compiles_in_a_two_column_paper(compile_paper, style):
    text = tables.latex(make_summary(), RUN, style)
    log = compile_paper(text)
    assert not re.findall(r"Overfull|too large|Warning: (?!Label)", log)
    labels = re.findall(r"\\label\{tab:maibench-?(.*?)\}", text)
    assert labels == ["", *(item.key for item in paper_tables(make_summary(), RUN, style))]


def test_markdown_has_every_table_under_its_title():
    text = tables.markdown(make_summary(), RUN)
    for item in paper_tables(make_summary(), RUN):
        assert f"**{item.title}**\n\n| " in text
    assert "sd_15\\|x" in text and "&lt;0.001" in text
