"""Everything in a run's folder that is made of predictions. Needs no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from maibench.errors import MaibenchError
from maibench.evaluation.run import read_run
from maibench.evaluation.store import images_per_second, read_predictions
from maibench.evaluation.summary import DetectorFacts, Summary, summarise
from maibench.files import make_folder, write_text, write_whole


def write_report(folder: Path, resamples: int | None = None) -> Summary:
    """Make every table, figure and page of a run's folder from its predictions.

    A folder that holds nothing but predictions/<detector>/*.parquet is enough. resamples: of the bootstrap; None: as
    many as the run asked for, 1,000 where it does not say. Raises MaibenchError when there are no predictions.
    """
    from maibench.evaluation.figures import plot_generators, plot_roc
    from maibench.evaluation.page import write_page
    from maibench.evaluation.tables import latex, markdown

    if not folder.is_dir():
        raise MaibenchError(f"{folder}: no such folder; give one that 'maibench compare' wrote")
    run = read_run(folder)
    config = run.get("config", {})
    keys = {entry["label"]: entry["key"] for entry in run.get("detectors", []) if "key" in entry} or None
    predictions = read_predictions(folder, keys)
    summary = summarise(
        predictions,
        _facts(run, images_per_second(folder, keys or {})),
        resamples=resamples or config.get("resamples", 1000),
        seed=config.get("seed", 0),
        split=config.get("split"),
    )
    make_folder(folder)
    for name, frame in (
        ("metrics", summary.metrics),
        ("per_generator", summary.per_generator),
        ("roc", summary.roc),
    ):
        _write_csv(frame, folder / f"{name}.csv")
    write_text(folder / "table.md", markdown(summary, run))
    write_text(folder / "table.tex", latex(summary, run))
    plot_roc(summary, folder)
    plot_generators(summary, folder)
    write_page(summary, run, folder)
    return summary


def _facts(run: dict[str, Any], speeds: dict[str, float]) -> dict[str, DetectorFacts]:
    facts = {}
    for entry in run.get("detectors", []):
        trained_on = entry.get("card", {}).get("trained_on")
        facts[entry["label"]] = DetectorFacts(
            parameters=entry.get("parameters"),
            images_per_second=speeds.get(entry["label"]),
            trained_on=None if trained_on is None else tuple(trained_on),
        )
    return facts


def _write_csv(frame: pd.DataFrame, file: Path) -> None:
    # ten digits: the same text on machines that differ in the last bits of a sum
    write_whole(file, lambda part: frame.to_csv(part, index=False, float_format="%.10g", lineterminator="\n"))
