"""`maibench data audit`: open the data, audit it, write what was found."""

from __future__ import annotations

import re
from pathlib import Path

from maibench.datasets.manifest import Manifest
from maibench.datasets.readers import open_data
from maibench.errors import MaibenchError
from maibench.evaluation.audit.audit import Audit, Request, run_audit
from maibench.evaluation.audit.page import write_audit_page
from maibench.evaluation.audit.write import write_audit
from maibench.files import remove_parts
from maibench.progress import Progress

FACTS = "facts"
"""The folder of an audit that keeps what was measured of every image, in Parquet."""


def audit_source(
    source: str | None,
    data: str | None,
    request: Request,
    out: Path | None = None,
    columns: str = "",
    command: list[str] | None = None,
    progress: Progress | None = None,
) -> tuple[Audit, Path]:
    """Audit a SOURCE, given in one of two ways, and write everything into a folder; returns both.

    The same call goes on where a killed one stopped. Raises MaibenchError where the request is wrong or no image can
    be read.
    """
    if bool(source) == bool(data):
        raise MaibenchError("give one SOURCE, as in: maibench data audit demo")
    if source == "demo" and progress:
        progress.say("opening the demo (made on first use, under a minute)")
    manifest = open_data(source or data or "", columns)
    folder = out or audit_folder(manifest)
    manifest.check_outside(folder)
    audit = run_audit(manifest, request, folder / FACTS, progress)
    write_audit(audit, folder)
    write_audit_page(audit, folder, command)
    remove_parts(folder, below=False)
    remove_parts(folder / FACTS)
    return audit, folder


def audit_folder(manifest: Manifest) -> Path:
    """results/audit-<data>."""
    name = re.sub(r"[^\w.+-]+", "_", manifest.name)
    return Path("results") / f"audit-{name[:80]}"
