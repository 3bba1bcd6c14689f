"""What a WebDataset shard holds: one pass over the headers of its members."""

from __future__ import annotations

import json
import re
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import IO, Any

import pyarrow as pa

from maibench.datasets.image import EXTENSIONS
from maibench.errors import MaibenchError

TEXTS = frozenset({"cls", "txt", "text", "caption", "label", "generator", "source", "split"})
"""Extensions of members that are a column's value; .json holds several."""
KEY, MEMBER, OFFSET, SIZE = "__key__", "__member__", "__offset__", "__size__"
"""Columns of an index, as WebDataset writes what is its own; the others are the samples'."""
_NAME = re.compile(r"((?:.*/)?[^./][^./]*)\.([^/]+)")
_END = bytes(tarfile.BLOCKSIZE)


@dataclass
class _Sample:
    """members: {extension: (name, offset, bytes)} of its images. values: its columns."""

    key: str
    members: dict[str, tuple[str, int, int]] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)


def index_shard(stream: IO[bytes], name: str, image: str = "") -> pa.Table:
    """A row a sample: `KEY`, `MEMBER`, `OFFSET` and `SIZE` of its image (an empty member: it has none), then the values
    of its .json and of its texts.

    stream: can be sought. name: of the shard, for messages. image: the extension that is meant where a sample holds
    several images. Raises MaibenchError for a shard that is cut or no tar, and for samples that cannot be told apart.
    """
    samples: dict[str, _Sample] = {}
    current = ""
    try:
        with tarfile.open(fileobj=stream, mode="r:") as tar:
            for member in _members(tar, stream):
                found = _NAME.fullmatch(member.name)
                if not member.isreg() or found is None:
                    continue
                if found[1] != current and found[1] in samples:
                    raise MaibenchError(f"{name}: the sample '{found[1]}' lies at two places; pack the shard again")
                current = found[1]
                sample = samples.setdefault(current, _Sample(current))
                _take(sample, member, found[2].lower(), tar, name)
    except (tarfile.TarError, EOFError, OverflowError, UnicodeDecodeError) as error:
        raise _broken(stream, name, list(samples)) from error
    if not samples:
        raise MaibenchError(f"{name}: holds no samples (members such as 000001.jpg)")
    return _table([(sample, _chosen(sample, image, name)) for sample in samples.values()])


def as_column(values: list[Any]) -> pa.Array:
    """Values that are alike keep their type; others become text, lists and groups as JSON."""
    if not any(isinstance(value, (dict, list)) for value in values):
        try:
            return pa.array(values)
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
            pass
    return pa.array([value if value is None or isinstance(value, str) else json.dumps(value) for value in values])


def _members(tar: tarfile.TarFile, stream: IO[bytes]) -> Iterator[tarfile.TarInfo]:
    """The members in order, without keeping them. Raises tarfile.ReadError where the end of the archive is missing."""
    while (member := tar.next()) is not None:
        tar.members.clear()  # type: ignore[attr-defined]
        yield member
    # tarfile takes a broken header for the end
    stream.seek(tar.offset)
    if stream.read(len(_END)) != _END:
        raise tarfile.ReadError("no end of the archive")


def _take(sample: _Sample, member: tarfile.TarInfo, extension: str, tar: tarfile.TarFile, shard: str) -> None:
    last = extension.rpartition(".")[2]
    if f".{last}" in EXTENSIONS:
        if extension in sample.members:
            raise MaibenchError(f"{shard}: the sample '{sample.key}' has two members .{extension}")
        sample.members[extension] = (member.name, member.offset_data, member.size)
    elif extension in TEXTS or last == "json":
        content = tar.extractfile(member)
        data = content.read() if content else b""
        try:
            text = data.decode()
            values = json.loads(text) if last == "json" else text.strip()
        except ValueError as error:
            raise MaibenchError(f"{shard}: '{member.name}' cannot be read: {error}") from error
        sample.values.update(values if isinstance(values, dict) else {extension: values})


def _chosen(sample: _Sample, image: str, shard: str) -> tuple[str, int, int]:
    if image:
        return sample.members.get(image.lstrip(".").lower(), ("", 0, 0))
    if len(sample.members) > 1:
        raise MaibenchError(
            f"{shard}: the sample '{sample.key}' holds several images ({', '.join(sorted(sample.members))}); say which "
            f"one: --columns image={min(sample.members)}"
        )
    return next(iter(sample.members.values()), ("", 0, 0))


def _table(samples: list[tuple[_Sample, tuple[str, int, int]]]) -> pa.Table:
    places = list(zip(*(chosen for _, chosen in samples), strict=True))
    columns: dict[str, pa.Array] = {
        KEY: pa.array([sample.key for sample, _ in samples]),
        MEMBER: pa.array(places[0]), OFFSET: pa.array(places[1]), SIZE: pa.array(places[2]),
    }  # fmt: skip
    names: Mapping[str, None] = dict.fromkeys(name for sample, _ in samples for name in sample.values)
    for name in names:
        if name not in columns:
            columns[name] = as_column([sample.values.get(name) for sample, _ in samples])
    return pa.table(columns)


def _broken(stream: IO[bytes], name: str, keys: list[str]) -> MaibenchError:
    stream.seek(0)
    start = stream.read(6)
    if not start:
        return MaibenchError(f"{name}: is empty (0 bytes); copy it again")
    if start[:2] == b"\x1f\x8b" or start in (b"\xfd7zXZ\0",) or start[:3] == b"BZh" or start[:4] == b"(\xb5/\xfd":
        return MaibenchError(f"{name}: is compressed; images in it cannot be found by their place: unpack it to a .tar")
    if not keys:
        return MaibenchError(f"{name}: is no tar archive, or is cut in its first member; copy it again")
    whole = f"'{keys[-2]}' is the last of {len(keys) - 1:,} whole samples" if len(keys) > 1 else "no sample is whole"
    return MaibenchError(
        f"{name}: is cut in the middle or damaged after {stream.seek(0, 2):,} bytes: {whole}; copy it again, or leave "
        "it out of the pattern"
    )
