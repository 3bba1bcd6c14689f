"""Text for pdfLaTeX: escaped, measured and broken into lines."""

from __future__ import annotations

import re
import unicodedata

from maibench.evaluation.tables.cells import one_line

_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "_": r"\_",
    "%": r"\%",
    "&": r"\&",
    "#": r"\#",
    "$": r"\$",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    "–": "--",
    "—": "---",
    "…": r"\ldots{}",
    "’": "'",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "×": r"$\times$",
    "±": r"$\pm$",
    "→": r"$\to$",
    "·": r"$\cdot$",
    "ß": r"\ss{}",
    "ø": r"\o{}",
    "æ": r"\ae{}",
}

_BREAKS = re.compile(r"[^\s\-_:/+@.=,;]*[\s\-_:/+@.=,;]+|[^\s\-_:/+@.=,;]+")


def escape_latex(text: object) -> str:
    """`text` as literal text for pdfLaTeX with its default fonts.

    A character that those fonts lack would stop the compilation: it is written as its code point, `U+4E2D`.
    """
    return "".join(_latex_character(c) for c in one_line(text))


def _latex_character(c: str) -> str:
    if c in _LATEX:
        return _LATEX[c]
    parts = unicodedata.normalize("NFD", c)
    has_accent_of_latex = c < "\u0180" and len(parts) == 2 and parts[0].isalpha() and parts[1] != "\u0328"
    return c if c.isascii() or has_accent_of_latex else f"U+{ord(c):04X}"


def header_lines(header: str, width: float) -> list[str]:
    """A header about as wide as what stands below it; no word is broken unless it is long."""
    longest = max((digits(part.strip()) for part in _BREAKS.findall(one_line(header))), default=0.0)
    return broken_lines(header, max(8.0, width, min(longest, 18.0)))


def broken_lines(text: str, width: float) -> list[str]:
    """`text` in lines of at most `width` digits, broken at spaces and after marks, else anywhere."""
    lines = [""]
    for part in _BREAKS.findall(one_line(text)):
        if digits((lines[-1] + part).rstrip()) > width and lines[-1]:
            lines.append("")
        for c in part:
            if digits((lines[-1] + c).rstrip()) > width and lines[-1]:
                lines.append("")
            lines[-1] += c
    return [line.strip() for line in lines]


def stacked(lines: list[str], place: str, alignment: str) -> str:
    """Lines of text as one cell, aligned at `place` ("t", "b") of their row."""
    if len(lines) == 1:
        return escape_latex(lines[0])
    texts = [("{}" if line.startswith(("[", "*")) else "") + escape_latex(line) for line in lines]
    body = r" \\ ".join(texts)
    return rf"\begin{{tabular}}[{place}]{{@{{}}{alignment}@{{}}}}{body}\end{{tabular}}"


def breakable(text: str) -> str:
    """Running text; a long word, as the name of a file is, may be broken after its marks."""
    words = one_line(text).split(" ")
    return " ".join(r"\allowbreak{}".join(map(escape_latex, broken_lines(word, 18))) for word in words)


def digits(text: str) -> float:
    """About how wide a text is, in digits of the same size, in Computer Modern."""
    return sum(_width(c) for c in text)


def _width(c: str) -> float:
    if c in " .,:;'|!()[]ijlt-I":
        return 0.65
    if c in "mM%@&±<>+=WQ" or c.isupper():
        return 2.1 if c == "W" else 1.8 if c in "mM%@" else 1.6
    return 6.6 if _latex_character(c).startswith("U+") else 1.5 if c == "w" else 1.08


def widest(lines: list[str]) -> float:
    """`digits` of the widest line."""
    return max(map(digits, lines))
