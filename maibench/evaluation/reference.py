"""Remake results/reference/: the committed results that the README quotes and a test compares fresh runs with.

python -m maibench.evaluation.reference                                  # the demo
python -m maibench.evaluation.reference --data MANIFEST --name NAME      # any other data
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path

from maibench.config import make_config
from maibench.evaluation.compare import run_comparison

MODELS = "bailu,mai_cnn,metadata"
KEPT = ("metrics.csv", "per_generator.csv", "table.md", "roc.svg", "generators.svg")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="demo")
    parser.add_argument("--name", default="demo")
    parser.add_argument("--models", default=MODELS)
    parser.add_argument("--out", type=Path, default=Path("results/reference"))
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as workplace:
        flags = {"models": args.models, "data": args.data, "out": str(Path(workplace) / args.name), "device": "cpu"}
        run = run_comparison(make_config(None, flags, []))
        kept = args.out / args.name
        kept.mkdir(parents=True, exist_ok=True)
        for name in KEPT:
            shutil.copyfile(run.folder / name, kept / name)
    print(f"remade {kept}")


if __name__ == "__main__":
    main()
