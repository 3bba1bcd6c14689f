"""Several runs as one report, against numbers worked by hand."""

import io
import json
import math
import os
import re

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from maibench.errors import MaibenchError
from maibench.evaluation.merge import COLUMNS, METRICS, merge_reports
from maibench.evaluation.report import write_report
from maibench.evaluation.statistics.frames import frame
from maibench.evaluation.tables import merged_tables

FILES = {
    "merged.csv", "spread.csv", "ranks.csv", "rank_stability.csv", "table.md", "table.tex", "merged.json",
}  # fmt: skip
HOSTILE = "<b>|x_y%&\\{}[1]"


@pytest.fixture
def run(tmp_path):
    def make(name, values, data=None, codes=None, perturbations=("none",), n=100, **more):
        """A folder with metrics.csv; values: detector -> AUC (accuracy is 0.1 less, balanced accuracy 0.2 less).

        data: (name, fingerprint) for run.json, None: there is none. codes: fingerprints of detectors.
        """
        folder = tmp_path / name
        folder.mkdir(parents=True)
        rows = []
        for detector, auc in values.items():
            for k, perturbation in enumerate(perturbations):
                a = auc - 0.05 * k
                rates = {"auc": a, "accuracy": a - 0.1, "balanced_accuracy": a - 0.2, "tpr": a - 0.3}
                bounds = {"auc_lo": a - 0.01, "auc_hi": a + 0.01, "accuracy_lo": a - 0.12, "accuracy_hi": a - 0.08}
                rows.append(
                    {"detector": detector, "perturbation": perturbation, "n": 0 if math.isnan(a) else n}
                    | rates
                    | bounds
                )
        frame("metrics", rows).to_csv(folder / "metrics.csv", index=False)
        if data:
            entries = [{"label": d, "fingerprint": (codes or {}).get(d, f"{d} of {name}")} for d in values]
            about = {"name": data[0], "fingerprint": data[1], "split": "test"}
            (folder / "run.json").write_text(json.dumps({"data": about, "detectors": entries} | more))
        return folder

    return make


