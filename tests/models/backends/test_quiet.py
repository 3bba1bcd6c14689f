"""Backends report to nobody: neither a connection nor an identifier in the home directory."""

import os
import subprocess
import sys
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import pytest

import maibench

PACKAGES = {"onnx": "onnxruntime", "openvino": "openvino"}
CODE = """
import sys
sys.addaudithook(lambda event, args: print("NETWORK", event, args) if event.startswith("socket.") else None)
import torch
from maibench.models.backends.choose import use_backend
from maibench.models.mai_cnn import MaiCnn
for name in sys.argv[1:]:
    chosen = use_backend(MaiCnn().eval(), name, [torch.rand(3, 200, 200)])
    print(chosen.name, chosen.version)
import openvino_telemetry  # what was hidden can be imported again
"""


def test_nobody_is_told(tmp_path: Path):
    names = [name for name, package in PACKAGES.items() if find_spec(package) and find_spec("onnx")]
    if len(names) < len(PACKAGES):  # never imported here: that is what is tested
        pytest.skip("onnx, onnxruntime and openvino are not all installed")
    environment = {**os.environ, "HOME": str(tmp_path), "PYTHONPATH": str(Path(maibench.__file__).parents[1])}
    for variable in ("CI", "ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME"):  # CI alone would silence OpenVINO
        environment.pop(variable, None)
    command = [sys.executable, "-c", CODE, *names]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "NETWORK" not in done.stdout
    found = dict(line.split() for line in done.stdout.splitlines())
    assert found.keys() == PACKAGES.keys()
    assert all(metadata.version(PACKAGES[name]).startswith(version) for name, version in found.items())
    assert list(tmp_path.rglob("*")) == []
