"""One table in Markdown and in LaTeX."""

import re

import pytest

from maibench.evaluation.tables.formats import (
    LATEX_NEEDS,
    Cell,
    Table,
    escape_latex,
    escape_markdown,
    latex_table,
    markdown_table,
)

HOSTILE = ["<script>alert(1)</script>", "a|b", "x_y%", "two\nlines", "\\{}~^#$&", "[1] first", "*star", "`_it_`"]


def table(*columns, names=("a", "b"), best=()):
    """Columns of texts beside a column of names; best: (row, column) of bold cells."""
    rows = [
        [Cell(name, is_name=True), *(Cell(texts[r], best=(r, c) in best) for c, texts in enumerate(columns))]
        for r, name in enumerate(names)
    ]
    return Table(["name", *(f"c{c}" for c in range(len(columns)))], rows)


def latex(made, **options):
    return latex_table(made, "A caption.", "tab:x", [], **options)


def body(text):
    """The rows between the rules, each split into its cells."""
    inner = re.search(r"\\midrule\n(.*?)\n\\bottomrule", text, flags=re.DOTALL).group(1)
    return [line.removesuffix(r" \\").split(" & ") for line in inner.splitlines()]


def preambles(text):
    return re.findall(r"\\begin\{tabular\}\{(.*)\}\n\\toprule", text)


# --- Markdown


def test_markdown_leaves_plain_names_alone():
    assert escape_markdown("mai_cnn v2-b:75") == "mai_cnn v2-b:75"


def test_markdown_escapes_only_brackets_that_make_links():
    assert escape_markdown("AUC 0.9 [0.8, 1.0], a[1]") == "AUC 0.9 [0.8, 1.0], a[1]"
    assert escape_markdown("see [x](http://y) and ![x][y] z]: a") == r"see [x\](http://y) and ![x\][y] z\]: a"
    assert escape_markdown("[ ] done") == r"\[ ] done"


def test_markdown_is_padded_and_marks_the_best():
    lines = markdown_table(table(["0.9", "<0.001"], best={(0, 0)})).splitlines()
    assert lines == ["| name |        c0 |", "| ---- | --------: |", "| a    |   **0.9** |", "| b    | &lt;0.001 |"]


# --- LaTeX


@pytest.mark.parametrize(
    ("texts", "preamble", "cells"),
    [
        (["0.912", "12.5"], "S[table-format=2.3]", [["0.912"], ["12.5"]]),
        (["+0.012", "-0.100"], "S[table-format=+1.3]", [["+0.012"], ["-0.100"]]),
        (["2574", "–"], "S[table-format=4.0]", [["2574"], ["{--}"]]),
        (["0.300", "<0.001"], "S[table-format=1.3]", [["0.300"], [r"{\textless{}0.001}"]]),
        (["0.912*", "0.800"], "S[table-format=1.3]@{}l", [["0.912", "*"], ["0.800", ""]]),
        (
            ["0.912 [0.88, 0.94]", "–"],
            r"S[table-format=1.3]@{\hspace{0.3em}}l",
            [["0.912", "[0.88, 0.94]"], ["{--}", ""]],
        ),
        (["0.912 ± 0.010", "0.9"], r"S[table-format=1.3]@{\hspace{0.3em}}l", [["0.912", r"$\pm$ 0.010"], ["0.9", ""]]),
        (["4.83 M", "386 k"], "r", [["4.83 M"], ["386 k"]]),
        (["–", "–"], "r", [["--"], ["--"]]),
    ],
)
def test_numbers_are_siunitx_columns_and_what_follows_them_has_its_own(texts, preamble, cells):
    text = latex(table(texts))
    assert preambles(text) == [f"l {preamble}"]
    assert [row[1:] for row in body(text)] == cells


def test_bold_is_a_switch_that_siunitx_understands():
    text = latex(table(["0.912 [0.88, 0.94]", "0.8"], best={(0, 0)}))
    assert body(text)[0][1:] == [r"\bfseries 0.912", "[0.88, 0.94]"]
    assert r"\sisetup{detect-weight=true, retain-explicit-plus=true}" in text


def test_names_among_the_values_are_text():
    made = Table(["detector", "worst"], [[Cell("a", is_name=True), Cell("2 cool & 4", is_name=True)]])
    assert preambles(latex(made)) == ["l l"] and body(latex(made)) == [["a", r"2 cool \& 4"]]