@pytest.fixture
def predicted(tmp_path):
    def make(name, right, n=40, prefix=""):
        """A folder of predictions alone: detector -> how many of n images it gets right. prefix: of their paths."""
        for detector, count in right.items():
            labels = np.tile([0, 1], n // 2)
            logits = np.where(np.arange(n) < count, 1.0, -1.0) * (2 * labels - 1)
            table = pd.DataFrame({"path": [f"{prefix}{i}.png" for i in range(n)], "label": labels, "logit": logits})
            table["generator"] = np.where(labels, "sd15", "real")
            folder = tmp_path / name / "predictions" / detector
            folder.mkdir(parents=True)
            table.to_parquet(folder / "part.parquet")
        return tmp_path / name

    return make


def row(frame, **where):
    for column, value in where.items():
        frame = frame[frame[column] == value]
    assert len(frame) == 1
    return frame.iloc[0]


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def main_table(out):
    """The first table of table.md: {(names): {column: text}}."""
    lines = (out / "table.md").read_text().split("\n\n")[1].splitlines()
    split = [[cell.strip().strip("*") for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    return {line[0]: dict(zip(split[0][1:], line[1:], strict=True)) for line in split[2:]}


def test_repeats_are_mean_sd_and_n(run, tmp_path):
    folders = [run(f"seed{i}", {"cnn": auc, "vlm": 0.7}, ("demo", "f0")) for i, auc in enumerate((0.9, 0.93, 0.96))]
    merged = merge_reports(folders, tmp_path / "out")
    assert {path.name for path in merged.folder.iterdir()} == FILES
    table = pd.read_csv(merged.folder / "merged.csv")
    assert tuple(table) == COLUMNS
    cnn = row(table, detector="cnn")
    assert (cnn["data"], cnn["perturbation"], cnn["n_runs"], cnn["n"]) == ("demo", "none", 3, 100)
    assert [cnn[m] for m in METRICS] == pytest.approx([0.83, 0.73, 0.93])
    assert [cnn[f"{m}_sd"] for m in METRICS] == pytest.approx([0.03] * 3), "sqrt((0.03^2 + 0 + 0.03^2) / 2)"
    assert cnn[[f"auc_{end}" for end in ("lo", "hi")]].isna().all()
    spread = row(pd.read_csv(merged.folder / "spread.csv"), detector="cnn", metric="auc")
    assert (spread["over"], spread["n"], spread["worst_name"]) == ("runs", 3, str(folders[0]))
    assert [spread[k] for k in ("mean", "sd", "worst", "best")] == pytest.approx([0.93, 0.03, 0.9, 0.96])
    assert main_table(merged.folder)["cnn"] == {
        "runs": "3", "Accuracy": "0.830 ± 0.030", "Balanced accuracy": "0.730 ± 0.030", "AUC": "0.930 ± 0.030",
    }  # fmt: skip
    assert pd.read_csv(merged.folder / "ranks.csv").empty


def test_a_single_run_keeps_its_interval(run, tmp_path):
    folder, other = run("one", {"cnn": 0.9}, ("demo", "f0")), run("two", {"vlm": 0.8}, ("demo", "f0"))
    interval = {"detector": "cnn", "perturbation": "none", "generator": "all", "value": 0.7, "lo": 0.66, "hi": 0.74}
    of_one = {"generator": "sd15", "metric": "balanced_accuracy", "lo": 0.1}
    frame("intervals", [interval | {"metric": "balanced_accuracy"}, interval | of_one]).to_csv(folder / "intervals.csv")
    cnn = merge_reports([folder, other], tmp_path / "out").frame.iloc[0]
    assert (cnn["n_runs"], cnn["auc_lo"], cnn["auc_hi"]) == (1, pytest.approx(0.89), pytest.approx(0.91))
    assert (cnn["balanced_accuracy_lo"], cnn["balanced_accuracy_hi"]) == (0.66, 0.74)
    assert math.isnan(cnn["auc_sd"])
    assert main_table(tmp_path / "out")["cnn"]["AUC"] == "0.900 [0.89, 0.91]"


def test_data_sets_stand_side_by_side(run, tmp_path):
    one = run("one", {"a": 0.9, "b": 0.8, "c": 0.6}, ("demo", "f0"))
    two = run("two", {"a": 0.7, "b": 0.75, "c": 0.5}, ("wild", "f1"))
    again = run("again", {"a": 0.8}, ("wild", "f1"))
    merged = merge_reports([one, two, again], tmp_path / "out")
    assert merged.data == ["demo", "wild"]
    assert row(merged.frame, detector="a", data="wild")[["n_runs", "auc"]].tolist() == [2, pytest.approx(0.75)]
    spread = row(merged.spread, detector="a", metric="auc")
    assert (spread["over"], spread["n"], spread["worst_name"]) == ("data sets", 2, "wild")
    assert [spread[k] for k in ("mean", "sd", "worst", "best")] == pytest.approx(
        [0.825, 0.15 / math.sqrt(2), 0.75, 0.9]
    ), "a data set counts once, however many runs it has"
    text = (merged.folder / "table.md").read_text()
    assert "**AUC: 3 detectors on 2 data sets, 3 runs**" in text
    table = text.split("**AUC: ")[1].splitlines()
    cells = [cell.strip() for cell in next(line for line in table if line.startswith("| a")).split("|")[2:-1]]
    assert cells == ["**0.900 [0.89, 0.91]**", "**0.750 ± 0.071**", "**0.825**", "0.106", "**0.750**"]
    assert "Spread over data sets" in text and "Ranks over data sets" in text


def test_ranks_over_data_sets(run, tmp_path):
    folders = [
        run("r0", {"a": 0.9, "b": 0.8, "c": 0.6}, ("d0", "0")),
        run("r1", {"a": 0.7, "b": 0.8, "c": 0.6}, ("d1", "1")),
        run("r2", {"a": 0.9, "b": 0.8, "c": 0.6, "d": 0.99}, ("d2", "2")),
    ]
    merged = merge_reports(folders, tmp_path / "out")
    ranks = merged.ranks[merged.ranks["metric"] == "auc"].set_index("detector")
    assert ranks["mean_rank"].to_dict() == pytest.approx({"a": 4 / 3, "b": 5 / 3, "c": 3})
    # 12 n / (k (k + 1)) * (sum of squares of mean ranks - k (k + 1)^2 / 4)
    assert ranks["friedman"].iloc[0] == pytest.approx(3 * (16 / 9 + 25 / 9 + 9 - 12))
    assert set(ranks["blocks"]) == {"data sets"} and set(ranks["n_blocks"]) == {3}
    rho = merged.rank_stability[merged.rank_stability["metric"] == "auc"]
    assert rho["spearman"].tolist() == pytest.approx([0.5, 1.0, 0.5])
    assert rho[["data_a", "data_b"]].values.tolist() == [["d0", "d1"], ["d0", "d2"], ["d1", "d2"]]
    assert "not ranked, as not every data set has them: d" in merged.notes
    assert main_table(merged.folder)["d"] == {
        "d0": "–", "d1": "–", "d2": "0.890 [0.87, 0.91]", "mean": "–", "sd": "–", "worst": "–",
    }  # fmt: skip
    assert list(merged.as_summary().ranks["detector"]) == ["a", "b", "c", "a", "b", "c"]


def test_the_same_run_counts_once(run, tmp_path):
    one = run("one", {"a": 0.9, "b": 0.8}, ("demo", "f0"), codes={"a": "x", "b": "y"})
    two = run("two", {"a": 0.9, "b": 0.7}, ("demo", "f0"), codes={"a": "x", "b": "y"})
    three = run("three", {"a": 0.9}, ("demo", "f0"), codes={"a": "z"})
    merged = merge_reports([one, two, three], tmp_path / "out")
    assert merged.frame.set_index("detector")["n_runs"].to_dict() == {"a": 2, "b": 2}
    assert [note for note in merged.notes if "one run" in note] == [
        f"a has the same fingerprint and the same numbers on demo in {one} and {two}: one run"
    ]


@pytest.mark.usefixtures("undrawn")
def test_no_fingerprint_is_claimed_where_there_is_none(predicted, tmp_path):
    one, two = predicted("one", {"a": 36}), predicted("two", {"a": 36})
    merged = merge_reports([one, two], tmp_path / "out", {"resamples": 10})
    assert merged.notes == [f"a has the same numbers on one in {one} and {two}: one run"]


def test_data_of_one_class_says_why_there_are_no_ranks(run, tmp_path):
    one, two = run("one", {"a": 0.9, "b": 0.8}, ("demo", "f0")), run("two", {"a": 0.7, "b": 0.6}, ("wild", "f1"))
    metrics = pd.read_csv(two / "metrics.csv")
    metrics.assign(auc=math.nan, balanced_accuracy=math.nan).to_csv(two / "metrics.csv", index=False)
    merged = merge_reports([one, two, run("three", {"c": 0.9}, ("wild", "f1"))], tmp_path / "out")
    assert merged.ranks.empty
    assert merged.notes == [
        "not ranked, as not every data set has them: c",
        "not ranked by AUC, which needs both classes and is undefined on wild: a, b",
        "not ranked by balanced accuracy, which needs both classes and is undefined on wild: a, b",
    ]


def test_tables_rank_the_detectors_that_they_show(run, tmp_path):
    both = ("none", "jpeg:75")
    folders = [run(f"r{i}", {"a": 0.9, "b": 0.8, "c": 0.7}, (f"d{i}", str(i)), perturbations=both) for i in range(3)]

    def ranks(table):
        merge_reports(folders, tmp_path / "out", {"table": table})
        text = (tmp_path / "out" / "table.md").read_text()
        found = text.partition("**Ranks over data sets**")[2].split("\n\n")
        return [line.split("|")[1:3] for line in found[1].splitlines()[2:]] if len(found) > 1 else text

    assert [[cell.strip() for cell in line] for line in ranks({"detectors": ["c", "b"]})] == [
        ["b", "1.00"],
        ["c", "2.00"],
    ]
    text = (tmp_path / "out" / "table.md").read_text()
    assert re.findall(r"^\| (\w) ", text, flags=re.MULTILINE)[:4] == ["c", "c", "b", "b"], "as they are listed"
    disturbed = ranks({"perturbations": ["jpeg:75"]})
    assert "Ranks" not in disturbed and "**Spread over data sets, perturbation jpeg:75**" in disturbed
    assert "0.850" in disturbed.partition("Spread over")[2] and "0.900" not in disturbed


def test_data_of_one_name_is_told_apart(run, tmp_path):
    one = run("one", {"a": 0.9}, ("demo", "0123456789"))
    two = run("two", {"a": 0.8}, ("demo", "abcdefabcdef"))
    assert merge_reports([one, two], tmp_path / "out").data == ["demo (01234567)", "demo (abcdefab)"]
    split = run("split", {"a": 0.8}, ("demo", "0123456789"))
    record = json.loads((split / "run.json").read_text())
    (split / "run.json").write_text(json.dumps(record | {"data": record["data"] | {"split": "validation"}}))
    assert merge_reports([one, split], tmp_path / "other").data == ["demo (test)", "demo (validation)"]


@pytest.mark.usefixtures("undrawn")
def test_without_run_json_the_images_tell_what_is_the_same_data(predicted, tmp_path):
    def merged(*folders):
        made = merge_reports([tmp_path / folder for folder in folders], tmp_path / "out", {"resamples": 10})
        return made.data, made.frame["n_runs"].tolist(), made.notes

    predicted("genimage/preds", {"a": 36}, prefix="genimage/")
    predicted("chameleon/preds", {"a": 30}, prefix="chameleon/")
    predicted("seed1", {"a": 36})
    predicted("seed2", {"a": 30})
    assert merged("genimage/preds", "chameleon/preds") == (["genimage/preds", "chameleon/preds"], [1, 1], [])
    assert merged("seed1", "seed2") == (["seed1"], [2], [])
    assert merged("seed1", "genimage/preds", "seed2")[:2] == (["seed1", "preds"], [2, 1])
    assert merged("seed1", "genimage/preds", "chameleon/preds")[0] == ["seed1", "genimage/preds", "chameleon/preds"]
    folders = json.loads((tmp_path / "out" / "merged.json").read_text())["folders"]
    assert len({f["fingerprint"] for f in folders}) == 3 and {len(f["fingerprint"]) for f in folders} == {64}


@pytest.mark.usefixtures("undrawn")
def test_labels_and_the_evaluated_split_tell_data_apart_too(predicted, tmp_path):
    names = ("one", "flipped", "more")
    folders = [predicted(name, {"a": 30}) for name in names]
    file = folders[1] / "predictions" / "a" / "part.parquet"
    table = pd.read_parquet(file)
    table.assign(label=1 - table["label"], generator=np.where(table["label"], "real", "sd15")).to_parquet(file)
    table.assign(path="v" + table["path"], split="validation").to_parquet(
        folders[2] / "predictions" / "a" / "validation.parquet"
    )
    assert merge_reports(folders, tmp_path / "out", {"resamples": 10}).data == ["one", "flipped"]


def test_folders_of_numbers_alone_go_by_their_names(run, tmp_path):
    folders = [run("x/genimage", {"a": 0.9}), run("y/genimage", {"a": 0.8, "b": 0.7}), run("y/wild", {"a": 0.7})]
    merged = merge_reports(folders, tmp_path / "out")
    counts = merged.frame.set_index(["data", "detector"])["n_runs"].to_dict()
    assert counts == {("genimage", "a"): 2, ("genimage", "b"): 1, ("wild", "a"): 1}
    assert [note.partition("it was made; ")[2] for note in merged.notes[:3]] == [
        f"taken for those of every folder called {name}" for name in ("genimage", "genimage", "wild")
    ]
    record = json.loads((merged.folder / "merged.json").read_text())
    assert [(f["folder"], f["data"], f["run"]) for f in record["folders"]] == [
        (str(folder), folder.name, False) for folder in folders
    ]


def test_merged_json_names_folders_and_fingerprints(run, tmp_path):
    folder = run("one", {"a": 0.9}, ("demo", "f0"), codes={"a": "c0de"})
    merge_reports([folder, run("two", {"a": 0.8})], tmp_path / "out")
    entry, _ = json.loads((tmp_path / "out" / "merged.json").read_text())["folders"]
    assert entry == {
        "folder": str(folder), "data": "demo", "name": "demo", "fingerprint": "f0", "split": "test", "run": True,
        "detectors": {"a": "c0de"},
    }  # fmt: skip


def test_a_detector_that_failed_everywhere_keeps_its_row(run, tmp_path):
    folders = [run("one", {"a": 0.9, "b": math.nan}, ("demo", "f0")), run("two", {"a": 0.8, "b": 0.6}, ("wild", "f1"))]
    merged = merge_reports(folders, tmp_path / "out")
    failed = row(merged.frame, detector="b", data="demo")
    assert (failed["n_runs"], failed["n"]) == (0, 0) and math.isnan(failed["auc"])
    assert row(merged.frame, detector="a", data="demo")["n"] == 100
    assert f"{folders[0]}: no image was scored by b" in merged.notes
    assert main_table(merged.folder)["b"]["demo"] == "–"


def test_notes_say_what_a_reader_has_to_know(run, tmp_path):
    one = run("one", {"a": 0.9}, ("demo", "f0"), status="running")
    two = run("two", {"a": 0.8}, ("demo", "f0"), n=60)
    text = merge_reports([one, two], tmp_path / "out").notes
    assert text == [
        f"{one}: its run was not finished when it was reported",
        "runs on demo scored different numbers of images, 60 to 100: their spread is of the images too",
    ]
    table = (tmp_path / "out" / "table.md").read_text()
    assert "scored different numbers" in table and "no test stands behind it" in table and "over 2 runs" in table


def test_perturbations_are_rows_and_the_undisturbed_one_is_ranked(run, tmp_path):
    both = ("jpeg:75", "none")
    folders = [run("one", {"a": 0.9}, ("demo", "f0"), perturbations=both), run("two", {"a": 0.8}, perturbations=both)]
    merged = merge_reports(folders, tmp_path / "out")
    assert merged.frame["perturbation"].tolist() == ["jpeg:75", "none", "jpeg:75", "none"]
    text = (merged.folder / "table.md").read_text()
    assert "| detector | perturbation |" in text
    ranked = merge_reports(
        [run("r1", {"a": 0.9, "b": 0.8}, perturbations=both), run("r2", {"a": 0.6, "b": 0.8}, perturbations=both)],
        tmp_path / "ranked",
    ).ranks
    assert ranked["mean_rank"].tolist() == [1.5] * 4


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ({"order": "auc"}, ["c", "b", "a"]),
        ({"detectors": ["c", "a"]}, ["c", "a"]),
        ({"precision": 2, "intervals": False, "columns": ["auc"]}, ["a", "b", "c"]),
    ],
)
def test_rows_order_and_precision_are_configuration(run, tmp_path, table, expected):
    values = {"a": 0.7, "b": 0.8, "c": 0.9}
    merge_reports([run("x/one", values), run("y/one", values)], tmp_path / "out", {"table": table})
    found = main_table(tmp_path / "out")
    assert list(found) == expected
    if "precision" in table:
        assert found["a"] == {"runs": "1", "AUC": "0.70"}


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        ({"order": "brier"}, "table.order: a merged report is ordered by request, accuracy"),
        ({"detectors": ["z"]}, "table.detectors: no detector is called 'z' here; there are: a"),
        ({"precision": 9}, "table.precision: "),
    ],
)
def test_wishes_that_cannot_be_met(run, tmp_path, table, reason):
    with pytest.raises(MaibenchError, match=reason):
        merge_reports([run("one", {"a": 0.7}), run("two", {"a": 0.7})], tmp_path / "out", {"table": table})
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_predictions_alone_get_their_report_first_and_then_stay_as_they_are(predicted, tmp_path):
    folders = [predicted("x", {"a": 36, "b": 30}), predicted("y", {"a": 20, "b": 40}, prefix="y/")]
    merged = merge_reports(folders, tmp_path / "out", {"resamples": 10})
    assert all((folder / "metrics.csv").is_file() and (folder / "report.html").is_file() for folder in folders)
    assert row(merged.frame, detector="a", data="x")["accuracy"] == 0.9
    assert "10 resamples" in (folders[0] / "metrics.csv").read_text()
    before = [contents(folder) for folder in folders]
    assert merge_reports(folders, tmp_path / "out").frame.equals(merged.frame)
    assert merge_reports(folders, tmp_path / "out", {"resamples": 10}).frame.equals(merged.frame)
    assert [contents(folder) for folder in folders] == before


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("setting", [{"interval": "analytic"}, {"resamples": 200}])
def test_other_intervals_are_made_from_the_predictions_and_the_folders_stay(predicted, tmp_path, setting):
    folders = [predicted("x", {"a": 36}), predicted("y", {"a": 20}, prefix="y/")]
    first = merge_reports(folders, tmp_path / "out", {"resamples": 10})
    before = [contents(folder) for folder in folders]
    again = merge_reports(folders, tmp_path / "out", setting)
    assert [contents(folder) for folder in folders] == before
    assert again.frame[list(METRICS)].equals(first.frame[list(METRICS)])
    for bound in ("accuracy_lo", "balanced_accuracy_hi"):
        assert again.frame[bound].ne(first.frame[bound]).all()
    if "interval" in setting:
        assert again.frame["accuracy_lo"].tolist() == pytest.approx([0.769, 0.352], abs=5e-4), "Wilson, 36 and 20 of 40"
    write_report(folders[0], setting)
    stored = pd.read_csv(folders[0] / "metrics.csv")
    assert stored["accuracy_lo"].iloc[0] == again.frame["accuracy_lo"].iloc[0], "as its own report says"


