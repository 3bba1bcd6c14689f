"""The whole way from photographs to a data set of twins, with tiny random models of the published classes."""

import dataclasses
import json
import shutil
import subprocess

import pytest

from maibench.datasets.image import decode
from maibench.datasets.readers import open_data
from maibench.datasets.receipts import read_receipt
from maibench.datasets.twins.build import make_twins
from maibench.datasets.twins.choose import fitted
from maibench.datasets.twins.gates import Limits
from maibench.datasets.twins.generate import candidate_seed
from maibench.datasets.twins.plan import effort_of
from maibench.errors import DiskError, MaibenchError
from maibench.progress import Progress
from tests.datasets.twins.conftest import change


def steps_of(receipt):
    return {step["step"]: step for step in read_receipt(receipt)}


class Killed(Progress):
    """Stops the work after its first step, as a killed process would."""

    def advance(self, count, note=""):
        raise KeyboardInterrupt


def test_each_photograph_has_a_twin_by_each_generator_stored_alike(made, photographs):
    manifest = open_data(str(made))
    rows = manifest.rows
    assert sorted(rows["generator"]) == ["real"] * 3 + ["transformer"] * 3 + ["unet"] * 3
    assert rows.groupby("source")[["split", "pair", "caption"]].nunique().to_numpy().max() == 1
    files = [manifest.read(path) for path in rows["path"]]
    assert len({(file.format, file.width, file.height, len(file.data)) for file in files}) == 1
    assert [file.image_id for file in files] == rows["image_id"].tolist()
    for _, row in rows[rows["label"] == 0].iterrows():
        original = decode((photographs / row["source"]).read_bytes())
        assert (decode(manifest.read(row["path"]).data) == fitted(original, 64)).all()


def test_opens_in_hugging_face_datasets(made):
    load_dataset = pytest.importorskip("datasets").load_dataset
    data = load_dataset(str(made), split=open_data(str(made)).rows["split"].iloc[0])
    assert (data[0]["image"].size, data.features["label"].names) == ((64, 64), ["real", "synthetic"])


def test_receipts_say_how_each_image_came_to_be(made, contents):
    for _, row in open_data(str(made)).rows.iterrows():
        steps = steps_of(row["receipt"])
        assert list(steps) == ["choose", "caption", *(["generate"] if row["label"] else []), "gates", "store"]
        assert steps["store"]["image_id"] == row["image_id"]
        assert steps["caption"]["content"] == row["caption"]
        assert set(steps["gates"]["scores"]) == {"alignment", "photo", "unsafe"}
        if row["label"]:
            made_by, photo = steps["generate"], steps["choose"]["image_id"]
            assert made_by["seed"] == candidate_seed(0, photo, row["generator"], made_by["candidate"])
            assert (made_by["prompt"], made_by["settings"]["num_inference_steps"]) == (row["caption"], 2)
            assert len(made_by["weights"]) == 16
    assert "maibench data pairs --data photos" in (made / "README.md").read_text()
    assert str(made.parent) not in "".join(map(str, contents(made).values()))


@pytest.mark.slow
def test_killed_at_every_step_it_ends_in_the_same_bytes(made, contents, request_two, tmp_path):
    request = request_two(tmp_path / "killed")
    kills, done = 0, False
    while not done:
        try:
            done = make_twins(request, progress=Killed()).computed
        except KeyboardInterrupt:
            kills += 1
            (request.out / ".work" / f".part-{kills}-x.json").touch()  # as a killed process leaves them
            assert not (request.out / "README.md").exists()
    assert kills > 1 + 3 + 3 + 6  # choosing, captions, gates, twins, and a shard at least
    assert contents(request.out) == contents(made)
    assert not make_twins(request).computed


@pytest.mark.slow
def test_other_models_need_fresh(made, contents, request_two, broken_pipeline, tmp_path):
    out = shutil.copytree(made, tmp_path / "twins")
    shutil.rmtree(out / "data")
    other = {**request_two.keywords["pipelines"], "unet": broken_pipeline(0.5)}
    for changed, what in (({"seed": 1}, "photographs"), ({"pipelines": other}, "weights")):
        with pytest.raises(MaibenchError, match=rf"holds the pairs of another command \({what} was .*--fresh"):
            make_twins(request_two(out, **changed))
    assert make_twins(request_two(out)).computed
    assert contents(out) == contents(made)
    assert make_twins(request_two(out, seed=1, most=1), fresh=True).images == 3


