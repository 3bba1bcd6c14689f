"""Receipts: the same steps make the same bytes, and can be read back."""

import pytest

from maibench.datasets.receipts import read_receipt, receipt_text
from maibench.errors import MaibenchError


def test_there_and_back():
    text = receipt_text(
        [{"step": "generate", "seed": 3, "model": "é", "revision": None}, {"scores": {"b": 0.1}, "step": "x"}]
    )
    assert text == '[{"model":"é","seed":3,"step":"generate"},{"scores":{"b":0.1},"step":"x"}]'
    assert read_receipt(text)[0] == {"model": "é", "seed": 3, "step": "generate"}
    assert receipt_text(read_receipt(text)) == text


def test_what_is_no_receipt():
    for steps in ([{"seed": 1}], [{"step": ""}], [{"step": "x", "score": float("nan")}]):
        with pytest.raises(ValueError):
            receipt_text(steps)
    for text in ("", "{}x", '[{"seed": 1}]', "[1]", "3"):
        with pytest.raises(MaibenchError, match="not a receipt"):
            read_receipt(text)