def test_other_intervals_need_predictions(run, tmp_path):
    folders = [run("one", {"a": 0.9}), run("two", {"a": 0.8})]
    for setting, flags in (
        ({"interval": "bca"}, "--interval"),
        ({"interval": "bca", "resamples": 9}, "--interval and --r"),
    ):
        with pytest.raises(MaibenchError, match=f"one: has no predictions to make .* again from; leave out {flags}"):
            merge_reports(folders, tmp_path / "out", setting)
    assert not (tmp_path / "out").exists()
    merge_reports(folders, tmp_path / "out", {"interval": None, "table": {}})


@pytest.mark.usefixtures("undrawn")
def test_predictions_newer_than_the_numbers_count(predicted, tmp_path):
    folders = [predicted("x", {"a": 36}), predicted("y", {"a": 20}, prefix="y/")]
    merge_reports(folders, tmp_path / "out", {"resamples": 10})
    file = folders[0] / "predictions" / "a" / "part.parquet"
    table = pd.read_parquet(file)
    table.assign(logit=-table["logit"]).to_parquet(file)
    after = (folders[0] / "metrics.csv").stat().st_mtime_ns + 1
    os.utime(file, ns=(after, after))
    before = contents(folders[0])
    merged = merge_reports(folders, tmp_path / "out")
    assert merged.frame["accuracy"].tolist() == [0.1, 0.5]
    assert merged.notes == [
        f"{folders[0]}: predictions are newer than its metrics.csv; the numbers here are made from them"
    ]
    assert contents(folders[0]) == before


