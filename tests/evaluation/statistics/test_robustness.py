"""Robustness: curves and relative numbers against sums by hand, on predictions made by hand."""

import math

import numpy as np
import pandas as pd
import pytest

from maibench.evaluation.statistics.bootstrap import SourceBootstrap, tails
from maibench.evaluation.statistics.evaluated import Evaluated
from maibench.evaluation.statistics.frames import COLUMNS
from maibench.evaluation.statistics.robustness import family_of, robustness, robustness_notes, transfer, unchanged

NAN = math.nan


def made(logits, labels=(0, 0, 1, 1), repeat=1):
    """An Evaluated of hand-made logits {(detector, perturbation): values}, the images repeated."""
    labels = np.tile(labels, repeat)
    images = pd.DataFrame(
        {
            "path": [f"{index:04d}.png" for index in range(len(labels))],
            "label": labels,
            "generator": np.where(labels == 1, "gen-a", "real"),
            "source": [f"source-{index}" for index in range(len(labels))],
            "own_source": False,
        }
    )
    return Evaluated(images, {key: np.tile(np.asarray(values, float), repeat) for key, values in logits.items()})


def frames(evaluated, suites=None, resamples=200):
    return robustness(evaluated, SourceBootstrap(evaluated.images["source"].to_numpy(), resamples, 0), suites or {})


HAND = {
    ("a", "none"): [-1, -2, 1, 2],  # accuracy 1, AUC 1
    ("a", "jpeg:75"): [-1, 1, -0.5, 2],  # accuracy 1/2, AUC 3/4
    ("a", "jpeg:50"): [1, 1, 1, 1],  # accuracy 1/2, AUC 1/2
    ("a", "blur:1"): [-1, -1, -2, 2],  # accuracy 3/4, AUC 1/2
    ("b", "none"): [-1, 1, 1, 1],  # accuracy 3/4, AUC 3/4
    ("b", "jpeg:75"): [-1, 1, 1, NAN],
    ("b", "jpeg:50"): [-1, 1, -2, 1],
    ("b", "blur:1"): [-1, 1, 1, 1],
}


