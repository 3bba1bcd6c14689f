"""Attacks: within eps, against the label, the same every time, and what they do in a whole comparison."""

import hashlib
import importlib.util
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import maibench
from maibench.config import make_config
from maibench.datasets.readers import open_data
from maibench.errors import ImageError, MaibenchError
from maibench.evaluation import attacks
from maibench.evaluation.attacks import PGD_STEP_SHARE, PGD_STEPS, attackable, make_attacks, pixel_gradient
from maibench.evaluation.compare import _key, _open, _perturbations, run_comparison
from maibench.evaluation.detectors import Requested
from maibench.evaluation.pipeline import Job, load, prepare
from maibench.evaluation.scoring import Entry, make_plan, score
from maibench.evaluation.store import PredictionStore, read_predictions
from maibench.models.backends.choose import TORCH
from maibench.models.loading import fingerprint, load_detector
from maibench.progress import Progress

REQUESTS = ["attack:fgsm:2", "attack:pgd:2"]


class Linear(maibench.Detector):
    """logit = the mean of weights * pixels: the best attack is known, every pixel goes by the sign of its weight."""

    card = maibench.Card(name="linear")

    def __init__(self, size=(12, 10), seed=0):
        super().__init__()
        weights = torch.randn(3, *size, generator=torch.Generator().manual_seed(seed))
        self.register_buffer("weights", weights)

    def preprocess(self, image):
        return self.differentiable(torch.from_numpy(image.copy()).permute(2, 0, 1).float())

    def differentiable(self, pixels):
        return pixels / 255

    def forward(self, batch):
        return (batch * self.weights).mean(dim=(1, 2, 3))


class Small(maibench.Detector):
    """A network of two layers that stands for any: curved, so that one step is not the best."""

    card = maibench.Card(name="small")

    def __init__(self):
        super().__init__()
        torch.manual_seed(4)
        self.layers = nn.Sequential(
            nn.Conv2d(3, 16, 3, stride=2), nn.Tanh(), nn.Conv2d(16, 16, 3), nn.Tanh(), nn.AdaptiveAvgPool2d(1),
            nn.Flatten(), nn.Linear(16, 1),
        )  # fmt: skip

    def preprocess(self, image):
        return self.differentiable(torch.from_numpy(image.copy()).permute(2, 0, 1).float())

    def differentiable(self, pixels):
        return pixels / 32 - 4

    def forward(self, batch):
        return 50 * self.layers(batch).squeeze(1)


def attack(request, detector, label="it"):
    return make_attacks([request], {label: detector})[request][0]


def logit(detector, image):
    with torch.inference_mode():
        return float(detector(detector.collate([detector.preprocess(image)])))


@pytest.fixture(scope="module")
def images(texture):
    return [texture((40, 32), seed) for seed in range(12)]


@pytest.fixture(scope="module")
def small():
    return Small().eval()


class TestOneImage:
    @pytest.mark.parametrize("request_", ["attack:fgsm:1", "attack:fgsm:7", "attack:pgd:1", "attack:pgd:7"])
    @pytest.mark.parametrize("label", [0, 1])
    def test_within_eps_and_the_range(self, small, images, request_, label):
        eps = int(request_.rpartition(":")[2])
        for image in [*images[:3], np.zeros((32, 40, 3), np.uint8), np.full((32, 40, 3), 255, np.uint8)]:
            before = image.copy()
            result = attack(request_, small)(image, "id", label)
            assert (result.dtype, result.shape) == (np.uint8, image.shape)
            distance = np.abs(result.astype(int) - image)
            assert 0 < distance.max() <= eps
            np.testing.assert_array_equal(image, before)
            assert not result.flags.writeable

    @pytest.mark.parametrize("request_", ["attack:fgsm:3", "attack:pgd:3"])
    @pytest.mark.parametrize("label", [0, 1])
    def test_of_a_linear_detector_the_best_there_is(self, request_, label):
        linear = Linear()
        image = np.random.default_rng(0).integers(0, 256, (12, 10, 3), dtype=np.uint8)
        away = -1 if label else 1
        best = image + 3 * away * torch.sign(linear.weights).permute(1, 2, 0).numpy()
        np.testing.assert_array_equal(attack(request_, linear)(image, "id", label), np.clip(best, 0, 255))

    @pytest.mark.parametrize("request_", REQUESTS)
    def test_away_from_the_label_whichever_it_is(self, small, images, request_):
        made = attack(request_, small)
        for image in images[:6]:
            assert logit(small, made(image, "id", 1)) < logit(small, image) < logit(small, made(image, "id", 0))

    def test_steps_beat_one_step(self, small, images):
        fgsm, pgd = (attack(request, small) for request in ("attack:fgsm:8", "attack:pgd:8"))
        gains = [
            [abs(logit(small, made(image, str(index), 1)) - logit(small, image)) for made in (fgsm, pgd)]
            for index, image in enumerate(images)
        ]
        one, many = np.mean(gains, axis=0)
        assert many > one

    def test_pgd_can_reach_the_far_side_from_any_start(self):
        assert PGD_STEPS * PGD_STEP_SHARE >= 2

    def test_a_very_sure_detector_can_be_attacked(self, images):
        """Cross-entropy has no gradient left in float32 where the logit is 1,000."""

        class Sure(Linear):
            def forward(self, batch):
                return super().forward(batch) + 1000

        sure = Sure((32, 40))
        assert np.abs(pixel_gradient(sure, np.zeros((3, 32, 40), np.float32), 1)).max() > 0
        assert logit(sure, attack("attack:fgsm:2", sure)(images[0], "id", 1)) < logit(sure, images[0])


