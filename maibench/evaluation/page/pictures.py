"""Pictures inside a page: an SVG that matplotlib wrote as an element, others as data URIs."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from xml.etree import ElementTree

# What matplotlib draws with. Anything else was not drawn by it, and has no business in a page.
_DRAWN = frozenset({
    "svg", "g", "defs", "style", "path", "use", "clipPath", "rect", "circle", "ellipse", "line", "polyline", "polygon",
    "image", "pattern", "text", "tspan", "title", "desc", "linearGradient", "stop", "mask",
})  # fmt: skip
_KINDS = ((b"\xff\xd8\xff", "jpeg"), (b"\x89PNG\r\n\x1a\n", "png"), (b"RIFF", "webp"))
_WITH_TEXT = frozenset({"text", "tspan", "title", "desc"})
_ABOUT = frozenset({"metadata"})
_REFERENCE = re.compile(r"#|data:image/png;base64,")
_REFERRED = re.compile(r"""(?:href=["']#|url\(#)([^"')]+)""")
_AROUND_COMMAND = re.compile(r"\s*([MLHVCSQTAZ])\s*", re.IGNORECASE)
_LONG_NUMBER = re.compile(r"(\.\d\d)\d+")


def inline_svg(svg: str, prefix: str) -> str:
    """An SVG document as an element of an HTML page: no prolog, metadata or comments, every id prefixed.

    Two figures of matplotlib share ids such as `axes_1`; without a prefix the second would use the first's shapes.
    What cannot be seen goes: ids that nothing refers to, space, all but two decimals of a coordinate in points. Raises
    ValueError for what matplotlib does not draw: other elements, handlers of events, references out of the figure.
    """
    try:
        root = ElementTree.fromstring(svg)
    except ElementTree.ParseError as error:
        raise ValueError(f"not well-formed: {error}") from error
    _tidy(root, prefix, frozenset(_REFERRED.findall(svg)))
    return ElementTree.tostring(root, encoding="unicode")


def data_uri(file: Path) -> str:
    """A JPEG, PNG or WebP as a data URI; raises ValueError for anything else, whatever its name ends in."""
    return data_uri_of(file.read_bytes(), file.name)


def data_uri_of(content: bytes, name: str) -> str:
    """The same for bytes that are already here; `name` is said where they are something else."""
    kind = next((kind for start, kind in _KINDS if content.startswith(start)), None)
    if kind is None:
        raise ValueError(f"{name} is no JPEG, PNG or WebP")
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"


def _tidy(element: ElementTree.Element, prefix: str, referred: frozenset[str]) -> None:
    element.tag = _local(element.tag)
    if element.tag not in _DRAWN:
        raise ValueError(f"an element <{element.tag}>")
    if element.get("id") not in referred:
        element.attrib.pop("id", None)
    element.attrib = {_local(name): _value(_local(name), value, prefix) for name, value in element.attrib.items()}
    if element.tag == "style":
        # A style sheet of an inlined SVG rules the whole page unless it is told not to.
        element.text = re.sub(r"^\s*\*", f".{prefix} *", _inside(element.text or "", prefix))
    elif element.tag not in _WITH_TEXT:
        element.text = None
    for child in [child for child in element if _local(child.tag) in _ABOUT]:
        element.remove(child)
    for child in element:
        _tidy(child, prefix, referred)
        child.tail = None


def _value(name: str, value: str, prefix: str) -> str:
    if name.lower().startswith("on"):
        raise ValueError(f"a handler {name}")
    if name == "id":
        return f"{prefix}-{value}"
    if name == "href":
        if not _REFERENCE.match(value):
            raise ValueError(f"a reference to {value[:60]}")
        return f"#{prefix}-{value[1:]}" if value.startswith("#") else value
    if name == "d":
        value = _AROUND_COMMAND.sub(r"\1", value)
    return _LONG_NUMBER.sub(r"\1", value) if name in ("d", "x", "y") else _inside(value, prefix)


def _inside(value: str, prefix: str) -> str:
    """Style, or an attribute of it, whose references stay in the figure."""
    if "@" in value or "\\" in value or re.search(r"url\((?!#)|script:", value, re.IGNORECASE):
        raise ValueError(f"a style '{value[:60]}'")
    return value.replace("url(#", f"url(#{prefix}-")


def _local(name: str) -> str:
    return name.rpartition("}")[2]
