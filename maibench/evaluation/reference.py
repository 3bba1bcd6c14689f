"""Remake results/reference/: the committed results that a test compares fresh runs with, and the README's copy of them.

python -m maibench.evaluation.reference                                  # the demo
python -m maibench.evaluation.reference --data MANIFEST --name NAME      # any other data
python -m maibench.evaluation.reference --data MANIFEST --name FOLDER/NAME --models A,B,C
python -m maibench.evaluation.reference --name robustness --models A,B --perturb social,codec,attack:pgd:2
python -m maibench.evaluation.reference --ablation FOLDER --name NAME    # what 'maibench ablate' wrote
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path
from typing import Any

from maibench.config import make_config
from maibench.evaluation.compare import run_comparison
from maibench.evaluation.tables.report_tables import GENERATOR_TITLES

MODELS = "bailu,mai_cnn,moondream,moondream-nano-base=moondream,metadata"
SETTINGS = ["moondream-nano-base.adapter=none"]
KEPT = (
    "metrics.csv", "per_generator.csv", "comparisons.csv", "thresholds.csv", "calibration.csv", "table.md",
)  # fmt: skip
"""No figures: a repository keeps every copy of a picture, and numbers can be compared."""
MOST_COLUMNS = 6
"""Detectors beside one another in the README."""
KEPT_OF_ROBUSTNESS = ("metrics.csv", "robustness.csv", "robustness_scores.csv", "transfer.csv", "table.md")
KEPT_OF_ABLATIONS = ("ablation.csv", "summary.csv", "table.md")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="demo")
    parser.add_argument("--name", default="demo")
    parser.add_argument("--models", default=MODELS)
    parser.add_argument("--perturb", default="none", help="suites or perturbations, as for compare")
    parser.add_argument("--ablation", type=Path, help="keep an ablation that was run already")
    parser.add_argument("--out", type=Path, default=Path("results/reference"))
    args = parser.parse_args()
    kept = args.out / args.name
    kept.mkdir(parents=True, exist_ok=True)
    if args.ablation:
        _copy(args.ablation, kept, KEPT_OF_ABLATIONS)
    else:
        _compare(args.data, args.name, args.models, args.perturb, kept)
    readme = Path("README.md")
    readme.write_text(quote_table(readme.read_text(), args.name, excerpt((kept / "table.md").read_text())))
    print(f"remade {kept}")


def _compare(data: str, name: str, models: str, perturb: str, kept: Path) -> None:
    with tempfile.TemporaryDirectory() as workplace:
        if Path(data).is_file():  # under the name that the table is to show, wherever it lies here
            link = Path(workplace) / Path(name).name
            link.symlink_to(Path(data).resolve().parent)
            data = str(link / Path(data).name)
        flags: dict[str, Any] = {"models": models, "data": data, "perturb": perturb, "device": "cpu", "gallery": 0}
        flags["out"] = str(Path(workplace) / "run")
        run = run_comparison(make_config(None, flags, SETTINGS if models == MODELS else []))
        _copy(run.folder, kept, KEPT if perturb == "none" else KEPT_OF_ROBUSTNESS)


def _copy(folder: Path, kept: Path, names: tuple[str, ...]) -> None:
    for file in (folder / name for name in names):
        if file.is_file():  # no transfer without attacks
            shutil.copyfile(file, kept / file.name)


_OF_ROBUSTNESS = ("Robustness", "Accuracy under attack", "AUC under attack")


def excerpt(table: str) -> str:
    """What the README has of a report's table.md: the main table and those per generator, which of many detectors would
    not fit a page; of a report of robustness, whose main table is long, what it says of that. Of any other table the
    whole."""
    first, *parts = table.rstrip("\n").split("\n\n**")
    robust = [part for part in parts if part.startswith(_OF_ROBUSTNESS)]
    if robust:
        return "**" + "\n\n**".join(robust) + "\n"
    generators = [part for part in parts if part.startswith(tuple(GENERATOR_TITLES.values()))]
    if any(part.split("\n")[2].count("|") > 2 + MOST_COLUMNS for part in generators):
        generators = []
    return "\n\n**".join([first, *generators]) + "\n"


def quote_table(text: str, name: str, table: str) -> str:
    """`text` with what stands between its marks for `name` replaced by a table; the same text where it has none."""
    start, end = f"<!-- results/reference/{name}/table.md -->\n", f"<!-- end of {name} -->\n"
    if start not in text:
        return text
    before, _, rest = text.partition(start)
    return before + start + "\n" + table + "\n" + end + rest.partition(end)[2]


if __name__ == "__main__":
    main()
