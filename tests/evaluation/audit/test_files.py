"""What headers say, against files of known making, and which of it is blamed for telling the label."""

from __future__ import annotations

import io
import math
import struct
import zlib
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image, PngImagePlugin

from maibench.datasets.image import parse_file
from maibench.evaluation.audit.files import files_part
from maibench.evaluation.audit.header import file_facts
from maibench.evaluation.audit.parts import Part
from maibench.evaluation.audit.verdict import TOGETHER, WITHOUT_BYTES


@cache
def _picture(seed: int, smooth: bool = False, size: tuple[int, int] = (64, 64)) -> Image.Image:
    grain = np.random.default_rng(seed).integers(0, 256, (size[1] // 8, size[0] // 8, 3), dtype=np.uint8)
    fine = np.random.default_rng(seed + 1).integers(-20, 21, (size[1], size[0], 3)) * (not smooth)
    wide = np.asarray(Image.fromarray(grain).resize(size, Image.Resampling.BICUBIC), dtype=np.int64)
    return Image.fromarray(np.clip(wide + fine, 0, 255).astype(np.uint8))


def _file(picture: Image.Image, form: str = "JPEG", **settings: Any) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, form, **settings)
    return stream.getvalue()


def _facts(data: bytes) -> dict[str, Any]:
    return file_facts(parse_file("a", data))


@pytest.mark.parametrize("quality", [1, 30, 75, 95, 100])
@pytest.mark.parametrize(("mode", "sampling", "name"), [("RGB", 0, "4:4:4"), ("RGB", 2, "4:2:0"), ("L", 0, "grey")])
def test_quality_and_sampling_are_those_of_the_encoder(quality: int, mode: str, sampling: int, name: str) -> None:
    data = _file(_picture(0).convert(mode), quality=quality, subsampling=sampling, progressive=quality == 75)
    facts = _facts(data)
    found = (facts["jpeg_quality"], facts["subsampling"], facts["progressive"], facts["mode"], facts["n_bytes"])
    assert found == (quality, name, quality == 75, mode, len(data))
    assert facts["bytes_per_pixel"] == len(data) / 64**2


def test_tables_of_our_own_have_the_nearest_quality() -> None:
    with Image.open(io.BytesIO(_file(_picture(0), quality=80))) as opened:
        tables = [list(table) for table in opened.quantization.values()]
    tables[0][5] += 1
    facts, known = _facts(_file(_picture(0), qtables=tables)), _facts(_file(_picture(0), quality=80))
    assert facts["jpeg_quality"] == 80
    assert facts["jpeg_tables"] != known["jpeg_tables"] == "libjpeg 80"


def test_what_else_a_file_carries_is_named() -> None:
    exif = Image.Exif()
    exif[0x010F], exif[0x0131] = "Canon", "GIMP"
    text = PngImagePlugin.PngInfo()
    text.add_text("parameters", "a cat, steps: 20")
    text.add_itxt("XML:com.adobe.xmp", "<x/>")
    png = _file(_picture(0), "PNG", pnginfo=text, icc_profile=b"a profile")
    chunk = b"caBX" + b"jumb"
    at = png.index(b"IDAT") - 4
    png = png[:at] + struct.pack(">I", 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) + png[at:]
    jpeg = _file(_picture(0), exif=exif, comment="made here")
    jpeg = jpeg[:2] + b"\xff\xeb" + struct.pack(">H", 22) + b"JP\0\1\0\0\0\1\0\0\0\x0ejumb\0\0\0\0" + jpeg[2:]
    webp = _file(_picture(0), "WEBP", exif=exif)
    webp = b"RIFF" + struct.pack("<I", len(webp) + 2) + webp[8:] + b"C2PA" + struct.pack("<I", 2) + b"ab"
    known = [_facts(data) for data in (png, jpeg, webp, _file(_picture(0)))]
    assert [facts["texts"] for facts in known] == ["c2pa,parameters,xmp", "c2pa,comment", "c2pa", ""]
    assert [facts["exif"] for facts in known] == [False, True, True, False]
    assert [facts["maker"] and facts["software"] for facts in known] == [False, True, True, False]
    assert [bool(facts["icc"]) for facts in known] == [True, False, False, False]
    assert math.isnan(known[0]["jpeg_quality"]) and known[0]["jpeg_tables"] == ""


def test_a_broken_exif_block_and_a_grey_tiff_have_facts() -> None:
    assert _facts(_file(_picture(0), exif=b"Exif\0\0broken"))["exif"]
    assert _facts(_file(_picture(0).convert("L"), "TIFF"))["format"] == "TIFF"


def _audit(store: Callable[[int, int, np.random.Generator], bytes], n: int = 200) -> tuple[dict[str, str], Part]:
    """The lights of n images; store(number, label, rng) makes the file."""
    rng = np.random.default_rng(0)
    rows = []
    for i in range(n):
        label = i % 2
        generator = ("gen-a", "gen-b")[i // 2 % 2] if label else "real"
        rows.append({"label": label, "generator": generator, "source": f"s{i}"} | _facts(store(i, label, rng)))
    part = files_part(pd.DataFrame(rows))
    return {finding.name: finding.light for finding in part.findings}, part


def _quality(rng: np.random.Generator) -> int:
    return int(rng.integers(80, 95))


def test_equal_files_are_green() -> None:
    lights, part = _audit(lambda i, label, rng: _file(_picture(i), quality=_quality(rng)))
    assert set(lights.values()) <= {"green", "grey"}, "100 sources may leave it open"
    assert WITHOUT_BYTES not in lights
    assert len(part.grids[1].rows) == 2


LEAKS: dict[str, tuple[Callable[..., bytes], set[str]]] = {
    "synthetic PNG": (lambda i, y, rng: _file(_picture(i), "PNG" if y else "JPEG"), {"format"}),
    "real larger": (lambda i, y, rng: _file(_picture(i, size=(64, 64) if y else (72, 72))), {"size"}),
    "quality 95 and 75": (
        lambda i, y, rng: _file(_picture(i), quality=75 if y else 95), {"JPEG tables", "JPEG quality"},
    ),
    "cameras' EXIF": (lambda i, y, rng: _file(_picture(i), exif=_camera(y)), {"EXIF"}),
    "WebP's quality": (lambda i, y, rng: _file(_picture(i), "WEBP", quality=60 if y else 95), {"bytes per pixel"}),
}  # fmt: skip


def _camera(label: int) -> Image.Exif:
    exif = Image.Exif()
    if not label:
        exif[0x010F] = "Canon"
    return exif


@pytest.mark.parametrize("leak", LEAKS)
def test_a_leak_is_found_and_nothing_else_blamed(leak: str) -> None:
    store, guilty = LEAKS[leak]
    lights, part = _audit(store)
    assert {name for name, light in lights.items() if light == "red"} == {TOGETHER, *guilty}
    by_name = {finding.name: finding for finding in part.findings}
    assert all("`maibench data match`" in by_name[name].todo for name in guilty)
    if leak == "synthetic PNG":
        assert by_name["JPEG quality"].says == "could not be measured: no synthetic image is a JPEG"
    if leak != "WebP's quality" and lights["bytes per pixel"] != "green":
        assert "follow from" in by_name["bytes per pixel"].says


def test_what_only_one_class_has_is_yellow_though_it_hardly_tells() -> None:
    def store(i: int, label: int, rng: np.random.Generator) -> bytes:
        return _file(_picture(i // 2 % 8), comment="mine" if not label and i % 40 < 2 else None, quality=_quality(rng))

    lights, part = _audit(store, n=600)
    by_name = {finding.name: finding for finding in part.findings}
    assert lights["texts"] == "yellow" and lights[TOGETHER] == "green"
    assert by_name["texts"].says.startswith("hardly tells the label: AUC 0.525 [")
    assert ", and only real images have comment; real: none (95 %)" in by_name["texts"].says


def test_smoother_pictures_are_content_and_not_format() -> None:
    lights, part = _audit(lambda i, label, rng: _file(_picture(i, smooth=label == 1), quality=_quality(rng)))
    by_name = {finding.name: finding for finding in part.findings}
    assert (lights[TOGETHER], lights["bytes per pixel"], lights[WITHOUT_BYTES]) == ("yellow", "yellow", "green")
    assert by_name["bytes per pixel"].value > 0.9
    assert by_name[WITHOUT_BYTES].lo < 0.5 < by_name[TOGETHER].lo
    assert "content" in by_name["bytes per pixel"].says


def test_a_generator_that_leaks_alone_stands_out() -> None:
    _, part = _audit(lambda i, y, rng: _file(_picture(i), quality=70 if y and i // 2 % 2 else 90))
    grid = part.grids[1]
    aucs = {row[0]: dict(zip(grid.columns, row, strict=True))["JPEG quality"] for row in grid.rows}
    assert aucs == {"gen-a": pytest.approx(0.5), "gen-b": pytest.approx(1.0)}


@pytest.mark.parametrize(
    ("labels", "reason"), [([0] * 20, "there is one class only"), ([0] * 20 + [1] * 3, "one class has 3 sources only")]
)
def test_too_few_of_a_class_are_grey_with_the_reason(labels: list[int], reason: str) -> None:
    known = _facts(_file(_picture(0)))
    rows = [{"label": y, "generator": "g" if y else "real", "source": str(i)} | known for i, y in enumerate(labels)]
    findings = files_part(pd.DataFrame(rows)).findings
    assert {finding.light for finding in findings} == {"grey"}
    assert reason in findings[0].says