@pytest.mark.slow
def test_the_first_candidate_that_passes_is_taken_never_the_best(request_for, tmp_path):
    make_twins(request_for(tmp_path / "all", candidates=1))
    texts = open_data(str(tmp_path / "all")).rows["receipt"]
    # photographs pass, and of the first candidates all but the worst
    limit = sorted(steps_of(text)["gates"]["scores"]["alignment"] for text in texts)[1]
    made = make_twins(request_for(tmp_path / "some", candidates=4, limits=Limits(limit, 0.0, 1.0)))
    groups = json.loads((tmp_path / "some" / "quarantine.json").read_text())["groups"]
    assert made.photographs + len(groups) == 3
    for text in open_data(str(tmp_path / "some")).rows["receipt"]:
        steps = steps_of(text)
        assert steps["gates"]["scores"]["alignment"] >= limit
        refused = steps.get("generate", {}).get("refused", [])
        assert len(refused) == steps.get("generate", {}).get("candidate", 0)
        assert all(tried["scores"]["alignment"] < limit for tried in refused)
    assert all("is below" in group["reason"] for group in groups)


@pytest.mark.slow
def test_never_half_a_group(request_two, broken_pipeline, tmp_path):
    """One generator of two makes black images: nothing of the other is kept either, and all is told."""
    pipelines = {**request_two.keywords["pipelines"], "transformer": broken_pipeline(-1.0)}
    request = request_two(tmp_path / "out", pipelines=pipelines, candidates=3)
    with pytest.raises(MaibenchError, match=r"\(3 at twins-transformer; 3 x none of 3 candidates passed: black"):
        make_twins(request)
    for group in json.loads((request.out / "quarantine.json").read_text())["groups"]:
        assert group["reason"] == "none of 3 candidates passed: black"
        seeds = [candidate_seed(0, group["image_id"], "transformer", number) for number in range(3)]
        assert [tried["seed"] for tried in group["candidates"]] == seeds
    assert not list(request.out.rglob("*.parquet"))


def test_a_captioner_that_says_nothing(request_for, tiny_captioner, tmp_path):
    def end(tensors):
        for name in [name for name in tensors if name.endswith(("predictions.bias", "predictions.decoder.bias"))]:
            tensors[name][513] = 1e4  # the end of a text

    folder = shutil.copytree(tiny_captioner, tmp_path / "silent")
    change(folder / "model.safetensors", end)
    with pytest.raises(MaibenchError, match=r"3 at captions; 3 x the captioner said nothing\).*quarantine.json"):
        make_twins(request_for(tmp_path / "out", captioner=str(folder)))


def test_dry_run_counts_and_writes_nothing(made, request_two, tmp_path):
    request = request_two(tmp_path / "out", candidates=3, most=2)
    effort = effort_of(request)
    assert (effort.listed, effort.photographs, effort.images, effort.gated) == (3, 2, (4, 12), (6, 14))
    assert effort.calls == {"unet": (4, 12), "transformer": (4, 12)}
    assert {download.gigabytes for download in effort.downloads} == {0.0}
    listed = dataclasses.replace(request, generators="sdxl,sd1.5", presets=None, captioner="moondream", size=512)
    told = "\n".join(effort_of(listed).described())
    for line in (
        "licences: any are taken; 3 photographs have none", "forward steps of sdxl: 60 to 180",
        "download for the generator sdxl: 13.9 GB (stabilityai/stable-diffusion-xl-base-1.0@",
        "downloads in all: 23.3 GB; nothing was fetched",
    ):  # fmt: skip
        assert line in told
    assert not request.out.exists()
    assert effort_of(request_two(made)).described()[0].startswith("nothing is missing")


@pytest.mark.slow
def test_a_full_disk_loses_nothing(made, contents, request_two, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=48k", "tmpfs", disk]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a small disk can be mounted by root only")
    try:
        request = request_two(disk / "twins")
        for size in ("48k", "128k", "300k"):  # photographs, twins, Parquet
            subprocess.run(["mount", "-o", f"remount,size={size}", disk], check=True)
            with pytest.raises(DiskError, match="the disk is full; what was written is kept"):
                make_twins(request)
            assert not list(disk.rglob(".part-*"))
        subprocess.run(["mount", "-o", "remount,size=16m", disk], check=True)
        make_twins(request)
        assert contents(request.out) == contents(made)
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)
