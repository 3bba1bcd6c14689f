"""`wild` collected from small repositories of our own: what is exact, what is gone, what goes on."""

from __future__ import annotations

import functools
import http.server
import io
import os
import shutil
import subprocess
import threading
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageOps

from maibench.datasets.manifest import Manifest
from maibench.datasets.readers import open_data
from maibench.datasets.wild import raw
from maibench.datasets.wild.collect import Summary, import_wild, open_wild
from maibench.datasets.wild.crops import CLOSE, PIXEL_EQUAL, agreement
from maibench.datasets.wild.git import Clones
from maibench.datasets.wild.listed import LIST, MANIFEST_COLUMNS, read_list, write_list
from maibench.datasets.wild.originals import Original
from maibench.errors import DiskError, ImageError, MaibenchError
from maibench.progress import Progress

FILES = {  # (repository, path) -> how Pillow saves the original
    ("ann/photos", "a plain.png"): {"format": "PNG"},
    ("ann/photos", "turned é.jpg"): {"format": "JPEG", "orientation": 6},
    ("ann/photos", "sub/said.jpg"): {"format": "JPEG", "comment": b"taken on a walk"},
    ("bob/pictures", "one.webp"): {"format": "WEBP"},
    ("bob/pictures", "two.png"): {"format": "PNG"},
}


def git(folder: Path, *arguments: str) -> str:
    who = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    return subprocess.run(
        ["git", "-C", str(folder), *who, *arguments], check=True, capture_output=True, text=True
    ).stdout


def commit(folder: Path) -> str:
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "files")
    return git(folder, "rev-parse", "HEAD").strip()


def original(texture, seed: int, format: str, orientation: int | None = None, **options: object) -> bytes:
    image = Image.fromarray(texture((90, 60), seed))
    if orientation:
        options["exif"] = image.getexif()
        options["exif"][0x0112] = orientation
    stream = io.BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


@pytest.fixture(scope="module")
def world(texture, tmp_path_factory) -> SimpleNamespace:
    """copies: OWNER/NAME with work trees. data: the crops, as their maker wrote them. listed: their list."""
    copies, data = tmp_path_factory.mktemp("copies"), tmp_path_factory.mktemp("data")
    (data / "images").mkdir()
    rows = []
    for seed, ((repository, path), options) in enumerate(FILES.items()):
        content, file = original(texture, seed, **options), copies / repository / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        box, stream = (13, 8 + seed, 13 + 40, 8 + seed + 32), io.BytesIO()
        upright = ImageOps.exif_transpose(Image.open(io.BytesIO(content))).convert("RGB")
        upright.crop(box).save(stream, "JPEG", quality=85 + seed, subsampling=2 * (seed % 2))
        crop, label = stream.getvalue(), int(repository == "bob/pictures")
        row = dict.fromkeys(MANIFEST_COLUMNS, "none stated") | {
            "image_id": sha256(crop).hexdigest(), "label": label, "generator": "sdxl" if label else "real",
            "source": f"{repository}:{seed}", "split": "test" if seed else "train", "width": 40, "height": 32,
            "format": "JPEG", "n_bytes": len(crop), "origin": repository, "origin_path": path,
            "origin_sha256": sha256(content).hexdigest(), "crop_left": box[0], "crop_top": box[1],
            "jpeg_quality": 85 + seed, "jpeg_subsampling": 2 * (seed % 2),
        }  # fmt: skip
        row["path"] = f"images/{row['image_id'][:16]}.jpg"
        (data / row["path"]).write_bytes(crop)
        rows.append(row)
    commits = {}
    for repository in ("ann/photos", "bob/pictures"):
        git(copies / repository, "init", "-q", "-b", "main")
        git(copies / repository, "config", "uploadpack.allowFilter", "true")
        git(copies / repository, "config", "uploadpack.allowAnySHA1InWant", "true")
        commits[repository] = commit(copies / repository)
    frame = pd.DataFrame(rows).sort_values("path", ignore_index=True)
    frame["origin_commit"] = frame["origin"].map(commits)
    frame.to_csv(data / "manifest.csv", index=False)
    assert write_list(data / "manifest.csv", data / "list.parquet") == 5
    return SimpleNamespace(copies=copies, data=data, listed=read_list(data / "list.parquet"))


def collect(world, out: Path, copies: object = None, fetch: str | None = None, **options: object) -> Summary:
    listed = options.pop("listed", world.listed)
    copies = [world.copies] if copies is None else copies
    return import_wild(copies, fetch, out, options.pop("progress", Progress()), listed, **options)


def same_files(out: Path, data: Path) -> bool:
    """All that `out` holds is what the maker of the crops wrote."""
    theirs = {file.name: file.read_bytes() for file in (data / "images").iterdir()}
    ours = {file.name: file.read_bytes() for file in (out / "images").iterdir()}
    here = sorted(os.listdir(out)) == ["images", "maibench.json", "manifest.csv"]
    return here and ours == theirs and (out / "manifest.csv").read_bytes() == (data / "manifest.csv").read_bytes()