def test_merging_again_gives_the_same_bytes(run, tmp_path):
    folders = [run("one", {"a": 0.9, "b": 0.8}), run("two", {"a": 0.7, "b": 0.6})]
    merge_reports(folders, tmp_path / "out")
    before = contents(tmp_path / "out")
    merge_reports(folders, tmp_path / "out")
    assert contents(tmp_path / "out") == before


def test_what_cannot_be_merged(run, tmp_path):
    one, fine = run("one", {"a": 0.9}), run("fine", {"a": 0.9})
    two = run("two", {"a": 0.9}, perturbations=("none", "jpeg:75"))
    (tmp_path / "empty").mkdir()
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "metrics.csv").write_text("detector,perturbation,n\na,none,3\n")
    (tmp_path / "none").mkdir()
    frame("metrics", []).to_csv(tmp_path / "none" / "metrics.csv", index=False)

    def refused(reason, folders, out="out"):
        folders = [*folders, fine] if len(folders) == 1 else folders
        with pytest.raises(MaibenchError, match=reason):
            merge_reports(folders, tmp_path / out)
        assert not (tmp_path / "out").exists()

    refused("no folders were named", [])
    refused("one/../one: is named twice", [one, tmp_path / "one" / ".." / "one"])
    refused("nowhere: no such folder", [one, tmp_path / "nowhere"])
    refused("empty: no predictions there", [one, tmp_path / "empty"])
    refused("none: no predictions there", [tmp_path / "none"])
    refused("odd/metrics.csv: has no column 'accuracy'; make it again with 'maibench report", [tmp_path / "odd"])
    refused("cannot be merged: .*/two has 'jpeg:75', .*/one does not; give both the same --perturb", [one, two])
    refused("cannot be merged: .*/two has 'jpeg:75', .*/one does not", [two, one])
    refused("one: is one of the runs", [one], "one")
    refused("two: holds files but no merged report; choose another folder with --out", [one], "two")


