"""`hf:...`: a data set of the Hugging Face Hub, or an export of one that lies here, streamed and not downloaded whole.

Which files belong to which configuration, split and revision is what Hugging Face datasets says; code that a data set
brings along is never run.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from maibench.datasets.columns import Columns, parse_columns
from maibench.datasets.hub.listing import Listing, list_parquet, list_streams
from maibench.datasets.manifest import Manifest
from maibench.errors import MaibenchError

_PARTS = re.compile(r"(?P<where>[^:@]+)(?P<first>[:@][^:@]+)?(?P<second>[:@][^:@]+)?")
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True)
class HubSpec:
    """What is asked for. where: OWNER/NAME, or a folder or file that lies here (`is_local`)."""

    where: str
    config: str | None = None
    revision: str | None = None
    is_local: bool = False

    @property
    def name(self) -> str:
        """Short, for folders and titles."""
        name = Path(self.where).stem if self.is_local else self.where.split("/")[-1]
        return f"{name}-{self.config}" if self.config else name


def open_hub(spec: str, columns: str = "") -> Manifest:
    """The manifest of `OWNER/NAME[:CONFIG][@REVISION]`, or of `PATH[:CONFIG]`; what exists here goes first.

    columns: as `parse_columns` reads it; by default what the data set's card says, else the columns' names. An image's
    path is its own where the data says it and all are different, else SPLIT/NUMBER. The first pass reads the other
    columns alone where the format allows it (Parquet). Images are read forward, but in any order where each lies in
    a file of its own. Raises MaibenchError where the data is not to be had, and for columns that are not clear.
    """
    wanted = parse_hub(spec)
    where = f"hf:{spec}"
    asked = parse_columns(columns or _of_card(wanted))
    builder, streams = _streams(wanted, where)
    try:
        from datasets.packaged_modules.parquet.parquet import Parquet

        if isinstance(builder, Parquet):
            features = next(iter(streams.values())).features
            listed = list_parquet(builder.config.data_files, features, asked, _root(wanted), where)
        else:
            listed = list_streams(streams, asked, _root(wanted), where)
    except MaibenchError:
        raise
    except Exception as error:  # whatever a file system or a format's reader raises
        raise _in_words(error, wanted, where) from error
    return _manifest(listed, asked, wanted, where)


def parse_hub(spec: str) -> HubSpec:
    """Read `OWNER/NAME[:CONFIG][@REVISION]`, in either order, or the path of something that exists.

    Raises MaibenchError for what is neither.
    """
    if spec and Path(spec).expanduser().exists():
        return HubSpec(_resolved(spec), is_local=True)
    parts = _PARTS.fullmatch(spec)
    given = {text[0]: text[1:] for text in (parts["first"], parts["second"]) if text} if parts else {}
    if parts is None or len(given) != bool(parts["first"]) + bool(parts["second"]):
        raise MaibenchError(f"hf:{spec}: give hf:OWNER/NAME, with :CONFIG and @REVISION where needed, or hf:PATH")
    where = parts["where"]
    if Path(where).expanduser().exists():
        if "@" in given:
            raise MaibenchError(f"hf:{spec}: '{where}' lies here and has no revisions; leave out @{given['@']}")
        return HubSpec(_resolved(where), given.get(":"), is_local=True)
    if not _REPOSITORY.fullmatch(where):
        raise MaibenchError(f"hf:{spec}: there is no file or folder '{where}', and it is no OWNER/NAME of the Hub")
    return HubSpec(where, given.get(":"), given.get("@"))


def _resolved(path: str) -> str:
    return str(Path(path).expanduser().resolve())


def _root(spec: HubSpec) -> Path | None:
    """The folder that the data lies in, if it lies here."""
    path = Path(spec.where)
    return (path if path.is_dir() else path.parent) if spec.is_local else None


def _of_card(spec: HubSpec) -> str:
    from maibench.datasets.cards.card import card_for_hub

    return "" if spec.is_local else card_for_hub(spec.where) or ""


def _streams(spec: HubSpec, where: str) -> tuple[Any, dict[str, Any]]:
    """Hugging Face's builder and, for each split, its stream."""
    try:
        import datasets
    except ImportError as error:
        raise MaibenchError(f"{where}: needs Hugging Face datasets: pip install 'maibench[hub]'") from error
    datasets.disable_progress_bars()
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)  # what fails is said in our words
    try:
        if spec.is_local and (file := Path(spec.where)).is_file():
            if file.suffix != ".parquet":
                raise MaibenchError(f"{where}: of single files only .parquet is read; give the folder that it lies in")
            builder = datasets.load_dataset_builder("parquet", data_files={_split_of(file): str(file)})
        else:
            builder = datasets.load_dataset_builder(spec.where, spec.config, revision=spec.revision)
        return builder, dict(builder.as_streaming_dataset())
    except MaibenchError:
        raise
    except Exception as error:  # whatever the Hub, a file system or a format's reader raises
        raise _in_words(error, spec, where) from error


def _split_of(file: Path) -> str:
    """What a single file is called: "train-00000-of-00003.parquet" is of train."""
    return re.split(r"-\d", file.stem)[0].replace("-", "_") or "test"


def _manifest(listed: Listing, columns: Columns, spec: HubSpec, where: str) -> Manifest:
    if listed.frame.empty:
        raise MaibenchError(f"{where}: lists no images")
    rows = columns.rows(listed.frame, where, listed.features)
    images = listed.images(rows["path"].tolist())
    state = "" if "image_id" in rows else listed.state
    manifest = Manifest.from_frame(rows, _root(spec) or Path(), spec.name, where, images, state)
    return replace(manifest, walked=spec.is_local and Path(spec.where).is_dir())


def _in_words(error: Exception, spec: HubSpec, where: str) -> MaibenchError:
    from datasets.exceptions import DatasetNotFoundError

    said = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    if isinstance(error, ConnectionError):
        return MaibenchError(
            f"{where}: the Hub cannot be reached ({said}); where there is a connection, 'hf download --repo-type "
            f"dataset {spec.where} --local-dir FOLDER' brings the data, and hf:FOLDER reads it"
        )
    if isinstance(error, DatasetNotFoundError):
        return MaibenchError(f"{where}: {said}. For one that is private or gated, log in first: hf auth login")
    if configs := re.search(r"(?:available configs: |Available: )\[(.*?)\]", said):
        names = configs[1].replace("'", "").split(", ")
        what = f"there is no configuration '{spec.config}'" if spec.config else "there are several configurations"
        return MaibenchError(f"{where}: {what}: {', '.join(names)}; give one, such as hf:{spec.where}:{names[0]}")
    if "script" in said:
        hint = "" if spec.is_local else f"; the Hub may have it as Parquet: hf:{spec.where}@refs/convert/parquet"
        return MaibenchError(f"{where}: needs code of its own to be read, and such code is never run here{hint}")
    return MaibenchError(f"{where}: cannot be read: {said}")
