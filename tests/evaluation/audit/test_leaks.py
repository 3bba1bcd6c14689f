"""Copies, near-duplicates and sources planted in two splits, or twice in one."""

import hashlib
import io

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from maibench.datasets.images import FolderImages
from maibench.datasets.manifest import Manifest
from maibench.evaluation.audit.leaks import ids_part, leaks_part
from maibench.evaluation.audit.measure import measure

N = 24


def picture(seed):
    small = Image.fromarray(np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8))
    return small.resize((96, 96), Image.Resampling.BICUBIC)


@pytest.fixture
def rows(tmp_path):
    """N unlike images, a source each, half of them synthetic; two thirds train, the rest test."""
    for at in range(N):
        picture(at).save(tmp_path / f"{at:02d}.png")
    generator = ["real" if at % 2 == 0 else "sdxl" for at in range(N)]
    return pd.DataFrame(
        {
            "path": [f"{at:02d}.png" for at in range(N)],
            "label": [at % 2 for at in range(N)],
            "generator": generator,
            "source": [f"photo {at}" for at in range(N)],
            "split": ["train"] * 16 + ["test"] * 8,
        }
    )


def audited(rows, folder, kind=FolderImages, **more):
    manifest = Manifest.from_frame(rows, folder, "planted", images=kind(folder))
    facts = measure(manifest, manifest.rows, ["likeness"]).facts
    part = leaks_part(facts, manifest, **more)
    return part, {finding.name: finding for finding in part.findings}, ids_part(facts, manifest)


def recompressed(folder, of, to, quality=60):
    Image.open(folder / f"{of:02d}.png").resize((128, 128)).save(folder / f"{to:02d}.png", "JPEG", quality=quality)


def test_nothing_is_blamed_where_nothing_is_shared(rows, tmp_path):
    part, found, ids = audited(rows, tmp_path)
    assert {name: finding.light for name, finding in found.items()} == {
        "exact copies": "green",
        "near-duplicates": "green",
        "sources in two splits": "green",
    }
    assert part.shots == [] and part.grids[0].rows == [["nothing", "any two", 0, 0]]
    assert {finding.light for finding in ids.findings} == {"green"}


def test_what_two_splits_share_is_red_and_counted_once(rows, tmp_path):
    (tmp_path / "20.png").write_bytes((tmp_path / "00.png").read_bytes())
    recompressed(tmp_path, 2, 22)
    recompressed(tmp_path, 2, 23, quality=80)
    rows.loc[21, "source"] = rows["source"][5]
    part, found, ids = audited(rows, tmp_path)
    assert {finding.light for finding in part.findings} == {"red"}
    assert part.grids[0].rows == [
        ["exact copies", "train and test", 1, 1],
        ["near-duplicates", "train and test", 1, 2],
        ["one source", "train and test", 1, 1],
    ]
    assert (
        "1 image of train and 2 of test" in found["near-duplicates"].says
        and "data split" in found["sources in two splits"].todo
    )
    assert [finding.name for finding in ids.findings if finding.light == "red"] == [
        "exact copies",
        "sources in two splits",
    ]
    titles = [shot.title for shot in part.shots]
    assert titles == [
        "Exact copies in two splits",
        "Near-duplicates in two splits",
        "Near-duplicates of two sources in one split",
    ]
    sheet = np.asarray(Image.open(io.BytesIO(part.shots[1].png)).convert("RGB"), dtype=float)
    left, right = sheet[25:150, 10:135], sheet[25:150, 152:277]
    assert np.abs(left - right).mean() < 6 < np.abs(left).std()  # the pair, side by side


def test_look_alikes_in_one_split_are_yellow_unless_they_share_a_source(rows, tmp_path):
    recompressed(tmp_path, 2, 4)
    _, found, _ = audited(rows, tmp_path)
    assert found["near-duplicates"].light == "yellow"
    assert "2 images have a look-alike of another source" in found["near-duplicates"].says
    rows.loc[4, "source"] = rows["source"][2]
    _, found, _ = audited(rows, tmp_path)
    assert found["near-duplicates"].light == "green"
    (tmp_path / "06.png").write_bytes((tmp_path / "08.png").read_bytes())
    _, found, _ = audited(rows, tmp_path)
    assert found["exact copies"].light == "yellow" and "2 images have" in found["exact copies"].says


