"""What matching a data set changed: the audits of before and after, side by side."""

from __future__ import annotations

import shutil
from pathlib import Path

from maibench.datasets.manifest import Manifest
from maibench.evaluation.audit.audit import Audit, Request, run_audit
from maibench.evaluation.audit.command import FACTS
from maibench.evaluation.audit.page import write_audit_page
from maibench.evaluation.audit.parts import Finding
from maibench.evaluation.audit.shown import SHAPES
from maibench.evaluation.audit.write import write_audit
from maibench.evaluation.tables.formats import EMPTY, Cell, Table, markdown_table
from maibench.files import make_folder, write_text
from maibench.progress import Progress

FOLDER, TABLE = "audit", "before_after.md"
PARTS = ("files", "balance")


def audit_both(
    before: Manifest,
    after: Manifest,
    folder: Path,
    seed: int = 0,
    workers: int | None = None,
    command: list[str] | None = None,
    progress: Progress | None = None,
) -> Table:
    """Audit both data sets into folder/audit/before and folder/audit/after, and write the table of the two there.

    A row a fact of the files: its AUC with the 95 % interval, and its light. An audit that was killed goes on where it
    stopped. Raises MaibenchError where one of them cannot be audited, DiskError.
    """
    audits = {}
    for name, manifest in (("before", before), ("after", after)):
        place = folder / FOLDER / name
        make_folder(place)
        audits[name] = run_audit(manifest, Request(PARTS, seed=seed, workers=workers), place / FACTS, progress)
        write_audit(audits[name], place)
        write_audit_page(audits[name], place, command)
    table = before_after(audits["before"], audits["after"])
    write_text(folder / FOLDER / TABLE, markdown_table(table) + "\n")
    for name in audits:  # the data set is handed on without them
        shutil.rmtree(folder / FOLDER / name / FACTS, ignore_errors=True)
    return table


def before_after(before: Audit, after: Audit) -> Table:
    """The findings on the files of two audits, side by side."""
    sides = [
        {finding.name: finding for part in audit.parts if part.name == "files" for finding in part.findings}
        for audit in (before, after)
    ]
    names = list(dict.fromkeys(name for side in sides for name in side))
    rows = [[Cell(name, is_name=True), *(_cell(side.get(name)) for side in sides)] for name in names]
    return Table(["what tells the label (AUC)", "before", "after"], rows, n_names=1)


def _cell(finding: Finding | None) -> Cell:
    if finding is None:
        return Cell(EMPTY)
    if finding.value is None:
        return Cell(f"{SHAPES[finding.light]} {finding.light}")
    interval = " (too few sources)" if finding.lo is None else f" [{finding.lo:.2f}, {finding.hi:.2f}]"
    return Cell(f"{SHAPES[finding.light]} {finding.value:.3f}{interval}", finding.value)
