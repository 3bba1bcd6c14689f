"""Matching takes out what the files give away, and the table says so."""

from maibench.datasets.match import Recipe, match
from maibench.datasets.readers import open_data
from maibench.evaluation.audit.before_after import audit_both


def test_what_the_files_told_is_gone_after_matching(make, tmp_path):
    before = open_data(str(make("png")))
    match(before, tmp_path, Recipe(size=64))
    table = audit_both(before, open_data(str(tmp_path)), tmp_path)
    cells = {row[0].text: (row[1], row[2]) for row in table.rows}
    assert not {"classes", "generators"} & set(cells), "only what the files tell has an AUC"
    for fact in ("format", "all facts together"):
        assert cells[fact][0].value > 0.95 and "red" not in cells[fact][1].text
        assert abs(cells[fact][1].value - 0.5) < 0.2
    assert cells["size"][1].value == 0.5
    for name in ("audit/before/audit.json", "audit/after/audit.html", "audit/before_after.md"):
        assert (tmp_path / name).is_file()
    assert not list(tmp_path.rglob("*.parquet")), "what an audit keeps to go on is no part of the data set"
    assert len(open_data(str(tmp_path)).rows) == 80, "the audit's pictures are no images of the data set"
