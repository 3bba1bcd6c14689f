"""Perturbations, against Pillow and numpy, and the promises: deterministic, per image, in order, input untouched."""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFilter

from maibench.datasets.perturb import Perturbation, parse_perturbation
from maibench.errors import ImageError, MaibenchError

EVERY_KIND = [
    "none", "jpeg:75", "webp:80", "resize:0.5", "blur:1.0", "noise:5", "crop:0.8", "longest:40", "sharpen:50", "flip:1",
    "rot90:1",
]  # fmt: skip
CHAINS = st.lists(st.sampled_from(EVERY_KIND[1:]), min_size=1, max_size=3).map("+".join)


@pytest.fixture(scope="module")
def photo(texture) -> np.ndarray:
    pixels = texture((70, 50), 4)
    pixels.setflags(write=False)
    return pixels


def disturbed(name: str, pixels: np.ndarray, image_id: str = "id") -> np.ndarray:
    return parse_perturbation(name)(pixels, image_id)


class TestParse:
    def test_a_chain(self):
        steps = (("resize", 0.5), ("jpeg", 75.0))
        assert parse_perturbation("resize:0.5+jpeg:75") == Perturbation("resize:0.5+jpeg:75", steps)

    def test_none_has_no_steps(self):
        assert parse_perturbation("none") == Perturbation("none", ())

    def test_spaces_make_no_other_perturbation(self):
        assert parse_perturbation(" resize:0.5 + jpeg:75 ") == parse_perturbation("resize:0.5+jpeg:75")

    @pytest.mark.parametrize("name", ["gamma:3", "JPEG:75", "", "jpeg:75+", "jpeg:75++noise:1", "75", "none+jpeg:75"])
    def test_an_unknown_kind(self, name):
        with pytest.raises(MaibenchError, match=r"unknown perturbation '.*': there are none, jpeg, webp, resize, blur"):
            parse_perturbation(name)

    @pytest.mark.parametrize(
        ("kind", "values"),
        [
            ("jpeg", ["", "high", "0", "101", "nan", "inf", "75.5", "7:5"]),
            ("webp", ["0", "101", "80.1"]),
            ("resize", ["0", "-1", "9"]),
            ("blur", ["-1", "51"]),
            ("noise", ["-1", "200"]),
            ("crop", ["0", "1.1"]),
            ("longest", ["0", "15", "100.5", "65501"]),
            ("sharpen", ["-1", "501", "2.5"]),
            ("flip", ["-1", "2", "0.5"]),
            ("rot90", ["0", "4", "1.5"]),
        ],
    )
    def test_a_value_out_of_range(self, kind, values):
        for step in [kind, *(f"{kind}:{value}" for value in values)]:
            for name in (step, f"blur:1+{step}"):
                with pytest.raises(MaibenchError, match=rf"perturbation '{step}': the value is .+, from .+ to .+"):
                    parse_perturbation(name)

    @pytest.mark.parametrize("name", ["jpeg:1", "jpeg:100", "jpeg:75.0", "resize:8", "blur:0", "noise:0", "crop:1"])
    def test_the_ends_of_the_range_belong_to_it(self, name):
        assert len(parse_perturbation(name).steps) == 1