class TestScores:
    def test_relative_numbers_by_hand(self):
        _, scores = frames(made(HAND), {"codec": ["jpeg:75", "jpeg:50"]})
        rows = scores.set_index(["detector", "suite"])
        assert list(scores.columns) == list(COLUMNS["robustness_scores"])
        codec, everything = rows.loc[("a", "codec")], rows.loc[("a", "all")]
        assert (codec["n_perturbations"], everything["n_perturbations"]) == (2, 3)
        assert codec["accuracy_relative"] == pytest.approx((0.5 + 0.5) / 2 / 1)
        assert codec["auc_relative"] == pytest.approx((0.75 + 0.5) / 2 / 1)
        assert everything["accuracy_relative"] == pytest.approx((0.5 + 0.5 + 0.75) / 3)
        assert everything["auc_relative"] == pytest.approx((0.75 + 0.5 + 0.5) / 3)
        assert (codec["worst_perturbation"], codec["worst_auc"]) == ("jpeg:50", 0.5)

    def test_only_images_that_were_scored_under_all(self):
        """b lacks the last image under jpeg:75: of the first three, -1 and 1 are real, the third is synthetic."""
        _, scores = frames(made(HAND), {"codec": ["jpeg:75", "jpeg:50"], "soft": ["blur:1"]})
        rows = scores.set_index(["detector", "suite"])
        codec, soft = rows.loc[("b", "codec")], rows.loc[("b", "soft")]
        clean, at_75, at_50 = 2 / 3, 2 / 3, 1 / 3
        assert codec["accuracy_relative"] == pytest.approx((at_75 + at_50) / 2 / clean)
        assert codec["auc_relative"] == pytest.approx((0.75 + 0) / 2 / 0.75)  # AUC 1/2 + 1/4 tied, then 0
        assert (soft["accuracy_relative"], soft["auc_relative"]) == (1, 1)

    def test_intervals_hold_the_value_and_are_paired(self):
        evaluated = made(HAND, repeat=30)
        _, scores = frames(evaluated, {"codec": ["jpeg:75", "jpeg:50"]})
        a = scores.set_index(["detector", "suite"]).loc[("a", "codec")]
        for metric in ("accuracy_relative", "auc_relative"):
            assert a[f"{metric}_lo"] < a[metric] < a[f"{metric}_hi"]
        # a perturbation that changes nothing loses nothing in any resample
        same = {("a", "none"): HAND["b", "none"], ("a", "jpeg:75"): HAND["b", "none"]}
        _, scores = frames(made(same, repeat=30), {"codec": ["jpeg:75"]})
        assert scores.iloc[0][["accuracy_relative_lo", "accuracy_relative_hi"]].tolist() == [1, 1]
        assert scores.iloc[0][["auc_relative_lo", "auc_relative_hi"]].tolist() == [1, 1]

    def test_intervals_are_those_of_resampling_by_hand(self):
        evaluated = made(HAND, repeat=5)
        bootstrap = SourceBootstrap(evaluated.images["source"].to_numpy(), 50, 3)
        _, scores = robustness(evaluated, bootstrap, {"codec": ["jpeg:75", "jpeg:50"]})
        right = {name: (evaluated.logits["a", name] > 0) == evaluated.labels for name in ("none", "jpeg:75", "jpeg:50")}
        means = bootstrap.means(np.stack(list(right.values()), axis=1).astype(float))
        quotients = means[:, 1:].mean(axis=1) / means[:, 0]
        row = scores.set_index(["detector", "suite"]).loc[("a", "codec")]
        expected = np.quantile(quotients, tails(bootstrap.n_sources))
        np.testing.assert_allclose(row[["accuracy_relative_lo", "accuracy_relative_hi"]].astype(float), expected)

    def test_few_sources_have_no_interval(self):
        curves, scores = frames(made(HAND), {"codec": ["jpeg:75"]})
        assert scores.filter(regex="_(lo|hi)$").isna().all(axis=None)
        assert curves.filter(regex="_(lo|hi)$").isna().all(axis=None)
        assert scores["accuracy_relative"].notna().all()

    def test_a_detector_that_is_never_right_has_no_quotient(self):
        logits = {("a", "none"): [1, 1, -1, -1], ("a", "jpeg:75"): [-1, 1, 1, 1]}
        _, scores = frames(made(logits, repeat=5), {"codec": ["jpeg:75"]})
        assert math.isnan(scores.loc[0, "accuracy_relative"])
        assert math.isnan(scores.loc[0, "auc_relative"])

    def test_one_class_has_no_auc(self):
        logits = {("a", "none"): [1, -1], ("a", "jpeg:75"): [1, 1]}
        _, scores = frames(made(logits, labels=(1, 1), repeat=10), {"codec": ["jpeg:75"]})
        assert scores.loc[0, "accuracy_relative"] == 2
        assert math.isnan(scores.loc[0, "auc_relative"])
        assert (scores.loc[0, "worst_perturbation"], math.isnan(scores.loc[0, "worst_auc"])) == ("", True)

    def test_images_that_failed_everywhere(self):
        logits = {("a", "none"): [-1, -1, 1, 1], ("a", "jpeg:75"): [NAN] * 4, ("a", "jpeg:50"): [-1, 1, 1, 1]}
        evaluated = made(logits, repeat=5)
        curves, scores = frames(evaluated, {"codec": ["jpeg:75", "jpeg:50"]})
        assert scores.loc[0, ["n_perturbations", "accuracy_relative"]].tolist() == [1, 0.75]
        assert curves["perturbation"].tolist() == ["none", "jpeg:50"]
        assert "a scored nothing under jpeg:75: left out of its robustness." in robustness_notes(evaluated)


