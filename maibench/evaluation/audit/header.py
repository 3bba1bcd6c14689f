"""What the header of an image's file says, before a pixel is decoded."""

from __future__ import annotations

import hashlib
import io
import math
from functools import cache

import numpy as np
from PIL import ExifTags, Image
from PIL.JpegImagePlugin import JpegImageFile

from maibench.datasets.image import FORMATS, ImageFile

_SAMPLING = {(1, 1): "4:4:4", (2, 1): "4:2:2", (2, 2): "4:2:0", (4, 1): "4:1:1", (1, 2): "4:4:0"}


def file_facts(file: ImageFile) -> dict[str, object]:
    """What the header says; nothing is decoded.

    format, mode: Pillow's names. width, height (as stored), megapixels, aspect (width / height), n_bytes,
    bytes_per_pixel. Of a JPEG, else NaN, "" or False: jpeg_quality (1 to 100, IJG's scale: of the nearest of libjpeg's
    tables), jpeg_tables ("libjpeg 90" where they are its, else a hash), subsampling ("4:2:0", "grey"), progressive.
    exif: there is EXIF; maker, software: it names the camera, the program. texts: names of what else tells of the
    making, in order, with commas ("c2pa,parameters,xmp"); what follows a PNG's pixels is not seen. icc: a hash of the
    colour profile.
    """
    pixels = file.width * file.height
    facts: dict[str, object] = {
        "format": file.format, "width": file.width, "height": file.height, "megapixels": pixels / 1e6,
        "aspect": file.width / file.height, "n_bytes": len(file.data), "bytes_per_pixel": len(file.data) / pixels,
    }  # fmt: skip
    with Image.open(io.BytesIO(file.data), formats=FORMATS) as opened:
        facts |= {"mode": opened.mode, "texts": _notes(opened, file.data)}
        return facts | _jpeg(opened) | _exif(opened) | {"icc": _hash(opened.info.get("icc_profile") or b"")}


@cache
def libjpeg_tables() -> np.ndarray:
    """(100, 2, 64): the luma and chroma quantisation tables of qualities 1 to 100, as libjpeg writes them."""
    made = []
    for quality in range(1, 101):
        stream = io.BytesIO()
        Image.new("RGB", (8, 8)).save(stream, "JPEG", quality=quality)
        with Image.open(stream) as opened:
            made.append([opened.quantization[0], opened.quantization[1]])  # type: ignore[attr-defined]
    return np.array(made, dtype=np.float64)


def _jpeg(opened: Image.Image) -> dict[str, object]:
    if not isinstance(opened, JpegImageFile):
        return {"jpeg_quality": math.nan, "jpeg_tables": "", "subsampling": "", "progressive": False}
    tables = {key: np.asarray(table, dtype=np.float64) for key, table in sorted(opened.quantization.items())}
    known = [(table, key) for key, table in tables.items() if key < 2 and len(table) == 64]
    away = sum(np.abs(libjpeg_tables()[:, key] - table).sum(axis=1) for table, key in known)
    sampling = [layer[1:3] for layer in opened.layer]
    if len(sampling) < 3:
        name = "grey"
    else:
        (across, down), (chroma_across, chroma_down) = sampling[:2]
        ratio = across // max(chroma_across, 1), down // max(chroma_down, 1)
        name = _SAMPLING.get(ratio, f"{ratio[0]}x{ratio[1]}")
    quality = int(np.argmin(away)) + 1
    is_libjpeg = len(known) == len(tables) and bool(np.min(away) == 0)
    hashed = _hash(b"".join(table.astype(">u2").tobytes() for table in tables.values()))
    return {
        "jpeg_quality": float(quality) if known else math.nan,
        "jpeg_tables": f"libjpeg {quality}" if known and is_libjpeg else hashed,
        "subsampling": name,
        "progressive": "progressive" in opened.info,
    }


def _exif(opened: Image.Image) -> dict[str, object]:
    facts: dict[str, object] = {"exif": bool(opened.info.get("exif")), "maker": False, "software": False}
    if facts["exif"]:
        try:
            tags = opened.getexif()
        except Exception:  # Pillow raises what it meets in a broken block; that there is one is the fact
            return facts
        facts["maker"] = ExifTags.Base.Make in tags or ExifTags.Base.Model in tags
        facts["software"] = ExifTags.Base.Software in tags
    return facts


def _notes(opened: Image.Image, data: bytes) -> str:
    """Texts of PNG, comments, XMP, and C2PA's manifest: a JUMBF box in JPEG's APP11, PNG's caBX, WebP's C2PA chunk."""
    info = opened.info
    names = {str(name) for name, text in info.items() if opened.format == "PNG" and isinstance(text, str)}
    names = names - {"XML:com.adobe.xmp"} | {name for name in ("xmp", "comment") if info.get(name)}
    chunks = [chunk[0] for chunk in getattr(opened, "private_chunks", [])]
    boxes = [name for name, box in getattr(opened, "applist", []) if name == "APP11" and b"jumb" in box[:64]]
    if b"caBX" in chunks or boxes or (opened.format == "WEBP" and _has_chunk(data, b"C2PA")):
        names.add("c2pa")
    return ",".join(sorted(name.replace(",", " ") for name in names))


def _has_chunk(data: bytes, name: bytes) -> bool:
    """Whether a RIFF file has a chunk of this name."""
    at = 12
    while at + 8 <= len(data):
        if data[at : at + 4] == name:
            return True
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        at += 8 + size + size % 2
    return False


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:8] if data else ""
