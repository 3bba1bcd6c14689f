"""The command line: exit codes, one clear line for a wrong request, never a traceback."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from maibench.cli import app, front_door
from maibench.evaluation.store import read_predictions
from maibench.models.bailu import Bailu
from maibench.models.weights import save_weights

ROOT = Path(__file__).parents[1]
DUMMIES = ROOT / "tests" / "dummy_detectors.py"


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def compare(here):
    """compare(*arguments) -> what `python compare.py` printed and its exit code; the run's folder is "out"."""

    def run(*arguments, models="Brightness", out="out"):
        models = ",".join(f"{DUMMIES}:{name}" if name[:1].isupper() else name for name in models.split(","))
        settings = ["--models", models, "--out", out, "--set", "resamples=10"]
        done = CliRunner().invoke(front_door, [*settings, *map(str, arguments)])
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return done

    return run


@pytest.fixture(scope="module")
def images(data_set):
    return data_set()


def refused(done, reason):
    """Exit code 2, and one line that says why."""
    assert done.exit_code == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("maibench: ")
    assert reason in line
    assert done.stdout == ""


def test_help_is_quick_to_import():
    code = (
        "import sys; from maibench.cli import compare_main; sys.argv = ['compare.py', '--help']\n"
        "try: compare_main()\n"
        "finally: print(sorted({'torch', 'transformers', 'pandas', 'pydantic', 'numpy', 'scipy', 'sklearn', 'PIL',"
        " 'matplotlib', 'yaml'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stderr.strip() == "[]"
    for flag in (
        "models", "data", "split", "perturb", "config", "set", "out", "engine", "address", "backend", "device",
        "batch-size", "workers", "limit", "seed", "strict", "fresh", "resume",
    ):  # fmt: skip
        assert f"--{flag}" in done.stdout


def test_from_a_shell_the_table_is_on_stdout(images, here):
    command = [sys.executable, ROOT / "compare.py", "--models", f"{DUMMIES}:Brightness,metadata", "--data", images]
    done = subprocess.run([*command, "--set", "resamples=10"], capture_output=True, text=True)
    assert done.returncode == 1, done.stderr  # metadata has no training split
    assert "Traceback" not in done.stderr
    for name in ("Brightness", "metadata", "gen-a", "gen-b", "AUC"):
        assert name in done.stdout
    assert "metadata: needs a training split to be fitted on" in done.stderr
    assert (here / "results" / f"{images.parent.name}-Brightness-metadata" / "report.html").is_file()


def test_from_a_shell_a_wrong_request_is_one_line(images, here):
    command = [sys.executable, "-m", "maibench", "compare", "--models", "bailo", "--data", str(images)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert (done.returncode, done.stdout) == (2, "")
    assert (
        done.stderr
        == "maibench: unknown detector 'bailo': did you mean 'bailu' or 'bilora'? 'maibench models' lists all\n"
    )
    assert list(here.iterdir()) == []


def test_interrupted(data_set, here):
    data = data_set(n_real=20, n_synthetic=20, size=(16, 16))
    command = [sys.executable, str(ROOT / "compare.py"), "--models", f"{DUMMIES}:Slow", "--data", str(data)]
    settings = ["--set", "Slow.seconds=0.2", "--set", "Slow.started=began", "--batch-size", "1", "--out", "out"]
    process = subprocess.Popen([*command, *settings], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not Path("began").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in stderr
    assert stderr.splitlines()[-1] == (
        "maibench: interrupted; what was scored is kept, the same command goes on from there"
    )
    assert 1 <= len(read_predictions(here / "out")) < 40


def test_done(compare, images):
    first, second = compare("--data", images), compare("--data", images)
    assert (first.exit_code, second.exit_code) == (0, 0)
    assert "scored 1 batches" in first.stderr
    assert "nothing was missing: no image was scored" in second.stderr
    assert first.stdout.splitlines()[0] == second.stdout.splitlines()[0]


def test_configuration_file_and_flags(compare, images, here):
    (here / "run.yaml").write_text(f"data: {images}\nlimit: 2\nseed: 1\n")
    assert compare("--config", "run.yaml", "--limit", 3).exit_code == 0
    assert pd.read_csv(here / "out" / "metrics.csv")["n"].tolist() == [3]


def test_weights_of_one_detector(compare, data_set, here):
    torch.manual_seed(12)
    save_weights(Bailu(), here / "mine.safetensors")
    data = data_set(n_real=2, n_synthetic=2)
    done = compare("--data", data, "--set", "bailu.weights=mine.safetensors", models="bailu")
    assert done.exit_code == 0, done.stderr
    assert pd.read_csv(here / "out" / "metrics.csv")["n_failed"].tolist() == [0]


@pytest.mark.parametrize(
    ("arguments", "models", "reason"),
    [
        ([], "bailo", "unknown detector 'bailo': did you mean 'bailu'"),
        ([], "nowhere.py:Mine", "no such detector"),
        ([], "Missing", "'Missing' is not a class derived from maibench.Detector"),
        ([], "Brightness,Brightness", "two detectors are called 'Brightness'"),
        ([], "", "no detectors were named"),
        (["--set", "Brightness.colour=red"], "Brightness", "has no option 'colour'; its options: middle (and weights)"),
        (["--set", "Britness.middle=1"], "Brightness", "no detector is called 'Britness' here; there are: Brightness"),
        (["--set", "colour=red"], "Brightness", "unknown key 'colour'"),
        (["--set", "colour"], "Brightness", "write key=value"),
        (["--config", "none.yaml"], "Brightness", "none.yaml: No such file or directory"),
        (["--split", "tset"], "Brightness", "split: input should be 'train', 'validation' or 'test' (got 'tset')"),
        (["--split", "train"], "Brightness", "has no images of split 'train'; it has: test"),
        (["--perturb", "jepg:75"], "Brightness", "unknown perturbation 'jepg'"),
        (["--device", "gpu"], "Brightness", "unknown device 'gpu'"),
        (["--batch-size", "0"], "Brightness", "batch_size: "),
        (["--data", "nowhere"], "Brightness", "no data at 'nowhere'"),
        (["--set", "bailu.weights=none.safetensors"], "bailu", "none.safetensors: no weights file there"),
    ],
)  # fmt: skip
def test_wrong_requests(compare, images, here, arguments, models, reason):
    refused(compare("--data", images, *arguments, models=models), reason)
    assert list(here.iterdir()) == []


def test_empty_folder(compare, here):
    (here / "empty").mkdir()
    refused(compare("--data", "empty"), "empty: no images found; expected real/ and a folder for each generator")


@pytest.mark.parametrize("column", ["path", "label", "generator"])
def test_missing_column(compare, images, here, column):
    pd.read_csv(images).drop(columns=column).to_csv(here / "list.csv", index=False)
    refused(compare("--data", "list.csv"), f"list.csv: the column '{column}' is missing")


@pytest.mark.parametrize("label", ["2", "-1", "0.5", "fake"])
def test_label_outside_0_and_1(compare, here, label):
    (here / "list.csv").write_text(f"path,label,generator\na.png,1,gen-a\nb.png,{label},gen-a\n")
    refused(compare("--data", "list.csv"), "list.csv: row 2 has the label")


@pytest.mark.parametrize(
    "path", ["../secret.png", "/etc/hostname", "a/../../secret.png", "link.png", "folder/secret.png"]
)
def test_path_that_leaves_the_root(compare, here, path):
    (here / "secret.png").touch()
    data = here / "data"
    (data / "a").mkdir(parents=True)
    (data / "link.png").symlink_to(here / "secret.png")
    (data / "folder").symlink_to(here)
    (data / "list.csv").write_text(f"path,label,generator\n{path},1,gen-a\n")
    refused(compare("--data", "data/list.csv"), f"the path '{path}' leaves the data set's folder")


def test_weights_that_are_a_pickle_or_incomplete(compare, images, here):
    torch.save(Bailu().state_dict(), "bailu.pt")
    refused(compare("--data", images, "--set", "bailu.weights=bailu.pt", models="bailu"), "A pickle (.pt, .pth, .bin)")
    from safetensors.torch import load_file, save_file

    save_weights(Bailu(), here / "bailu.safetensors")
    tensors = load_file("bailu.safetensors")
    del tensors["head.0.weight"]
    save_file(tensors, "bailu.safetensors")
    done = compare("--data", images, "--set", "bailu.weights=bailu.safetensors", models="bailu")
    refused(done, "not the weights of Bailu: 'head.0.weight' is missing")
    assert not Path("out").exists()


def test_one_class_only(compare, data_set, here):
    assert compare("--data", data_set(n_synthetic=0)).exit_code == 0
    (row,) = pd.read_csv(here / "out" / "metrics.csv").to_dict("records")
    assert (row["n"], row["n_real"], row["n_synthetic"]) == (4, 4, 0)
    assert np.isnan(row["auc"])
    assert 0 <= row["accuracy"] <= 1
    assert "AUC is empty" in (here / "out" / "table.md").read_text()


@pytest.fixture
def spoiled(data_set):
    """A folder of six good images and six that cannot be scored."""
    file = data_set(n_real=6, n_synthetic=6)
    real = file.parent / "test" / "real"
    Image.effect_noise((96, 80), 50).convert("RGB").save(real / "whole.jpg", quality=95)
    (real / "000.png").write_bytes((real / "whole.jpg").read_bytes()[:1500])
    (real / "001.png").write_text("this is a text")
    (real / "002.png").write_bytes(b"")
    Image.new("RGB", (1, 1)).save(real / "003.png")
    Image.new("1", (10_001, 10_000)).save(real / "004.png")
    (real / "005.png").unlink()
    return file


def test_images_that_cannot_be_scored(compare, spoiled, here):
    torch.manual_seed(13)
    save_weights(Bailu(), here / "mine.safetensors")
    arguments = ["--data", spoiled, "--set", "bailu.weights=mine.safetensors"]
    done = compare(*arguments, models="bailu,Brightness")
    assert done.exit_code == 0, done.stderr
    metrics = pd.read_csv(here / "out" / "metrics.csv").set_index("detector")
    assert metrics["n_failed"].to_dict() == {"bailu": 6, "Brightness": 5}  # one pixel has a brightness
    assert metrics["n"].to_dict() == {"bailu": 6, "Brightness": 7}
    predictions = read_predictions(here / "out")
    failed = predictions[(predictions["status"] == "failed") & (predictions["detector"] == "bailu")]
    reasons = failed.set_index("path")["error"].sort_index().tolist()
    for reason, expected in zip(
        reasons, ("truncated", "not an image", "0 bytes", "1 x 1; bailu reads", "limit of 100,000,000", "No such file"),
        strict=True,
    ):  # fmt: skip
        assert expected in reason
    strict = compare(*arguments, "--strict", models="bailu,Brightness")
    assert strict.exit_code == 1
    assert "no image was scored" in strict.stderr


def test_detector_that_fails_and_one_without_a_training_split(compare, images, here):
    done = compare("--data", images, models="Broken,metadata,Brightness")
    assert done.exit_code == 1
    metrics = pd.read_csv(here / "out" / "metrics.csv").set_index("detector")
    assert metrics["n"].to_dict() == {"Broken": 0, "metadata": 0, "Brightness": 8}
    assert metrics["n_failed"].to_dict() == {"Broken": 8, "metadata": 8, "Brightness": 0}
    assert "RuntimeError: out of order" in (here / "out" / "table.md").read_text()
    assert "needs a training split" in (here / "out" / "table.md").read_text()


def test_folder_that_cannot_be_written(compare, images, here):
    (here / "file").touch()
    for out in ("file", "file/below", "file/far/below"):
        refused(compare("--data", images, out=out), f"{out}: cannot be written")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_folder_without_permission(compare, images, here):
    (here / "locked").mkdir(mode=0o500)
    for out in ("locked", "locked/below"):
        refused(compare("--data", images, out=out), f"{out}: cannot be written")


def test_folder_of_another_command(compare, images, here):
    assert compare("--data", images).exit_code == 0
    refused(compare("--data", images, "--limit", 2), "out: holds another run (limit was None, now 2)")
    assert pd.read_csv(here / "out" / "metrics.csv")["n"].tolist() == [8]
    assert compare("--data", images, "--limit", 2, "--fresh").exit_code == 0
    assert pd.read_csv(here / "out" / "metrics.csv")["n"].tolist() == [2]


@pytest.mark.parametrize("fresh", [(), ("--fresh",)])
def test_folder_of_somebody_else(compare, images, here, fresh):
    (here / "out").mkdir()
    (here / "out" / "thesis.tex").write_text("years of work")
    refused(compare("--data", images, *fresh), "out: holds files but no run of maibench")
    assert [path.name for path in (here / "out").iterdir()] == ["thesis.tex"]


@pytest.fixture
def small_disk(here):
    """A disk of 64 kB at "disk"; small_disk(size) makes it larger."""
    (here / "disk").mkdir()

    def mount(options):
        return subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", here / "disk"], capture_output=True)

    try:
        mounted = mount("size=64k").returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("a small disk can be mounted by root only")
    yield lambda size: mount(f"remount,size={size}")
    subprocess.run(["umount", "--lazy", here / "disk"], check=True)  # an open file keeps it busy


@pytest.mark.parametrize("room", [0, 8_000, 16_000, 20_000, 40_000])
def test_full_disk(compare, data_set, here, small_disk, room):
    """It fills up with run.json, the fitted detector, the predictions, or the tables and pictures."""
    data = data_set(splits=("train", "test"))
    (here / "disk" / "filler").write_bytes(bytes(64 * 1024 - room))
    done = compare("--data", data, models="metadata,Brightness", out="disk/run")
    assert done.exit_code == 2
    told = "the disk is full; what was written is kept. Free some space and run it again"
    assert told in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert not list((here / "disk").rglob(".part-*"))
    small_disk("16m")
    again = compare("--data", data, models="metadata,Brightness", out="disk/run")
    assert again.exit_code == 0, again.stderr
    assert pd.read_csv(here / "disk" / "run" / "metrics.csv")["n_failed"].tolist() == [0, 0]


def test_report(compare, images, here):
    compare("--data", images)
    (here / "out" / "metrics.csv").unlink()
    done = CliRunner().invoke(app, ["report", "out", "--resamples", "10"])
    assert done.exit_code == 0
    assert "Brightness" in done.stdout
    assert (here / "out" / "metrics.csv").is_file()
    for folder, reason in (("nowhere", "no such folder"), (str(images.parent), "no predictions there")):
        refused(CliRunner().invoke(app, ["report", folder]), reason)


def test_models_and_show():
    listed = CliRunner().invoke(app, ["models", "mai_c*"])
    assert listed.exit_code == 0
    assert "4,827,365" in listed.stdout
    refused(CliRunner().invoke(app, ["models", "z*"]), "no detector matches 'z*'")
    shown = CliRunner().invoke(app, ["show", "bailu"])
    assert "native resolution" in " ".join(shown.stdout.split())
    refused(CliRunner().invoke(app, ["show", "bailo"]), "did you mean 'bailu'")


def test_unknown_flag():
    done = CliRunner().invoke(front_door, ["--modles", "bailu"])
    assert done.exit_code == 2
    assert "No such option" in done.stderr