class TestCurves:
    def test_points_are_the_metrics(self):
        curves, _ = frames(made(HAND))
        assert list(curves.columns) == list(COLUMNS["robustness"])
        a = curves[curves["detector"] == "a"].set_index("perturbation")
        assert a.loc["jpeg:75", ["accuracy", "auc"]].tolist() == [0.5, 0.75]
        assert a.loc["blur:1", ["accuracy", "auc"]].tolist() == [0.75, 0.5]

    def test_points_are_of_all_images_scored_under_them(self):
        curves, _ = frames(made(HAND))
        b = curves[curves["detector"] == "b"].set_index(["family", "perturbation"])
        assert b.loc[("jpeg", "jpeg:75"), "accuracy"] == pytest.approx(2 / 3)
        assert b.loc[("jpeg", "none"), "accuracy"] == 0.75

    def test_every_family_starts_with_the_undisturbed_point(self):
        curves, _ = frames(made(HAND), {"codec": ["jpeg:75", "jpeg:50"]})
        rows = curves.loc[curves["detector"] == "a", ["suite", "family", "perturbation", "severity"]]
        assert rows.to_numpy().tolist() == [
            ["codec", "jpeg", "none", 100], ["codec", "jpeg", "jpeg:75", 75], ["codec", "jpeg", "jpeg:50", 50],
            ["all", "jpeg", "none", 100], ["all", "jpeg", "jpeg:75", 75], ["all", "jpeg", "jpeg:50", 50],
            ["all", "blur", "none", 0], ["all", "blur", "blur:1", 1],
        ]  # fmt: skip

    def test_chains_are_numbered(self):
        names = ["none", "longest:1080+jpeg:75", "jpeg:60", "resize:0.5+jpeg:60"]
        curves, _ = frames(made({("a", name): [-1, -1, 1, 1] for name in names}), {"mine": names[1:]})
        rows = curves[["suite", "family", "perturbation", "severity"]].to_numpy().tolist()
        assert rows == [
            ["mine", "chain", "none", 0], ["mine", "chain", names[1], 1], ["mine", "chain", names[3], 2],
            ["mine", "jpeg", "none", 100], ["mine", "jpeg", "jpeg:60", 60],
        ]  # fmt: skip

    def test_without_the_undisturbed_images_there_are_curves_and_no_scores(self):
        curves, scores = frames(made({("a", "jpeg:75"): [-1, 1, 1, 1], ("a", "jpeg:50"): [1, 1, 1, 1]}))
        assert curves["perturbation"].tolist() == ["jpeg:75", "jpeg:50"]
        assert scores.empty
        assert list(scores.columns) == list(COLUMNS["robustness_scores"])

    def test_severities(self):
        found = {name: family_of(name) for name in ("jpeg:75", "resize:0.5", "attack:pgd:4@b", "sepia", "sepia:much")}
        assert found["jpeg:75"] == ("jpeg", 75)
        assert found["resize:0.5"] == ("resize", 0.5)
        assert found["attack:pgd:4@b"] == ("attack:pgd@b", 4)
        assert found["sepia"][0] == found["sepia:much"][0] == "sepia"
        assert math.isnan(found["sepia"][1])
        assert math.isnan(family_of("resize:0.5+jpeg:75")[1])


class TestSuites:
    def test_nothing_but_undisturbed_images(self):
        curves, scores = frames(made({("a", "none"): [-1, -1, 1, 1]}), {"codec": ["jpeg:75"]})
        assert curves.empty
        assert scores.empty
        assert list(curves.columns) == list(COLUMNS["robustness"])

    @pytest.mark.parametrize(
        ("suites", "expected"),
        [
            ({}, ["all"]),
            ({"codec": ["jpeg:75", "jpeg:50"]}, ["codec", "all"]),
            ({"mine": ["blur:1", "jpeg:50", "jpeg:75"]}, ["mine"]),  # which covers all
            ({"mine": ["none", "jpeg:50", "jpeg:75", "blur:1", "noise:5"]}, ["mine"]),  # noise:5 was not scored
            ({"gone": ["noise:5"]}, ["all"]),
        ],
    )
    def test_all_is_added_where_no_suite_covers_it(self, suites, expected):
        curves, scores = frames(made(HAND), suites)
        assert list(dict.fromkeys(scores["suite"])) == list(dict.fromkeys(curves["suite"])) == expected
        assert not scores["n_perturbations"].gt(3).any()

    def test_one_perturbation_alone_is_a_suite(self):
        curves, scores = frames(made({key: HAND[key] for key in HAND if key[1] in ("none", "jpeg:75")}))
        assert set(curves["suite"]) == {"all"}
        assert scores["n_perturbations"].unique().tolist() == [1]

    def test_a_detector_without_disturbed_images_has_no_rows(self):
        curves, scores = frames(made(HAND | {("metadata", "none"): [-1, -1, 1, 1]}))
        assert "metadata" not in set(curves["detector"]) | set(scores["detector"])


ATTACKED = {
    ("a", "none"): [-1, -1, 1, 1],
    ("a", "attack:pgd:2@a"): [1, 1, -1, -1],
    ("a", "attack:pgd:2@b"): [-1, 1, 1, 1],
    ("b", "none"): [-1, 1, 1, NAN],
    ("b", "attack:pgd:2@a"): [-1, 1, -1, 1],
    ("b", "attack:pgd:2@b"): [1, 1, -1, NAN],
    ("metadata", "none"): [1, 1, 1, 1],
}


