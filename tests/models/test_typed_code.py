"""What a class does is told apart where no file has its source; where it was typed is not."""

from __future__ import annotations

import subprocess
import sys

from maibench.models.typed_code import typed_code

CELL = """
class Typed:
    {attribute}

    def answer(self, x):
        return [{factor} * y for y in x if y not in {{"a", "b", "c"}}]

    @property
    def size(self):
        return {size}
"""


def typed(attribute: str = "side = 3", factor: str = "1", size: str = "2", file: str = "<cell 1>") -> bytes:
    scope: dict = {}
    exec(compile(CELL.format(attribute=attribute, factor=factor, size=size), file, "exec"), scope)
    return typed_code(scope["Typed"])


def test_code_and_constants_count_and_places_do_not():
    assert typed(file="/elsewhere/2.py") == typed()
    changed = [typed(factor="2"), typed(size="3"), typed(attribute="side = 4"), typed(attribute="name = 'a'")]
    assert len({*changed, typed()}) == 5


def test_it_is_the_same_in_another_process():
    """Sets of strings have another order there."""
    code = "import hashlib; from tests.models.test_typed_code import typed; print(hashlib.sha256(typed()).hexdigest())"
    prints = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(prints) == 1