class TestEachKind:
    def test_none_is_the_image_itself(self, photo):
        np.testing.assert_array_equal(disturbed("none", photo), photo)

    @pytest.mark.parametrize(("name", "settings"), [("jpeg", "JPEG"), ("webp", "WEBP")])
    @pytest.mark.parametrize("quality", [10, 75, 95])
    def test_a_codec_is_pillows_own_at_that_quality(self, photo, name, settings, quality):
        stream = io.BytesIO()
        Image.fromarray(photo).save(stream, settings, quality=quality)
        with Image.open(stream) as image:
            np.testing.assert_array_equal(disturbed(f"{name}:{quality}", photo), np.asarray(image.convert("RGB")))

    @pytest.mark.parametrize("name", ["jpeg", "webp"])
    def test_a_lower_quality_is_further_from_the_image(self, photo, name):
        errors = [np.abs(disturbed(f"{name}:{q}", photo).astype(int) - photo).mean() for q in (95, 60, 20)]
        assert errors == sorted(errors)
        assert errors[0] > 0

    @pytest.mark.parametrize(
        ("scale", "shape"), [("0.5", (25, 35, 3)), ("2", (100, 140, 3)), ("0.05", (2, 4, 3)), ("1", (50, 70, 3))]
    )
    def test_resize_scales_both_sides(self, photo, scale, shape):
        resized = disturbed(f"resize:{scale}", photo)
        assert resized.shape == shape
        expected = Image.fromarray(photo).resize((shape[1], shape[0]), Image.Resampling.BICUBIC)
        np.testing.assert_array_equal(resized, np.asarray(expected))

    @pytest.mark.parametrize("name", ["resize:0.05", "crop:0.05"])
    def test_a_pixel_at_least_is_left(self, name):
        assert disturbed(name, np.zeros((3, 2, 3), np.uint8)).shape == (1, 1, 3)

    def test_crop_keeps_the_middle(self, photo):
        np.testing.assert_array_equal(disturbed("crop:0.8", photo), photo[5:45, 7:63])
        np.testing.assert_array_equal(disturbed("crop:1", photo), photo)

    def test_blur_is_pillows_gaussian(self, photo):
        expected = Image.fromarray(photo).filter(ImageFilter.GaussianBlur(1.5))
        np.testing.assert_array_equal(disturbed("blur:1.5", photo), np.asarray(expected))
        assert disturbed("blur:1.5", photo).std() < photo.std()

    @pytest.mark.parametrize("sigma", [2, 5, 20])
    def test_noise_has_its_sigma_and_no_bias(self, sigma):
        grey = np.full((200, 200, 3), 128, np.uint8)
        noise = disturbed(f"noise:{sigma}", grey).astype(float) - 128
        assert noise.std() == pytest.approx(np.sqrt(sigma**2 + 1 / 12), rel=0.02)  # 1/12: rounding to whole levels
        assert abs(noise.mean()) < 5 * sigma / np.sqrt(noise.size)
        channels = noise.reshape(-1, 3).T
        assert np.abs(np.corrcoef(channels) - np.eye(3)).max() < 0.03

    def test_noise_is_clipped_and_does_not_wrap_around(self):
        # 20 grey levels are twenty sigmas here: a pixel on the other side would have wrapped
        assert disturbed("noise:1", np.full((50, 50, 3), 255, np.uint8)).min() > 235
        assert disturbed("noise:1", np.zeros((50, 50, 3), np.uint8)).max() < 20

    @pytest.mark.parametrize(
        ("size", "most", "shape"),
        [
            ((70, 50), 35, (25, 35, 3)),
            ((50, 70), 35, (35, 25, 3)),
            ((70, 50), 69, (49, 69, 3)),  # 49.29
            ((2000, 100), 1080, (54, 1080, 3)),
            ((2000, 10), 16, (1, 16, 3)),  # a pixel at least is left
        ],
    )
    def test_longest_shrinks_to_that_side(self, texture, size, most, shape):
        pixels = texture(size, 1)
        expected = Image.fromarray(pixels).resize((shape[1], shape[0]), Image.Resampling.LANCZOS)
        np.testing.assert_array_equal(disturbed(f"longest:{most}", pixels), np.asarray(expected))

    @pytest.mark.parametrize("most", [70, 71, 1080])
    def test_longest_never_enlarges(self, photo, most):
        np.testing.assert_array_equal(disturbed(f"longest:{most}", photo), photo)

    @pytest.mark.parametrize("percent", [1, 30, 50, 150])
    def test_sharpen_adds_the_difference_from_the_blurred_image(self, photo, percent):
        blurred = np.asarray(Image.fromarray(photo).filter(ImageFilter.GaussianBlur(1))).astype(int)
        added = np.trunc((photo.astype(int) - blurred) * percent / 100)
        np.testing.assert_array_equal(disturbed(f"sharpen:{percent}", photo), np.clip(photo + added, 0, 255))

    def test_sharpen_by_nothing(self, photo):
        np.testing.assert_array_equal(disturbed("sharpen:0", photo), photo)

    def test_flip_and_rot90_move_pixels_and_change_none(self, photo):
        np.testing.assert_array_equal(disturbed("flip:0", photo), photo[::-1])
        np.testing.assert_array_equal(disturbed("flip:1", photo), photo[:, ::-1])
        np.testing.assert_array_equal(disturbed("rot90:1", photo), photo.transpose(1, 0, 2)[::-1])  # anticlockwise
        np.testing.assert_array_equal(disturbed("rot90:2", photo), photo[::-1, ::-1])
        np.testing.assert_array_equal(disturbed("rot90:3", photo), photo[::-1].transpose(1, 0, 2))

    @pytest.mark.parametrize(("name", "shape"), [("webp:80", (2, 17_000, 3)), ("jpeg:80", (2, 66_000, 3))])
    def test_an_image_that_the_codec_cannot_hold_is_a_failed_image(self, name, shape):
        with pytest.raises(ImageError, match=rf"{shape[1]} x 2 pixels cannot be stored as (WEBP|JPEG)"):
            disturbed(name, np.zeros(shape, np.uint8))