def test_one_folder_is_reported_in_place(run, tmp_path):
    folder = run("one", {"a": 0.9})
    with pytest.raises(
        MaibenchError, match="one: one folder is reported in place, by itself: leave out --out, or name"
    ):
        merge_reports([folder], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_hostile_names_are_only_text_and_compile(run, tmp_path, compile_paper):
    names = {HOSTILE: 0.9, "NA": 0.8, "*star\nline": 0.7, "x" * 80: 0.6}
    folders = [run(f"r{i}", names, (f"{HOSTILE}{i}", str(i))) for i in range(8)]
    folders += [run("again", {HOSTILE: 0.5}, (f"{HOSTILE}0", "0"))]
    merged = merge_reports(folders, tmp_path / "out")
    assert list(dict.fromkeys(merged.frame["detector"])) == list(names)
    text = (merged.folder / "table.md").read_text()
    assert "<b>" not in text
    tables = [block.splitlines() for block in text.split("\n\n") if block.startswith("| ")]
    assert all(len({len(re.findall(r"(?<!\\)\|", line)) for line in table}) == 1 for table in tables)
    log = compile_paper((merged.folder / "table.tex").read_text())
    assert not re.findall(r"Overfull|too large|Warning: (?!Label)", log)
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(merged_tables.terminal(merged))
    assert HOSTILE in console.export_text()
