"""audit.html: an audit in one file that opens offline, made of the same parts as a comparison's report."""

from __future__ import annotations

import shlex
from pathlib import Path

from maibench.evaluation.audit.audit import Audit
from maibench.evaluation.audit.shown import headline
from maibench.evaluation.page.audit import audit_sections
from maibench.evaluation.page.page import write_sections
from maibench.files import make_folder

CAUTION = (
    "An audit finds what it looks for: green says that these measures found nothing that matters, not that there is "
    "nothing to find; grey, that so many images cannot tell."
)


def write_audit_page(audit: Audit, folder: Path, command: list[str] | None = None) -> Path:
    """Write audit.html into `folder`; returns its path. command: what the user typed. Raises DiskError."""
    make_folder(folder)
    return write_sections(
        folder / "audit.html", headline(audit), audit_sections(audit), CAUTION, shlex.join(command or [])
    )