class TestTheSameEveryTime:
    @pytest.mark.parametrize("request_", REQUESTS)
    def test_threads_and_order_have_no_effect(self, small, images, request_):
        made = attack(request_, small)
        jobs = [(image, f"image-{index}", index % 2) for index, image in enumerate(images)]
        expected = [made(*job) for job in jobs]
        with ThreadPoolExecutor(6) as pool:
            results = list(pool.map(lambda job: made(*job), reversed(jobs)))
        for alone, among_others in zip(expected, reversed(results), strict=True):
            np.testing.assert_array_equal(alone, among_others)

    @pytest.mark.parametrize("name", ["bailu", "mai_cnn", "moondream"])
    def test_the_number_of_cores_has_none_either(self, name, texture):
        """While the main thread scores, as in a run."""
        detector = load_detector(name)
        made = attack("attack:fgsm:2", detector)
        image = texture((256, 256), 1)
        threads = torch.get_num_threads()
        try:
            results = []
            for count in (1, 2):
                torch.set_num_threads(count)
                with ThreadPoolExecutor(2) as pool:
                    futures = [pool.submit(made, image, "id", 1) for _ in range(2)]
                    logit(detector, image)
                    results += [future.result() for future in futures]
                assert torch.get_num_threads() == count
        finally:
            torch.set_num_threads(threads)
        assert all((result == results[0]).all() for result in results)

    def test_the_start_of_pgd_is_the_images_own(self, small, images):
        made = attack("attack:pgd:4", small)
        first, again, other = (made(images[0], image_id, 1) for image_id in ("a", "a", "b"))
        np.testing.assert_array_equal(first, again)
        assert (first != other).any()

    def test_another_process_attacks_alike(self, texture, tmp_path):
        image = texture((90, 80), 3)
        np.save(tmp_path / "image.npy", image)
        program = (
            "import sys, hashlib, numpy as np\n"
            "from maibench.evaluation.attacks import make_attacks\n"
            "from maibench.models.loading import load_detector\n"
            "made = make_attacks(['attack:pgd:2'], {'mai_cnn': load_detector('mai_cnn')})['attack:pgd:2'][0]\n"
            "print(hashlib.sha256(made(np.load(sys.argv[1]), 'id', 1).tobytes()).hexdigest())"
        )
        command = [sys.executable, "-c", program, str(tmp_path / "image.npy")]
        there = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
        here = attack("attack:pgd:2", load_detector("mai_cnn"), "mai_cnn")(image, "id", 1)
        assert there == hashlib.sha256(here.tobytes()).hexdigest()

    def test_the_detector_stays_as_it_was(self, small, images):
        before = fingerprint(small)
        for request in REQUESTS:
            attack(request, small)(images[0], "id", 0)
        assert fingerprint(small) == before
        assert not small.training
        assert all(parameter.grad is None and parameter.requires_grad for parameter in small.parameters())

    def test_in_inference_mode_too(self, small, images):
        made = attack("attack:fgsm:2", small)
        expected = made(images[0], "id", 1)
        with torch.inference_mode():
            np.testing.assert_array_equal(made(images[0], "id", 1), expected)