def test_the_shipped_list_is_what_the_reference_results_were_measured_on():
    assert LIST.stat().st_size < 220_000
    listed = read_list()
    manifest = Manifest.from_frame(listed[list(MANIFEST_COLUMNS)], LIST.parent, "wild")
    assert manifest.fingerprint == "66367eaafc132c53"
    assert (len(listed), int((listed["label"] == 0).sum()), listed["origin"].nunique()) == (1296, 573, 18)
    sides = listed.groupby(["split", "label"]).size()
    assert sides.to_dict() == {
        ("train", 0): 331, ("train", 1): 370, ("validation", 0): 77, ("validation", 1): 55, ("test", 0): 165,
        ("test", 1): 298,
    }  # fmt: skip


def test_copies_give_the_listed_bytes(world, tmp_path):
    """Also of an original that EXIF turns and of one with a comment; again, nothing is made."""
    made = collect(world, tmp_path / "out")
    assert made.complete and made.computed == 5 and made.counts["byte-equal"] == 5
    assert same_files(tmp_path / "out", world.data)
    assert collect(world, tmp_path / "out").computed == 0
    assert open_wild(tmp_path / "out").name == open_data(str(tmp_path / "out")).name == "wild-5-of-1296"
    with pytest.raises(MaibenchError, match="nowhere: no such folder"):
        collect(world, tmp_path / "out", [tmp_path / "nowhere"])


def test_what_is_gone_is_named_and_taken_elsewhere_later(world, tmp_path):
    git(tmp_path, "clone", "-q", "--bare", str(world.copies / "ann/photos"), "some/ann+photos/repo")
    made = collect(world, tmp_path / "out", [tmp_path / "some"])
    assert not made.complete and made.counts["byte-equal"] == 3
    assert set(made.missing["origin"]) == {"bob/pictures"} and len(pd.read_csv(tmp_path / "out/missing.csv")) == 2
    assert "bob/pictures: 2 (test 2): no copy of it in" in made.described()
    assert len(open_wild(tmp_path / "out").rows) == 3
    assert collect(world, tmp_path / "out", [tmp_path / "some", world.copies]).computed == 2
    assert same_files(tmp_path / "out", world.data)


def test_another_file_is_never_taken_and_the_same_one_of_another_commit_is(world, tmp_path, texture):
    """The copy was made anew: no listed commit in it, `one.webp` as it was, `two.png` another picture."""
    copy = tmp_path / "pictures"
    shutil.copytree(world.copies / "bob/pictures", copy, ignore=shutil.ignore_patterns(".git"))
    (copy / "two.png").write_bytes(original(texture, 99, "PNG"))
    git(copy, "init", "-q")
    commit(copy)
    made = collect(world, tmp_path / "out", [tmp_path])
    assert made.counts["byte-equal"] == 1
    reasons = dict(zip(made.missing["origin_path"], made.missing["why"], strict=True))
    assert "two.png" in reasons and "sha256" in reasons["two.png"] and "one.webp" not in reasons


class Interrupted(Progress):
    def advance(self, count: int, note: str = "") -> None:
        raise KeyboardInterrupt


def test_an_interrupted_import_goes_on_and_a_damaged_crop_is_made_again(world, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        collect(world, tmp_path / "out", progress=Interrupted())
    there = list((tmp_path / "out/images").iterdir())
    assert there and not (tmp_path / "out/manifest.csv").exists()
    there[0].write_bytes(there[0].read_bytes()[:200])
    made = collect(world, tmp_path / "out")
    assert made.complete and made.computed == 5 - (len(there) - 1)
    assert same_files(tmp_path / "out", world.data)


def test_a_full_disk_loses_nothing(world, tmp_path):
    def mount(options: str) -> int:
        return subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", tmp_path], capture_output=True
        ).returncode

    if shutil.which("mount") is None or mount("size=8k"):
        pytest.skip("a small disk can be mounted by root only")
    try:
        with pytest.raises(DiskError, match="the disk is full; what was written is kept"):
            collect(world, tmp_path / "out")
        kept = len(list((tmp_path / "out").rglob("*.*")))
        assert 1 <= kept <= 2
        mount("remount,size=1m")
        assert collect(world, tmp_path / "out").computed == 5 - kept
        assert same_files(tmp_path / "out", world.data)
    finally:
        subprocess.run(["umount", "--lazy", tmp_path], check=True)


