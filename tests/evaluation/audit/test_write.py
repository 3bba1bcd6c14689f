"""audit.json, audit.md and audit.html: whole, escaped, and read again as they were written."""

import base64
import io
import json
import math
import re

import numpy as np
import pytest
from rich.console import Console

from maibench.errors import DiskError, MaibenchError
from maibench.evaluation.audit.audit import Audit
from maibench.evaluation.audit.page import write_audit_page
from maibench.evaluation.audit.parts import Finding, Grid, Part, Shot
from maibench.evaluation.audit.shown import grid_table, terminal
from maibench.evaluation.audit.verdict import Verdict
from maibench.evaluation.audit.write import read_audit, write_audit

SCRIPT = "<script>alert(1)</script>"
PNG = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg==")


def make_audit(name="demo", shots=1, light="red"):
    found = [
        Finding("size", "green", "size: AUC 0.500 [0.470, 0.530]", "", np.float64(0.5), 0.47, np.float32(0.53)),
        Finding("format", light, f"real ones are JPEG {SCRIPT}", "maibench data match", 0.98, 0.96, 0.99),
        Finding("profile", "grey", "no image has one", value=math.nan),
    ]
    rows = [[SCRIPT, np.int64(3), "0.9 [0.8, 1.0]"], ["b", 4, None]]
    grid = Grid("AUC per generator", ["generator", "n", "AUC"], rows)
    sheets = [Shot(f"pair {i}", PNG, "alike") for i in range(shots)]
    part = Part("files", "What a file gives away", found, [grid], sheets)
    data = {"name": name, "split": "all", "images": 10, "real": 5, "synthetic": 5, "fingerprint": "f00d"}
    verdict = Verdict(False, ["format: AUC 0.98"])
    return Audit(data, [part], verdict, [{"path": "a.png", "error": "empty"}], ["a sample"])


def test_what_was_written_is_read_again(tmp_path):
    write_audit(make_audit(), tmp_path)
    read = read_audit(tmp_path)
    written = json.loads((tmp_path / "audit.json").read_text())
    assert written["strict"] == {"passed": False, "why": ["format: AUC 0.98"], "unjudged": []}
    assert written["parts"][0]["shots"] == [{"title": "pair 0", "file": "audit/files-1.png", "caption": "alike"}]
    assert [finding.value for finding in read.findings] == [0.5, 0.98, None]
    assert read.parts[0].shots == [Shot("pair 0", PNG, "alike")]
    write_audit(read, tmp_path / "again")
    for file in ("audit.json", "audit.md", "audit/files-1.png"):
        assert (tmp_path / "again" / file).read_bytes() == (tmp_path / file).read_bytes()


def test_pictures_of_an_older_audit_go(tmp_path):
    write_audit(make_audit(shots=3), tmp_path)
    write_audit(make_audit(shots=1), tmp_path)
    assert [file.name for file in (tmp_path / "audit").iterdir()] == ["files-1.png"]


def test_no_audit_and_one_that_is_none(tmp_path):
    assert read_audit(tmp_path) is None
    write_audit(make_audit(), tmp_path)
    text = (tmp_path / "audit.json").read_text()
    for wrong in ("{", "[]", '{"data": {}}', text.replace("audit/files-1.png", "../../secret.png")):
        (tmp_path / "audit.json").write_text(wrong)
        with pytest.raises(MaibenchError, match="not an audit that maibench wrote"):
            read_audit(tmp_path)


def test_a_folder_that_cannot_be_written_says_so(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DiskError, match="choose another folder"):
        write_audit(make_audit(), tmp_path / "file")


def test_the_page_opens_offline_and_escapes_what_data_say(tmp_path):
    page = write_audit_page(make_audit(SCRIPT), tmp_path, ["maibench", "data", "audit", SCRIPT]).read_text()
    assert SCRIPT not in page and page.count("<script") == 2
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(set(ids)) == len(ids)  # the script finds its data by one
    assert "default-src 'none'" in page and not re.search(r"""(src|href)=["']?(http|//|/|file)""", page)
    assert f"data:image/png;base64,{base64.b64encode(PNG).decode()}" in page
    light = r'<li class="(\w+)">\s*<span class="light"><span aria-hidden="true">(.)</span>(\w+)'
    # a shape and a word beside each colour; the summary has what is not green
    red, green, grey = ("red", "✖", "red"), ("green", "●", "green"), ("grey", "○", "grey")
    assert re.findall(light, page) == [red, grey, red, green, grey]


def test_the_summary_is_short_and_the_page_says_how_it_was_measured(tmp_path):
    audit = make_audit()
    audit.data.update(maibench="9.8.7", limit_auc=0.7, parts=["files"])
    page = write_audit_page(audit, tmp_path).read_text()
    summary, _, sections = page.partition('<section id="files">')
    assert '<a href="#files">format</a>' in summary and "1 green: see the sections" in summary
    assert "maibench data match" not in summary and "maibench data match" in sections
    assert "the interval lies above 0.7;" in summary and "part files" in summary and "part leaks" not in summary
    assert "<dt>maibench</dt><dd>9.8.7</dd>" in sections


def test_markdown_and_terminal_say_what_was_found(tmp_path):
    write_audit(make_audit(SCRIPT), tmp_path)
    text = (tmp_path / "audit.md").read_text()
    assert "size: AUC 0.500 [0.470, 0.530]" in text
    assert "<script" not in text and "| ✖ red   | format" in text and "![pair 0](audit/files-1.png)" in text
    for width in (40, 120):
        console = Console(width=width, record=True, file=io.StringIO())
        console.print(terminal(make_audit(name="[bold]x[/bold]")))
        shown = console.export_text()
        assert "✖ red" in shown and "[bold]x[/bold]" in shown and "→ maibench data match" in " ".join(shown.split())
        assert max(map(len, shown.splitlines())) <= width


def test_a_grid_s_columns_of_words_are_names():
    grid = Grid("", ["generator", "light", "n", "AUC"], [["4", "red", 1200, "0.91 [0.88, 0.94]"], ["sd", None, 3, 0.5]])
    table = grid_table(grid)
    assert table.n_names == 2
    assert [[cell.text for cell in row] for row in table.rows] == [
        ["4", "red", "1,200", "0.91 [0.88, 0.94]"], ["sd", "–", "3", "0.500"],
    ]  # fmt: skip
    intervals = grid_table(Grid("", ["generator", "95 %"], [["sd", None], ["dalle", "[0.880, 0.940]"]]))
    assert [row[1].is_name for row in intervals.rows] == [False, False]
    assert grid_table(Grid("", ["a"], [])).rows == []
