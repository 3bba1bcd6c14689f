"""The audit that a comparison makes of the images that it scores: quick, as it reads headers and no pixels."""

from __future__ import annotations

from pathlib import Path

from maibench.datasets.hub.forward import ForwardImages
from maibench.datasets.image import MAX_PIXELS
from maibench.datasets.images import Images
from maibench.datasets.manifest import Manifest
from maibench.errors import DiskError, MaibenchError
from maibench.evaluation.audit.audit import Audit, Request, run_audit
from maibench.evaluation.audit.write import read_audit, write_findings
from maibench.progress import Progress

MADE_BY = "compare"
PARTS = ("files", "ids", "balance")
IMAGES = 5_000
"""A comparison audits at most so many images of the scored split."""


def audit_comparison(
    manifest: Manifest,
    split: str,
    folder: Path,
    seed: int = 0,
    workers: int | None = None,
    max_pixels: int = MAX_PIXELS,
    progress: Progress | None = None,
    source: str = "",
) -> None:
    """Write the audit of a split into a run's folder, if none of the same images is there; `maibench data audit`
    makes a more thorough one, which stays.

    source: what the user gave, as it is typed. Data elsewhere that can only be read forward is not fetched a second
    time for it; what cannot be audited is said and costs no comparison. Raises DiskError.
    """
    progress = progress or Progress()
    request = Request(PARTS, split, IMAGES, seed, workers=workers, max_pixels=max_pixels, made_by=MADE_BY)
    try:
        if _is_current(read_audit(folder), manifest, request):
            return
        if _is_fetched(manifest.images):
            data = source or manifest.name
            progress.say(f"no data audit, which would fetch all images again; 'maibench data audit {data}' does")
            return
        write_findings(run_audit(manifest, request), folder)
    except DiskError:
        raise
    except MaibenchError as error:
        progress.say(f"no data audit: {error}")


def red_findings(folder: Path) -> list[str]:
    """What an audit in a folder found to be red, a text a part of it; none where there is no audit."""
    audit = read_audit(folder)
    red = {}
    for part in audit.parts if audit else []:
        if names := [finding.name for finding in part.findings if finding.light == "red"]:
            red[part.title] = ", ".join(names)
    return [f"{title[0].lower()}{title[1:]} ({names})" for title, names in red.items()]


def _is_fetched(images: Images) -> bool:
    """Whether reading images again means another pass over data that lies elsewhere."""
    return images.in_order and not (isinstance(images, ForwardImages) and images.is_local)


def _is_current(audit: Audit | None, manifest: Manifest, request: Request) -> bool:
    if audit is None or audit.data.get("fingerprint") != manifest.fingerprint:
        return False
    if audit.data.get("made_by") != MADE_BY:
        return True
    return all(audit.data.get(key) == value for key, value in request.identity().items())