class TestWhoIsAttacked:
    def test_every_detector_that_can_be(self, dummies):
        detectors = {name: load_detector(f"{dummies}:{name}") for name in ("Attackable", "Brightness")}
        detectors |= {"metadata": load_detector("metadata"), "bailu": load_detector("bailu")}
        assert [label for label, detector in detectors.items() if attackable(detector)] == ["Attackable", "bailu"]
        made = make_attacks(REQUESTS, detectors)
        assert [attack.name for attack in made["attack:pgd:2"]] == ["attack:pgd:2@Attackable", "attack:pgd:2@bailu"]
        assert made["attack:fgsm:2"][1].fingerprint == fingerprint(detectors["bailu"])

    def test_none_is_an_error_that_says_what_to_write(self, dummies):
        detectors = {"metadata": load_detector("metadata"), "mine": load_detector(f"{dummies}:Brightness")}
        message = r"attack:pgd:2: no detector of this run can be attacked: mine: Brightness has no differentiable"
        with pytest.raises(MaibenchError, match=message):
            make_attacks(["attack:pgd:2"], detectors)
        with pytest.raises(MaibenchError, match="none of the detectors sees pixels"):
            make_attacks(["attack:pgd:2"], {"metadata": detectors["metadata"]})

    def test_without_a_request_nothing_is_needed(self):
        assert make_attacks([], {}) == {}

    def test_without_the_toolbox(self, small, monkeypatch):
        found = importlib.util.find_spec
        without = {"art": None, "art.attacks": None}
        monkeypatch.setattr(attacks, "find_spec", lambda name: without[name] if name in without else found(name))
        with pytest.raises(MaibenchError, match=r"pip install 'maibench\[attack\]'"):
            make_attacks(REQUESTS, {"small": small})

    def test_importing_the_module_does_not_import_the_toolbox(self):
        program = "import sys, maibench.evaluation.attacks; print('art' in sys.modules)"
        printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
        assert printed.strip() == "False"

    def test_an_image_that_it_cannot_read(self, texture):
        with pytest.raises(ImageError, match="bailu reads images of at least"):
            attack("attack:fgsm:2", load_detector("bailu"))(texture((50, 50)), "id", 1)


@pytest.fixture(scope="module")
def near(greys):
    """Half of each class is within two levels of Brightness's middle, and called by its right name."""
    values = [(40, 0), (126, 0), (127, 0), (60, 0), (129, 1), (128, 1), (220, 1), (240, 1)]
    return greys([(value, label, split) for split in ("test", "validation") for value, label in values])


@pytest.fixture(scope="module")
def attacked(near, dummies, tmp_path_factory):
    """Predictions of two detectors, of which one can be attacked, with two workers and again with five."""

    def run(workers, batch_size):
        out = tmp_path_factory.mktemp("attacked")
        names = ("Attackable", "Brightness")
        entries = [Entry(name, load_detector(f"{dummies}:{name}"), PredictionStore(out, name, "key")) for name in names]
        perturbations = _perturbations(["jpeg:75", *REQUESTS], {entry.label: entry.detector for entry in entries})
        score(make_plan(open_data(str(near)), "test", perturbations, batch_size, None, 0), entries, workers, 10**8)
        return read_predictions(out, dict.fromkeys(names, "key"))

    return run(2, 3), run(5, 8)


