"""Which photographs get twins."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

from maibench.datasets.images import FolderImages
from maibench.datasets.manifest import Manifest
from maibench.datasets.readers import open_data
from maibench.datasets.storage import UNCOMPRESSED
from maibench.datasets.twins.choose import Gate, check_photographs, choose_photos, fitted, shares_of
from maibench.datasets.twins.folder import TwinsFolder
from maibench.errors import ImageError, MaibenchError
from maibench.progress import Progress

ANY = Gate(most=100, size=64, smallest=80, licences=(), shares=(0.5, 0.25, 0.25), seed=0)


@pytest.fixture
def chosen(tmp_path):
    """chosen(manifest, **changes of the gate) -> the photographs, and why the others were refused."""

    def choose(manifest, **changes):
        folder = TwinsFolder(tmp_path / f"out-{len(list(tmp_path.iterdir()))}")
        folder.begin({})
        return choose_photos(manifest, Gate(**{**vars(ANY), **changes}), folder, UNCOMPRESSED, Progress())

    return choose


@pytest.fixture
def listed(data_set):
    """listed(n, ...) -> a manifest of n photographs of 100 x 100."""
    return lambda n, **more: open_data(str(data_set(n_real=n, n_synthetic=0, size=(100, 100), **more)))


def changed(manifest, **columns):
    return Manifest.from_frame(manifest.rows.assign(**columns), manifest.root, "changed")


def test_each_gate_refuses_with_a_reason(chosen, write_image, texture, tmp_path):
    data = tmp_path / "data" / "real"
    for seed in range(6):
        write_image(data / f"{seed}.png", (120, 100), seed)
    for seed in (2, 4):  # recompressed, and resized
        Image.fromarray(texture((120, 100), seed)).resize((180, 150)).save(data / f"{seed}-again.jpg", quality=60)
    (data / "5-copy.png").write_bytes((data / "5.png").read_bytes())
    write_image(data / "small.png", (120, 79), 7)
    (data / "torn.png").write_bytes((data / "1.png").read_bytes()[:2000])
    (data / "empty.png").touch()
    Image.new("RGB", (120, 100), (90, 90, 90)).save(data / "blank.png")
    Image.new("RGB", (120, 100)).save(data / "black.png")
    photos, refused = chosen(open_data(str(tmp_path / "data")))
    for name, reason in {
        "small": "120 x 79 pixels: smaller than 80 a side", "torn": "cannot be decoded", "empty": "0 bytes",
        "blank": "blank: a single colour", "black": "black",
    }.items():  # fmt: skip
        assert reason in refused.pop(f"real/{name}.png")
    assert sorted(photo.path[5] for photo in photos) == list("012345")
    assert {path[5] for path in refused} == set("245")
    assert all("chosen before" in reason for reason in refused.values())


def test_licences_are_compared_however_they_are_written(chosen, listed):
    manifest = listed(5)
    with pytest.raises(MaibenchError, match="no column licence"):
        check_photographs(manifest, ("CC0-1.0",))
    zero = "https://creativecommons.org/publicdomain/zero/1.0/"
    manifest = changed(manifest, licence=["cc0", zero, "MIT", None, ""])
    photos, refused = chosen(manifest, licences=("CC0-1.0", "CC BY 4.0"))
    assert sorted(photo.path for photo in photos) == manifest.rows["path"].tolist()[:2]
    assert sorted(refused.values()) == ["no licence", "no licence", "the licence 'MIT' is not one that is taken"]
    with pytest.raises(MaibenchError, match="none of the 5 photographs can be used"):
        chosen(manifest, licences=("CC-BY-4.0",))
    with pytest.raises(MaibenchError, match="has no real photographs"):
        check_photographs(changed(manifest, label=1, generator="x"), ())


def test_splits_are_the_sources_own_or_a_hash_of_the_source(chosen, listed):
    manifest = listed(12, splits=("train", "test"))
    assert (shares_of(manifest, "auto"), shares_of(manifest, "own")) == (None, None)
    own, _ = chosen(manifest, shares=None)
    assert all(photo.path.startswith(photo.split) for photo in own)
    drawn = {photo.source: photo.split for photo in chosen(manifest)[0]}
    assert set(drawn.values()) == {"train", "validation", "test"}
    fewer = Manifest.from_frame(manifest.rows.iloc[5:], manifest.root, "fewer")
    assert {photo.source: photo.split for photo in chosen(fewer, most=9)[0]}.items() <= drawn.items()
    with pytest.raises(MaibenchError, match="--shares"):
        shares_of(manifest, "80,10")
    leaky, refused = chosen(changed(manifest, source="one scene"), shares=None)
    assert (len({photo.split for photo in leaky}), len(leaky)) == (1, 12)
    assert all("'one scene' lies in two splits" in reason for reason in refused.values())


def test_a_source_that_only_goes_forward_is_read_in_its_order(chosen, listed):
    manifest, read = listed(6), []

    class Forward(FolderImages):
        in_order = True

        def read(self, path):
            read.append(path)
            return super().read(path)

    photos, _ = chosen(dataclasses.replace(manifest, images=Forward(manifest.root)), most=4)
    assert [photo.path for photo in photos] == read == manifest.rows["path"].tolist()[:4]


@pytest.mark.parametrize(("width", "height"), [(64, 64), (65, 64), (64, 97), (640, 100), (101, 333)])
def test_what_is_stored_is_the_middle_and_square(width, height):
    pixels = np.zeros((height, width, 3), dtype=np.uint8)
    pixels[height // 2 - 5 : height // 2 + 5, width // 2 - 5 : width // 2 + 5] = 255
    stored = fitted(pixels, 64)
    assert stored.shape == (64, 64, 3) and stored[32, 32].min() > 250
    with pytest.raises(ImageError, match="smaller than the 128 a side"):
        fitted(pixels[:100, :100], 128)
