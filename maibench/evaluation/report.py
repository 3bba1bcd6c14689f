"""Everything in a run's folder that is made of predictions. Needs no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from maibench.errors import MaibenchError
from maibench.evaluation.audit.comparison import red_findings
from maibench.evaluation.run import read_run
from maibench.evaluation.statistics.evaluated import Evaluated, as_arrays, choose
from maibench.evaluation.statistics.frames import Summary, write_csv
from maibench.evaluation.store import images_per_second, read_predictions
from maibench.files import make_folder, write_text

ALWAYS = ("metrics", "per_generator", "comparisons", "roc")
"""Frames that are written even without a row, so that a script finds its columns."""


def write_report(folder: Path, settings: dict[str, Any] | None = None) -> Summary:
    """Make every table, figure and page of a run's folder from its predictions.

    A folder that holds nothing but predictions/<detector>/*.parquet is enough. settings: `resamples` and
    `interval` (keys of RunConfig) in place of what the run asked for, and `table`, changes to how its tables look.
    Raises MaibenchError when there are no predictions.
    """
    from maibench.evaluation.figures import plot_all
    from maibench.evaluation.page.page import write_page
    from maibench.evaluation.tables.report_tables import latex, markdown, style_of
    from maibench.evaluation.tables.sweep_table import failures_of, sweep_rows, write_sweep

    run = run_of(folder)
    summary = summarise_folder(folder, run, settings or {})
    style = style_of(run, (settings or {}).get("table"))
    make_folder(folder)
    for name, frame in summary.frames().items():
        file = folder / f"{name}.csv"
        if name in ALWAYS or not frame.empty:
            write_csv(frame, file)
        else:
            file.unlink(missing_ok=True)
    write_text(folder / "table.md", markdown(summary, run, style))
    write_text(folder / "table.tex", latex(summary, run, style))
    if (run.get("config") or {}).get("figures", True):
        plot_all(summary, folder)
    write_sweep(sweep_rows(summary, run), folder, failures_of(run), (run.get("config") or {}).get("figures", True))
    write_page(summary, run, folder, style)
    return summary


def summarise_folder(folder: Path, run: dict[str, Any], settings: dict[str, Any]) -> Summary:
    """The numbers of a folder; see `write_report`."""
    from maibench.evaluation.statistics.summary import summarise

    config = run.get("config") or {}
    keys = _keys(run)
    return summarise(
        read_predictions(folder, keys),
        _facts(run, images_per_second(folder, keys or {})),
        resamples=_setting("resamples", run, settings, 1000),
        seed=config.get("seed", 0),
        split=config.get("split"),
        interval=_setting("interval", run, settings, "bootstrap"),
        suites=run.get("suites") or {},
        released=(run.get("data") or {}).get("released", {}),
    )


def read_evaluated(folder: Path) -> Evaluated:
    """What the detectors said of the evaluated images of a folder. Raises MaibenchError without predictions."""
    run = run_of(folder)
    split = choose(read_predictions(folder, _keys(run)), (run.get("config") or {}).get("split"))
    return as_arrays(split, {name: known.trained_on for name, known in _facts(run, {}).items()})


def run_of(folder: Path) -> dict[str, Any]:
    """The folder's run.json, `{}` where there is none, and `audit`: what an audit beside it is red in, where it is.
    Raises MaibenchError."""
    if not folder.is_dir():
        raise MaibenchError(f"{folder}: no such folder; give one that 'maibench compare' wrote")
    red = red_findings(folder)
    return read_run(folder) | ({"audit": red} if red else {})


def _keys(run: dict[str, Any]) -> dict[str, str] | None:
    return {
        entry["label"]: entry["key"] for entry in run.get("detectors") or [] if {"label", "key"} <= set(entry)
    } or None


def _setting(name: str, run: dict[str, Any], settings: dict[str, Any], default: Any) -> Any:
    """What was asked for now, else what the run asked for."""
    given = settings.get(name)
    return (run.get("config") or {}).get(name, default) if given is None else given


def _facts(run: dict[str, Any], speeds: dict[str, float]) -> dict[str, Any]:
    from maibench.evaluation.statistics.summary import DetectorFacts

    facts = {}
    for entry in (entry for entry in run.get("detectors") or [] if "label" in entry):
        trained_on = (entry.get("card") or {}).get("trained_on")
        facts[entry["label"]] = DetectorFacts(
            parameters=entry.get("parameters"),
            images_per_second=speeds.get(entry["label"]),
            trained_on=None if trained_on is None else tuple(trained_on),
        )
    return facts
