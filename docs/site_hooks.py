"""What the site needs beyond Markdown: the notebook as a page, and links to files beside docs/ as their names."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

NOTEBOOK = "notebooks/compare.ipynb"


def on_files(files: Any, config: Any) -> Any:
    """The notebook, with its outputs, as notebook.md."""
    cells = json.loads((Path(config["docs_dir"]) / NOTEBOOK).read_text())["cells"]
    text = "\n\n".join(_cell(cell) for cell in cells) + f"\n\n[The notebook itself]({NOTEBOOK})\n"
    files.append(File.generated(config, "notebook.md", content=text))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """A file beside docs/ is in the repository, not on the site."""
    return re.sub(r"\[([^\]]+)\]\(\.\./[^)]+\)", r"`\1`", markdown)


def _cell(cell: dict[str, Any]) -> str:
    source = "".join(cell["source"])
    if cell["cell_type"] == "markdown":
        return source
    return "\n\n".join([f"```python\n{source}\n```", *map(_output, cell["outputs"])])


def _output(output: dict[str, Any]) -> str:
    data = output.get("data", {})
    if "image/png" in data:
        return f'<img alt="what the cell above draws" src="data:image/png;base64,{"".join(data["image/png"]).strip()}">'
    if "text/html" in data:
        html = re.sub(r"<style.*?</style>", "", "".join(data["text/html"]), flags=re.DOTALL)
        return re.sub(r"\s*\n\s*", " ", re.sub(r"<table[^>]*>", "<table>", html))
    return f"```text\n{''.join(output.get('text', data.get('text/plain', ''))).rstrip()}\n```"
