"""What is rare or uneven is named."""

from __future__ import annotations

import numpy as np
import pandas as pd

from maibench.evaluation.audit.balance import balance_part


def _images(counts: dict[tuple[str, str], int], sizes: dict[str, int] | None = None) -> pd.DataFrame:
    """counts: (generator, split) -> images; each is its own source. sizes: sides, 256 where nothing is said."""
    rows = [
        {"generator": name, "split": split, "label": int(name != "real"), "source": f"{name}-{split}-{i}"}
        for (name, split), count in counts.items()
        for i in range(count)
    ]
    side = [(sizes or {}).get(row["generator"], 256) for row in rows]
    return pd.DataFrame(rows).assign(width=side, height=side)


def _lights(facts: pd.DataFrame) -> dict[str, str]:
    return {finding.name: finding.light for finding in balance_part(facts).findings}


def test_an_even_set_is_green() -> None:
    assert set(_lights(_images({("real", "test"): 30, ("gen-a", "test"): 15, ("gen-b", "test"): 15})).values()) == {
        "green"
    }


def test_what_is_uneven_is_named() -> None:
    facts = _images({("real", "test"): 90, ("gen-a", "test"): 12, ("gen-b", "test"): 3}, {"gen-a": 512})
    found = {finding.name: finding for finding in balance_part(facts).findings}
    assert {name: finding.light for name, finding in found.items()} == dict.fromkeys(found, "yellow")
    assert "gen-b (3)" in found["generators"].says and "gen-a" not in found["generators"].says
    assert found["shared sizes"].value == 3 / 15


def test_a_split_of_one_class_is_red() -> None:
    facts = _images({("real", "train"): 30, ("real", "test"): 30, ("gen-a", "train"): 30})
    assert _lights(facts)["classes"] == "red"
    assert "gen-a (0)" in balance_part(facts).findings[1].says
    assert _lights(_images({("real", "test"): 12}))["shared sizes"] == "grey"


def test_content_is_told_by_what_images_show() -> None:
    facts = _images({("real", "test"): 300, ("gen-a", "test"): 300})
    seen = np.random.default_rng(0).normal(size=(600, 32))
    alike = balance_part(facts, seen).findings[-1]
    seen[300:, :4] += 2
    apart = balance_part(facts, seen).findings[-1]
    assert (alike.name, alike.light, apart.light) == ("content", "green", "yellow")
    assert apart.lo is not None and apart.lo > 0.65


def test_photographs_of_many_sizes_agree_where_both_classes_have_them() -> None:
    facts = _images({("real", "test"): 400, ("gen-a", "test"): 400})
    sides = np.random.default_rng(0).integers(600, 2000, (800, 2))
    assert _lights(facts.assign(width=sides[:, 0], height=sides[:, 1]))["shared sizes"] == "green"


def test_without_a_synthetic_image_there_is_nothing_to_count() -> None:
    found = {finding.name: finding for finding in balance_part(_images({("real", "test"): 12})).findings}
    assert found["generators"].light == "grey"
    assert found["number of sources"].says == "12 of real images in the test split"


def test_tables_count_every_image() -> None:
    facts = _images({("real", "train"): 4, ("real", "test"): 5, ("gen-a", "test"): 6})
    splits, generators, sizes = balance_part(facts).grids
    assert splits.rows == [["train", 4, 0, 0.0, 0, 4], ["test", 5, 6, 6 / 11, 1, 11]]
    assert generators.rows == [["real", 9, 4, 5, 9, "256 x 256"], ["gen-a", 6, 0, 6, 6, "256 x 256"]]
    assert [row[:3] for row in sizes.rows] == [["real", "256 x 256", 9], ["synthetic", "256 x 256", 6]]
