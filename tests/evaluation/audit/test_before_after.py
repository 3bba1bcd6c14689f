"""Matching takes out what the files give away, and the table says so."""

from __future__ import annotations

import numpy as np
import pandas as pd
from PIL import Image

from maibench.datasets.match import Recipe, match
from maibench.datasets.readers import open_data
from maibench.evaluation.audit.before_after import audit_both


def test_what_the_files_told_is_gone_after_matching(tmp_path):
    rng = np.random.default_rng(0)
    rows = []
    (tmp_path / "data").mkdir()
    for i in range(80):
        label = i % 2
        small = Image.fromarray(rng.integers(0, 256, (12, 12, 3), dtype=np.uint8))
        side = int(rng.integers(96, 128)) if label else int(rng.integers(128, 160))
        path = f"{i}.{'png' if label else 'jpg'}"
        small.resize((side, side), Image.Resampling.BICUBIC).save(tmp_path / "data" / path)
        rows.append((path, label, ["real", "gen"][label], f"s{i}"))
    pd.DataFrame(rows, columns=["path", "label", "generator", "source"]).to_csv(
        tmp_path / "data/manifest.csv", index=False
    )
    before = open_data(str(tmp_path / "data"))
    match(before, tmp_path / "out", Recipe(size=64))
    table = audit_both(before, open_data(str(tmp_path / "out")), tmp_path / "out")
    cells = {row[0].text: (row[1], row[2]) for row in table.rows}
    for fact in ("format", "size", "together"):
        assert cells[fact][0].value > 0.95 and "red" not in cells[fact][1].text
    assert "green" in cells["size"][1].text or cells["size"][1].value == 0.5
    assert cells["together"][1].value < 0.75
    for name in ("audit/before/audit.json", "audit/after/audit.html", "audit/before_after.md"):
        assert (tmp_path / "out" / name).is_file()
    assert len(open_data(str(tmp_path / "out")).rows) == 80, "the audit's pictures are no images of the data set"