class TestInARun:
    def test_both_classes_lose(self, attacked):
        predictions = attacked[0][attacked[0]["split"] == "test"]
        right = (predictions["logit"] > 0) == predictions["label"]
        accuracy = right.groupby([predictions["detector"], predictions["perturbation"], predictions["label"]]).mean()
        for detector in ("Attackable", "Brightness"):  # the second is attacked by transfer: it is the same function
            assert accuracy[detector, "none"].tolist() == [1.0, 1.0]
            assert accuracy[detector, "attack:fgsm:2@Attackable"].tolist() == [0.5, 0.5]
            assert accuracy[detector, "attack:pgd:2@Attackable"].tolist() == [0.5, 0.5]

    def test_the_logits_are_known(self, attacked):
        table = attacked[0].pivot_table(index=["path", "label"], columns=["detector", "perturbation"], values="logit")
        table = table.dropna()
        moved = table["Attackable", "attack:fgsm:2@Attackable"] - table["Attackable", "none"]
        np.testing.assert_allclose(moved, np.where(table.index.get_level_values("label") == 1, -0.2, 0.2))

    def test_names_carry_the_detector_and_all_score_them(self, attacked):
        counts = attacked[0].groupby(["detector", "split", "perturbation"]).size()
        names = ["attack:fgsm:2@Attackable", "attack:pgd:2@Attackable", "jpeg:75", "none"]
        for detector in ("Attackable", "Brightness"):
            assert counts[detector, "test"].to_dict() == dict.fromkeys(names, 8)
            assert counts[detector, "validation"].to_dict() == {"none": 8}

    def test_workers_and_batches_have_no_effect(self, attacked):
        key = ["detector", "perturbation", "path"]
        one, other = (frame.sort_values(key).reset_index(drop=True) for frame in attacked)
        pd.testing.assert_frame_equal(one, other)

    def test_an_attack_that_fails_is_a_failed_row(self, near, dummies, tmp_path):
        names = ("RaisesInAttack", "Brightness")
        entries = [
            Entry(name, load_detector(f"{dummies}:{name}"), PredictionStore(tmp_path, name, "k")) for name in names
        ]
        perturbations = _perturbations(["attack:fgsm:2"], {entry.label: entry.detector for entry in entries})
        score(make_plan(open_data(str(near)), "test", perturbations, 4, None, 0), entries, 2, 10**8)
        rows = read_predictions(tmp_path, dict.fromkeys(names, "k"))
        failed = rows["perturbation"] == "attack:fgsm:2@RaisesInAttack"
        assert (rows["status"] == "failed").equals(failed)
        assert set(rows.loc[failed, "error"]) == {"attack:fgsm:2@RaisesInAttack raised ValueError: no gradient today"}

    def test_nothing_is_attacked_for_a_detector_that_reads_files(self, near, dummies):
        calls = []

        class Counting(Linear):
            def differentiable(self, pixels):
                calls.append(pixels.shape)
                return super().differentiable(pixels)

        manifest = open_data(str(near))
        row = manifest.rows.to_dict("records")[0]
        perturbations = _perturbations(["attack:fgsm:2"], {"it": Counting((70, 80))})
        for name, expected in (("metadata", 0), (f"{dummies}:Brightness", 1)):
            image = load(manifest.images, row, 10**8)
            prepared = prepare(image, row, Job(0, [row], perturbations, ["x"]), {"x": load_detector(name)})
            assert not prepared.error
            assert len(calls) == expected

    def test_other_weights_of_the_attacked_change_every_key(self, near, dummies):
        config = make_config(None, {"models": ["a", "b"], "data": str(near), "perturb": ["attack:fgsm:2"]}, [])

        def keys(middle, perturb):
            a = load_detector(f"{dummies}:Attackable", middle=middle)
            b = load_detector(f"{dummies}:Brightness")
            asked = config.model_copy(update={"perturb": perturb})
            _, plan = _open(asked, {"a": a, "b": b}, Progress())
            rows = [Requested(detector, "", {}, "cpu") for detector in (a, b)]
            return [_key(fingerprint(row.detector), row, TORCH, plan, asked, 0) for row in rows]

        before, after = keys(127.5, ["attack:fgsm:2"]), keys(100, ["attack:fgsm:2"])
        assert before[0] != after[0]
        assert before[1] != after[1]
        assert keys(127.5, ["jpeg:75"])[1] == keys(100, ["jpeg:75"])[1]


def test_a_whole_comparison(near, dummies, tmp_path):
    suite = tmp_path / "mine.yaml"
    suite.write_text("perturbations: [jpeg:75, 'longest:1080']")
    asked = [str(suite), "attack:fgsm:2"]
    models = [f"{dummies}:Attackable", f"dim={dummies}:Brightness", "metadata"]
    flags = {"models": models, "data": str(near), "out": str(tmp_path / "run"), "perturb": asked, "resamples": 10}
    flags |= {"figures": False, "gallery": 0}
    config = make_config(None, flags, ["dim.middle=126.5"])
    run = run_comparison(config)
    assert json.loads((run.folder / "run.json").read_text())["config"]["perturb"] == asked
    table = run.metrics.set_index(["detector", "perturbation"])
    assert list(table.loc["Attackable"].index) == ["none", "jpeg:75", "longest:1080", "attack:fgsm:2@Attackable"]
    summary = run.summary
    transfer = summary.transfer.set_index(["made_on", "detector"])
    assert transfer.loc[("none", "Attackable"), "accuracy"] == 1
    assert transfer.loc[("Attackable", "Attackable"), ["n", "accuracy", "tpr", "tnr"]].tolist() == [8, 0.5, 0.5, 0.5]
    assert ("Attackable", "dim") in transfer.index
    assert "metadata" not in transfer.index.get_level_values("detector")
    assert set(summary.robustness["suite"]) == {"mine", "attack"}
    assert set(summary.robustness_scores["suite"]) == {"mine"}
    again = run_comparison(config)
    assert again.scored == 0
