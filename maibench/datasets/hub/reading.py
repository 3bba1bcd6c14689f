"""The images of a data set of Hugging Face, once the first pass has found them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.core import url_to_fs

from maibench.errors import ImageError, MaibenchError

AT_ONCE = 16
"""Images that are taken out of a row group at once."""
BLOCK = 1 << 20
"""Bytes of images that are asked for at once; up to as many are read ahead, and lost at the end of a row group."""


class LinkedImages:
    """Images that lie in files of their own, here or elsewhere. links: {name: path or URL}. Reading raises
    MaibenchError where the connection is lost."""

    in_order = False

    def __init__(self, links: Mapping[str, str]) -> None:
        self._links = links

    def read(self, path: str) -> bytes:
        """The file's bytes. Raises ImageError where it cannot be read."""
        try:
            with reaching(self._links[path]), fsspec.open(self._links[path], "rb") as stream:
                return bytes(stream.read())
        except MaibenchError:
            raise
        except Exception as error:  # whatever a file system raises
            reason = getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__
            raise ImageError(f"cannot be read: {reason}") from error

    def expect(self, paths: Sequence[str]) -> None:
        """Files can be read in any order."""


def row_group(url: str, metadata: pq.FileMetaData, group: int, image: str) -> Iterator[bytes | None]:
    """The images of a row group, one after the other."""
    system, path = url_to_fs(url)
    with reaching(url), system.open(path, "rb", block_size=BLOCK) as stream:
        # buffered, as else a whole row group's images would be held
        file = pq.ParquetFile(stream, metadata=metadata, buffer_size=BLOCK)
        leaf = f"{image}.bytes" if pa.types.is_struct(file.schema_arrow.field(image).type) else image
        for batch in file.iter_batches(AT_ONCE, row_groups=[group], columns=[leaf], use_threads=False):
            for value in batch.column(0):
                yield _bytes(value.as_py())


def one_by_one(stream: Any, image: str, place: str) -> Iterator[bytes | None]:
    """The images of a stream of Hugging Face datasets. place: where it comes from; empty for what lies here."""
    with reaching(place):
        for example in stream:
            yield _bytes(example[image])


@contextlib.contextmanager
def reaching(place: str) -> Iterator[None]:
    """Raise MaibenchError where the connection to a place elsewhere is lost: that is no reason to count its images as
    unreadable, as the same command goes on from there."""
    try:
        yield
    except (MaibenchError, FileNotFoundError, ValueError, LookupError, TypeError):
        raise
    except Exception as error:  # file systems have errors of their own (httpx's, botocore's), which are no OSError
        if "://" not in place and not place.startswith("hf:"):
            raise
        reason = " ".join(str(error).split()) or type(error).__name__
        raise MaibenchError(
            f"{place}: cannot be read any more ({reason}); check the connection, run it again"
        ) from error


def _bytes(value: Any) -> bytes | None:
    return value.get("bytes") if isinstance(value, dict) else value