def test_git_fetches_only_what_is_listed_and_keeps_nothing(world, tmp_path):
    """One repository's listed commit is gone: its newest has the files."""
    listed = world.listed.copy()
    listed.loc[listed["origin"] == "bob/pictures", "origin_commit"] = "f" * 40
    made = collect(world, tmp_path / "out", [], "git", address=f"file://{world.copies}", listed=listed)
    assert made.complete and made.counts["byte-equal"] == 5, made.described()
    assert sorted(os.listdir(tmp_path / "out")) == ["images", "maibench.json", "manifest.csv"]

    row = world.listed.set_index("origin_path").loc["a plain.png"]
    one = Original("ann/photos", row["origin_commit"], "a plain.png", row["origin_sha256"])
    with Clones(f"file://{world.copies}", tmp_path).open("ann/photos", [one]) as read:
        (clone,) = tmp_path.glob(".clone-*")
        objects = git(clone, "cat-file", "--batch-all-objects", "--batch-check=%(objecttype)").split()
        assert objects.count("blob") == 1 and read(one)
    assert not list(tmp_path.glob(".clone-*"))


def test_a_copy_that_is_a_partial_clone_downloads_nothing(world, tmp_path):
    url = f"file://{world.copies / 'ann/photos'}"
    git(tmp_path, "clone", "-q", "--bare", "--filter=blob:none", url, "photos")
    made = collect(world, tmp_path / "out", [tmp_path])
    assert len(made.missing) == 5 and not (tmp_path / "out/manifest.csv").exists()


class Site(http.server.SimpleHTTPRequestHandler):
    """OWNER/NAME/REVISION/PATH out of OWNER/NAME/PATH; busy at the first request; has no two.png."""

    busy = True

    def do_GET(self) -> None:
        owner, name, _, path = self.path.removeprefix("/").split("/", 3)
        self.path = f"/{owner}/{name}/{path}"
        if type(self).busy:
            type(self).busy = False
            self.send_response(503)
            self.send_header("Retry-After", "0")
            self.end_headers()
        elif path == "two.png":
            self.send_error(404)
        else:
            super().do_GET()

    def log_message(self, *_: object) -> None:
        pass


def test_raw_files_over_http(world, tmp_path):
    handler = functools.partial(Site, directory=str(world.copies))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        made = collect(world, tmp_path / "out", [], "raw", address=address)
        server.shutdown()
    assert made.counts["byte-equal"] == 4 and list(made.missing["origin_path"]) == ["two.png"]
    assert "404" in made.missing["why"].iloc[0]


def test_a_server_that_is_not_there_is_named(world, tmp_path, monkeypatch):
    monkeypatch.setattr(raw, "WAITS", (0.0, 0.0))
    made = collect(world, tmp_path / "out", [], "raw", address="http://127.0.0.1:9")
    assert len(made.missing) == 5 and "http://127.0.0.1:9 cannot be reached" in made.described()


def test_crops_of_another_machine_are_compared_by_their_pixels(world, texture, tmp_path):
    row = next(world.listed.itertuples())
    crop = (world.data / row.path).read_bytes()
    assert agreement(crop[:2] + b"\xff\xfe\x00\x03a" + crop[2:], row) == PIXEL_EQUAL  # a comment more
    pixels = np.asarray(Image.open(io.BytesIO(crop)))

    def as_png(changed: np.ndarray) -> bytes:
        stream = io.BytesIO()
        Image.fromarray(changed).save(stream, "PNG")
        return stream.getvalue()

    noise = np.random.default_rng(0).integers(-1, 2, pixels.shape)
    assert agreement(as_png(np.clip(pixels + noise, 0, 255).astype(np.uint8)), row) == CLOSE
    for other in (pixels[::-1], texture((40, 32), 77), pixels[:-1]):
        with pytest.raises(ImageError, match="listed"):
            agreement(as_png(np.ascontiguousarray(other)), row)

    listed = world.listed.assign(image_id="0" * 64)
    made = collect(world, tmp_path / "out", listed=listed)
    assert made.complete and made.counts["pixel-equal"] == 5
    assert list(open_wild(tmp_path / "out").rows["image_id"]) == list(world.listed["image_id"])


@pytest.mark.parametrize(
    ("copies", "fetch", "says"),
    [([], None, "--copies DIR"), ([], "ftp", "git or raw"), (["nowhere"], None, "no such folder"),
     (["."], None, "holds no copy of ann/photos, bob/pictures; expected DIR/OWNER+NAME")],
)  # fmt: skip
def test_a_wrong_request_says_what_to_do(world, tmp_path, copies, fetch, says):
    with pytest.raises(MaibenchError, match=says.replace("+", r"\+")):
        collect(world, tmp_path / "out", [tmp_path / copy for copy in copies], fetch)


def test_other_data_is_not_written_into(world, data_set, tmp_path, monkeypatch):
    with pytest.raises(MaibenchError, match="holds another data set"):
        collect(world, data_set(tmp_path / "mine").parent)
    monkeypatch.setenv("MAIBENCH_CACHE", str(tmp_path))
    with pytest.raises(MaibenchError, match="maibench data import wild"):
        open_wild()