class TestPromises:
    @settings(max_examples=25, deadline=None)
    @given(name=CHAINS, image_id=st.text(max_size=8))
    def test_two_runs_disturb_alike(self, photo, name, image_id):
        np.testing.assert_array_equal(disturbed(name, photo, image_id), disturbed(name, photo, image_id))

    def test_noise_is_the_same_on_every_machine(self):
        # PCG64 seeded with sha256 of "id:0:noise:5.0", worked out apart from the package
        row = disturbed("noise:5", np.full((1, 3, 3), 128, np.uint8), "id").ravel().tolist()
        assert row == [135, 132, 130, 129, 128, 122, 124, 123, 120]

    def test_threads_and_order_have_no_effect(self, texture):
        """The same image under the same id, among others, in any order and from any thread."""
        jobs = [(name, texture((60, 50), seed), f"image-{seed}") for name in EVERY_KIND for seed in range(3)]
        expected = [disturbed(*job) for job in jobs]
        with ThreadPoolExecutor(8) as pool:
            results = list(pool.map(lambda job: disturbed(*job), reversed(jobs)))
        for alone, among_others in zip(expected, reversed(results), strict=True):
            np.testing.assert_array_equal(alone, among_others)

    def test_another_process_disturbs_alike(self, photo, tmp_path):
        np.save(tmp_path / "photo.npy", photo)
        program = (
            "import sys, hashlib, numpy as np; from maibench.datasets.perturb import parse_perturbation\n"
            "photo = np.load(sys.argv[1])\n"
            "for name in sys.argv[2:]:\n"
            "    print(hashlib.sha256(parse_perturbation(name)(photo, 'id').tobytes()).hexdigest())"
        )
        command = [sys.executable, "-c", program, str(tmp_path / "photo.npy"), *EVERY_KIND]
        there = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
        assert there == [hashlib.sha256(disturbed(name, photo).tobytes()).hexdigest() for name in EVERY_KIND]

    def test_images_get_noise_of_their_own(self, photo):
        noises = [disturbed("noise:5", photo, image_id) for image_id in ("a", "b")]
        assert (noises[0] != noises[1]).mean() > 0.5

    def test_two_steps_of_noise_are_independent(self):
        grey = np.full((200, 200, 3), 128, np.uint8)
        twice = disturbed("noise:5+noise:5", grey).astype(float) - 128
        assert twice.std() == pytest.approx(5 * np.sqrt(2), rel=0.03)

    @settings(max_examples=25, deadline=None)
    @given(first=st.sampled_from(EVERY_KIND[1:]), second=st.sampled_from([k for k in EVERY_KIND[1:] if k != "noise:5"]))
    def test_a_chain_is_its_steps_one_after_the_other(self, photo, first, second):
        chained = disturbed(f"{first}+{second}", photo)
        np.testing.assert_array_equal(chained, disturbed(second, disturbed(first, photo)))

    def test_the_order_of_a_chain_matters(self, photo):
        one, other = disturbed("blur:2+jpeg:20", photo), disturbed("jpeg:20+blur:2", photo)
        assert (one != other).any()

    @pytest.mark.parametrize("name", [*EVERY_KIND, "noise:5+crop:0.5+jpeg:75", "crop:1", "resize:1", "blur:0"])
    def test_the_input_stays_as_it_was_and_the_result_is_read_only(self, texture, name):
        pixels = texture((40, 30), 6)
        before = pixels.copy()
        result = disturbed(name, pixels)
        np.testing.assert_array_equal(pixels, before)
        assert pixels.flags.writeable
        assert result.dtype == np.uint8
        with pytest.raises(ValueError, match="read-only"):
            result[0, 0, 0] = 0