def test_one_file_as_real_and_as_synthetic_is_named(rows, tmp_path):
    (tmp_path / "03.png").write_bytes((tmp_path / "00.png").read_bytes())
    _, found, ids = audited(rows, tmp_path)
    assert found["copies with two labels"].light == "red"
    assert "00.png, 03.png" in found["copies with two labels"].says
    assert "copies with two labels" in [finding.name for finding in ids.findings]


def test_flat_images_are_near_to_nothing_and_absent_sources_are_said(rows, tmp_path):
    for at in (1, 17):
        Image.new("RGB", (64, 64), (at, at, at)).save(tmp_path / f"{at:02d}.png")
    _, found, _ = audited(rows.drop(columns="source"), tmp_path)
    assert found["near-duplicates"].light == "green" and "2 too flat" in found["near-duplicates"].says
    assert found["sources in two splits"].light == "grey" and found["sources in two splits"].todo


def test_a_copy_whose_bytes_only_the_list_knows_is_found(rows, tmp_path):
    (tmp_path / "20.png").write_bytes((tmp_path / "00.png").read_bytes())
    known = [hashlib.sha256((tmp_path / path).read_bytes()).hexdigest() for path in rows["path"]]
    manifest = Manifest.from_frame(rows.assign(image_id=known), tmp_path, "listed")
    facts = measure(manifest, manifest.split("test"), ["likeness"]).facts
    for part in (ids_part(facts, manifest), leaks_part(facts, manifest)):
        assert part.findings[0].says == "in two splits: 1 image of train and 1 of test"
    unknown = Manifest.from_frame(rows, tmp_path, "unlisted")
    assert ids_part(facts, unknown).findings[0].light == "grey"


def test_a_gallery_can_name_any_file(rows, tmp_path):
    odd = "\x1b[31mnew\nline \u202e日本.png"
    (tmp_path / "22.png").rename(tmp_path / odd)
    rows.loc[22, "path"] = odd
    Image.open(tmp_path / "02.png").save(tmp_path / odd, "JPEG", quality=60)
    part, _, _ = audited(rows, tmp_path)
    assert len(part.shots) == 1


def test_images_that_can_only_be_read_forward_have_no_gallery(rows, tmp_path):
    class Forward(FolderImages):
        in_order = True

    recompressed(tmp_path, 2, 22)
    part, found, _ = audited(rows, tmp_path, kind=Forward)
    assert found["near-duplicates"].light == "red" and part.shots == []
    assert any("can only be read forward" in note for note in part.grids[0].notes)


def test_an_image_that_went_away_leaves_its_place_in_the_gallery(rows, tmp_path):
    recompressed(tmp_path, 2, 22)
    manifest = Manifest.from_frame(rows, tmp_path, "planted")
    facts = measure(manifest, manifest.rows, ["likeness"]).facts
    (tmp_path / "22.png").unlink()
    assert len(leaks_part(facts, manifest).shots) == 1


def test_embeddings_that_are_near_in_two_splits_are_shown_not_judged(rows, tmp_path):
    vectors = np.eye(N, dtype=np.float32)
    part, found, _ = audited(rows, tmp_path, embeddings=vectors)
    assert found["look-alikes by embedding"].light == "green"
    vectors[20] = (vectors[3] + 0.1 * vectors[20]) / np.hypot(1, 0.1)
    part, found, _ = audited(rows, tmp_path, embeddings=vectors)
    assert found["look-alikes by embedding"].light == "yellow"
    assert "2 images have one" in found["look-alikes by embedding"].says
    assert [shot.title for shot in part.shots] == ["Look-alikes by embedding in two splits"]