def test_a_float_is_as_wide_as_it_has_to_be():
    def environment(n, **options):
        return re.search(r"\\begin\{(table\*?)\}", latex(table(*[["0.900", "0.800"]] * n), **options)).group(1)

    assert (environment(3), environment(10), environment(3, environment="table*")) == ("table", "table*", "table*")


def test_what_is_wider_than_a_page_becomes_blocks_that_repeat_the_names():
    text = latex(table(*[["0.900 [0.85, 0.95]", "0.800 [0.75, 0.85]"]] * 8))
    assert len(preambles(text)) == 2 and text.count(r"\begin{table*}") == 1
    assert sum(p.count("S[") for p in preambles(text)) == 8
    assert len(re.findall(r"^a & ", text, flags=re.MULTILINE)) == 2


def test_what_is_longer_than_a_page_becomes_several_floats():
    n = 100
    text = latex_table(table(["0.5"] * n, names=[f"d{i}" for i in range(n)]), "All.", "tab:x", ["a note"])
    assert re.findall(r"\\caption\{(.*?)\}", text) == ["All.", "All. (continued)", "All. (continued)"]
    assert text.count(r"\label") == text.count("a note") == 1
    assert re.findall(r"^(d\d+) &", text, flags=re.MULTILINE) == [f"d{i}" for i in range(n)]


def test_latex_escapes_every_special_character():
    made = table(["1"] * len(HOSTILE), names=HOSTILE)
    text = latex_table(Table([*HOSTILE[:2]], made.rows), " ".join(HOSTILE), "tab:x", HOSTILE)
    rest = re.sub(r"\\(textbackslash|textasciitilde|textasciicircum|allowbreak)\{\}|\\[{}_%&#$]", "", text)
    depth = 0
    for character in rest:
        depth += {"{": 1, "}": -1}.get(character, 0)
        assert depth >= 0
    assert depth == 0
    assert not set("#$^~_<>|%") & set(rest)
    assert escape_latex("50% of $x_1 & 中") == r"50\% of \$x\_1 \& U+4E2D"


def test_latex_rows_have_as_many_cells_as_columns_and_none_starts_an_argument():
    made = table(["0.9 [0.8, 1.0]"] * len(HOSTILE), ["1*"] * len(HOSTILE), names=HOSTILE)
    text = latex(Table(["[h]", "*", HOSTILE[0]], made.rows))
    assert preambles(text) == [r"l S[table-format=1.1]@{\hspace{0.3em}}l S[table-format=1.0]@{}l"]
    assert {len(row) for row in body(text.replace(r"\&", ""))} == {5}
    assert not any(line.startswith(("[", "*")) for line in text.splitlines())


def test_long_names_and_words_are_broken():
    name = "attack:pgd:2@" + "a-detector-of-somebody-" * 2 + "x" * 60
    text = latex_table(table(["0.9"], names=[name]), f"On {name}.", "tab:x", [name])
    stacked = re.search(r"\\begin\{tabular\}\[t\]\{@\{\}l@\{\}\}(.*?)\\end", text).group(1).split(r" \\ ")
    assert "".join(stacked) == name and max(map(len, stacked)) <= 26
    assert text.count(r"\allowbreak{}") >= 8


def test_hostile_tables_compile_without_a_box_that_sticks_out(compile_paper):
    long = "a-detector-of-somebody-" * 3 + "W" * 60
    many = [*HOSTILE, long, "zürich œ ‱"]
    values = ["0.912 [0.88, 0.94]", "–", "0.8*", "<0.001", "+0.01"]
    columns = [[values[(r + c) % len(values)] for r in range(len(many))] for c in range(14)]
    cells = table(*columns, names=many, best={(0, 0), (4, 1), (2, 3)})
    made = Table(["name", *(many * 2)[:14]], [[*row[:-1], Cell(long, is_name=True)] for row in cells.rows])
    floats = [
        latex_table(made, f"A caption with {long}.", "tab:a", many),
        latex_table(table(["1"] * 70, names=[f"d{i}" for i in range(70)]), "Long.", "tab:b", many),
        latex_table(Table(["nothing"], []), "Empty.", "tab:c", []),
    ]
    log = compile_paper(LATEX_NEEDS + "\n\n".join(floats))
    assert not re.findall(r"Overfull|too large|Warning: (?!Label)", log)
