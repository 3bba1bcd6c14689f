"""A plan in slices: every missing batch once, at places that follow from the plan alone."""

from types import SimpleNamespace

import pandas as pd
import pytest

from maibench.datasets.manifest import Manifest
from maibench.datasets.perturb import parse_perturbation
from maibench.evaluation.cluster.slices import batches_per_slice, disturbances_of, missing_slices
from maibench.evaluation.scoring import make_plan


def plan_of(images, tmp_path, batch_size=4, perturb=("none", "jpeg:75"), validation=0):
    rows = pd.DataFrame({"path": [f"{n}.png" for n in range(images)], "label": [n % 2 for n in range(images)]})
    rows["generator"] = ["gen" if label else "real" for label in rows["label"]]
    rows["split"] = ["validation" if n < validation else "test" for n in range(images)]
    rows["image_id"] = [None if n % 3 else f"id{n}" for n in range(images)]
    manifest = Manifest.from_frame(rows, tmp_path, "data")
    return make_plan(manifest, "test", [parse_perturbation(name) for name in perturb], batch_size, None, 0)


def entry(label, done=()):
    return SimpleNamespace(label=label, store=SimpleNamespace(done=lambda: set(done)))


def jobs_of(plan, entries):
    labels = [e.label for e in entries]
    return [job for piece in missing_slices(plan, entries) for job in piece.jobs(labels, disturbances_of(plan))]


def test_every_batch_once_with_its_rows_and_perturbations(tmp_path):
    plan = plan_of(41, tmp_path, validation=10)
    jobs = jobs_of(plan, [entry("a"), entry("b")])
    assert [job.index for job in jobs] == list(range(len(plan.batches)))
    for job, (rows, perturbations) in zip(jobs, plan.batches, strict=True):
        expected = plan.manifest.rows.loc[rows]
        for column in ("path", "label", "generator", "split"):
            assert [row[column] for row in job.rows] == expected[column].tolist()
        assert [row["image_id"] for row in job.rows] == [
            x if isinstance(x, str) else None for x in expected["image_id"]
        ]
        assert job.perturbations is perturbations
        assert job.labels == ["a", "b"]


def test_only_what_is_missing(tmp_path):
    plan = plan_of(24, tmp_path)
    jobs = jobs_of(plan, [entry("a", {0, 1, 3}), entry("b", {0, 3, 4})])
    assert [(job.index, job.labels) for job in jobs] == [(1, ["b"]), (2, ["a", "b"]), (4, ["a"]), (5, ["a", "b"])]


def test_places_do_not_depend_on_what_is_done(tmp_path):
    plan = plan_of(4 * 1024, tmp_path)
    size = batches_per_slice(plan, 1)
    assert size == 8
    some = missing_slices(plan, [entry("a", set(range(1, 700, 3)))])
    assert all(len({batch.index // size for batch in piece.batches}) == 1 for piece in some)


@pytest.mark.parametrize(("images", "detectors", "most"), [(64, 1, 1), (40_000, 1, 25), (40_000, 80, 12)])
def test_a_slice_is_neither_all_there_is_nor_hours(images, detectors, most, tmp_path):
    plan = plan_of(images, tmp_path)
    size = batches_per_slice(plan, detectors)
    assert size == most
    assert size * 4 * 2 * detectors <= max(8_000, 4 * 2 * detectors)


def test_nothing_missing(tmp_path):
    plan = plan_of(8, tmp_path)
    assert list(missing_slices(plan, [entry("a", {0, 1})])) == []