class TestAttacks:
    def test_transfer_by_hand(self):
        table = transfer(made(ATTACKED))
        assert list(table.columns) == list(COLUMNS["transfer"])
        rows = table.set_index(["made_on", "detector"])
        assert list(rows.index) == [("none", "a"), ("none", "b"), ("a", "a"), ("a", "b"), ("b", "a"), ("b", "b")]
        assert set(table["perturbation"]) == {"attack:pgd:2"}
        assert rows.loc[("none", "a"), ["n", "accuracy", "tpr", "tnr", "auc"]].tolist() == [4, 1, 1, 1, 1]
        assert rows.loc[("a", "a"), ["n", "accuracy", "tpr", "tnr", "auc"]].tolist() == [4, 0, 0, 0, 0]
        assert rows.loc[("b", "a"), ["n", "accuracy", "tpr", "tnr", "auc"]].tolist() == [4, 0.75, 1, 0.5, 0.75]
        # b did not score the last image undisturbed: it is left out of every row of b
        assert rows.loc[("none", "b"), ["n", "accuracy"]].tolist() == [3, pytest.approx(2 / 3)]
        assert rows.loc[("a", "b"), ["n", "accuracy"]].tolist() == [3, pytest.approx(1 / 3)]
        assert rows.loc[("b", "b"), ["n", "accuracy"]].tolist() == [3, 0]

    def test_an_attack_that_failed_on_every_image_takes_no_other_row_along(self):
        table = transfer(made(ATTACKED | {("a", "attack:pgd:2@b"): [NAN] * 4})).set_index(["made_on", "detector"])
        assert table.loc[("a", "a"), "n"] == 4
        assert table.loc[("b", "a"), "n"] == 0

    def test_each_request_on_its_own(self):
        logits = ATTACKED | {("a", "attack:fgsm:1@a"): [-1, -1, 1, -1]}
        table = transfer(made(logits))
        assert list(dict.fromkeys(table["perturbation"])) == ["attack:pgd:2", "attack:fgsm:1"]
        assert len(table[table["perturbation"] == "attack:fgsm:1"]) == 2  # undisturbed and attacked, of a alone

    def test_no_attack_no_rows(self):
        assert transfer(made(HAND)).empty
        assert list(transfer(made(HAND)).columns) == list(COLUMNS["transfer"])

    def test_attacks_are_a_suite_of_curves_without_a_score(self):
        curves, scores = frames(made(HAND | ATTACKED, repeat=5), {"codec": ["jpeg:75", "jpeg:50"]})
        assert "attack" not in set(scores["suite"])
        assert not scores["worst_perturbation"].str.startswith("attack").any()
        rows = curves[(curves["suite"] == "attack") & (curves["detector"] == "a")]
        assert rows[["family", "perturbation", "severity"]].to_numpy().tolist() == [
            ["attack:pgd@a", "none", 0], ["attack:pgd@a", "attack:pgd:2@a", 2],
            ["attack:pgd@b", "none", 0], ["attack:pgd@b", "attack:pgd:2@b", 2],
        ]  # fmt: skip
        assert rows.loc[rows["perturbation"] == "attack:pgd:2@a", "accuracy"].item() == 0

    def test_an_attack_of_another_tool_is_a_perturbation(self):
        logits = {("a", name): [-1, -1, 1, 1] for name in ("none", "attack:cw:2", "jpeg:75")}
        curves, scores = frames(made(logits))
        assert set(curves["family"]) == {"attack", "jpeg"}
        assert scores["n_perturbations"].tolist() == [2]
        assert transfer(made(logits)).empty


class TestUnchanged:
    def test_what_did_nothing(self):
        logits = {
            ("a", "none"): [-1, NAN, 1, 1], ("a", "longest:2048"): [-1, NAN, 1, 1], ("a", "jpeg:75"): [-1, NAN, 1, 1],
            ("b", "none"): [-1, -1, 1, 1], ("b", "longest:2048"): [-1, -1, 1, 1], ("b", "jpeg:75"): [-1, -1, 1, 1.1],
            ("metadata", "none"): [1, 1, 1, 1],
        }  # fmt: skip
        assert unchanged(made(logits)) == ["longest:2048"]
        notes = robustness_notes(made(logits))
        assert notes == [
            "metadata: undisturbed only, as what reads the file does not see its pixels.",
            "longest:2048 changes nothing in these images: every detector's logits are the undisturbed ones.",
        ]

    def test_what_nobody_scored_is_not_called_unchanged(self):
        assert unchanged(made({("a", "none"): [NAN] * 4, ("a", "webp:80"): [NAN] * 4})) == []
        assert unchanged(made({("a", "webp:80"): [1, 1, 1, 1]})) == []

    def test_notes_on_attacks(self):
        notes = " ".join(robustness_notes(made(ATTACKED)))
        assert "Attacks (attack:pgd:2:" in notes
        assert "white-box on a, b" in notes
        assert "Not attacked themselves: metadata." in notes
        assert robustness_notes(made({("a", "none"): [1, 1, 1, 1]})) == []
