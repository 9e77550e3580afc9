"""The rows of many photographs, or of the products in them, as a Ray Data job, on one machine or a cluster.

Each worker has a classifier.

Needs `ray[data]`. Photographs are files and folders, an address such as s3://bucket/folder, or Parquet files with the
images in a column `bytes` (and their names in `path`), or in a column `image`, as bytes or as Hugging Face's datasets
have them. The row's file is the path, else what the column file, file_name or id says, else the digest of the bytes.
The rows are written to a folder of Parquet files. Ray replaces a worker that was killed and repeats its work.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial, reduce
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet
from pyarrow.fs import FileSelector, FileSystem, FileType

from fashion_model.checkpoint import fingerprint, load_checkpoint
from fashion_model.classifier import FashionClassifier, open_for_network
from fashion_model.images import find_images, is_hidden, is_photograph
from fashion_model.rows import CHECKPOINT, NO_IMAGE, PARQUET, OutputError, fields_of, parquet_schema, rows_of

if TYPE_CHECKING:
    from ray.data import Dataset

BATCH = 64  # photographs that a worker is given at a time
BLOCK = 64  # names of files in a block of the data set
NAMES = ("path", "file", "file_name", "id")  # columns of Parquet files that name images, in order of preference


class Labeller:
    """A worker: its classifier is loaded once."""

    def __init__(self, checkpoint: str | None, products: bool = False):
        self.classifier = FashionClassifier.from_pretrained(checkpoint)
        self.classifier.take_all_cores()
        assert self.classifier.directory
        self.checkpoint = fingerprint(self.classifier.directory)
        self.names, self.products = [attribute.name for attribute in self.classifier.attributes], products

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Columns `path` (bytes of the name) and, unless they are local files, `bytes` → rows."""
        paths = [os.fsdecode(path) for path in batch["path"].to_pylist()]
        contents = batch["bytes"].to_pylist() if "bytes" in batch.column_names else paths
        results: Any = (
            self.classifier.stream_products(content or b"" for content in contents)
            if self.products
            else self.classifier.stream(contents, read=lambda content: open_for_network(content or b""))
        )
        rows = [
            row | {CHECKPOINT: self.checkpoint}
            for path, (_, result) in zip(paths, results, strict=True)
            for row in rows_of(path, result, self.names, self.products)
        ]
        return pa.Table.from_pylist(rows, parquet_schema((*fields_of(self.names, self.products), CHECKPOINT)))


def write_rows(
    sources: Sequence[str], checkpoint: str | None, output: Path, workers: int, products: bool = False
) -> tuple[int, int, int]:
    """A row for each photograph in `sources`, or for each product in them, in Parquet files below `output`.

    Returns the numbers of photographs, of those among them that are not readable, and of other files, which were passed
    over. OutputError if there are no photographs.
    """
    loaded = load_checkpoint(checkpoint)  # its faults are told before Ray starts
    if products:
        FashionClassifier(loaded).check_finder()
    del loaded
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    if output.suffix.lower() != PARQUET:
        raise OutputError(f"Ray writes a folder of Parquet files: the output has to end in {PARQUET}")
    if output.exists():
        raise OutputError(f"{output} exists already; Ray needs a new output")
    started = not ray.is_initialized()
    if started:
        # A core more than there are workers, for reading and writing; an existing cluster has its own.
        local: dict[str, Any] = {"num_cpus": workers + 1, "include_dashboard": False, "_node_ip_address": "127.0.0.1"}
        ray.init(logging_level=logging.WARNING, **({} if "RAY_ADDRESS" in os.environ else local))
    try:
        passed_over: list[Any] = []
        rows = dataset_of(sources, passed_over.append).map_batches(
            Labeller,
            fn_constructor_args=(checkpoint, products),
            batch_size=BATCH,
            batch_format="pyarrow",
            compute=ray.data.ActorPoolStrategy(size=workers),
            num_cpus=1,
        )
        rows.write_parquet(str(output.resolve()))
    finally:
        if started:
            ray.shutdown()
    written = pyarrow.parquet.read_table(output, columns=["file", "error"])
    failed = written.num_rows - written["error"].null_count
    return (len(written["file"].unique()) if products else written.num_rows), failed, len(passed_over)


def dataset_of(sources: Sequence[str], pass_over: Callable[[Any], object]) -> Dataset:
    """Columns `path` and, unless they are local files, `bytes`. OutputError if there is no photograph.

    `pass_over` is called with the path of each file that is no photograph.
    """
    import ray

    tables = [source.lower().endswith(PARQUET) for source in sources]
    if any(tables):
        if not all(tables):
            raise OutputError("Parquet files and photographs cannot be labelled in one job")
        table = ray.data.read_parquet(list(sources))
        schema = table.schema(fetch_if_missing=True)
        check_columns(dict(zip(schema.names, schema.types, strict=True)))
        return table.map_batches(with_names, batch_format="pyarrow")
    if any("://" in source for source in sources):
        found = [
            ray.data.read_binary_files(paths, filesystem=filesystem, include_paths=True)
            for filesystem, paths in photographs_at(sources, pass_over)
        ]
        if not found:
            raise OutputError(NO_IMAGE)
        return reduce(lambda a, b: a.union(b), found).map_batches(with_names, batch_format="pyarrow")
    paths = [os.fsencode(path) for path in find_images(sources, pass_over=pass_over)]
    if not paths:
        raise OutputError(NO_IMAGE)
    blocks = [paths[start : start + BLOCK] for start in range(0, len(paths), BLOCK)]
    return ray.data.from_arrow([pa.table({"path": pa.array(block, pa.binary())}) for block in blocks])


def photographs_at(
    sources: Iterable[str], pass_over: Callable[[Any], object]
) -> Iterator[tuple[FileSystem, list[str]]]:
    """The file system of each of these files, folders and addresses, and the paths of the photographs in it.

    The rules are those of `find_images`. OutputError for an address that cannot be listed.
    """
    for source in sources:
        try:
            filesystem, root = FileSystem.from_uri(source if "://" in source else Path(source).resolve().as_uri())
            listed = filesystem.get_file_info([root])
            if listed[0].type == FileType.Directory:
                listed = filesystem.get_file_info(FileSelector(root, recursive=True))
            elif listed[0].type == FileType.NotFound:
                raise FileNotFoundError("it does not exist")
        except (OSError, pa.ArrowException) as error:
            raise OutputError(f"{source} cannot be read: {error}") from error
        paths = sorted(file.path for file in listed if file.type == FileType.File)
        paths = [path for path in paths if path == root or not is_hidden(path.removeprefix(f"{root.rstrip('/')}/"))]
        photographs = [path for path in paths if is_photograph(path, partial(filesystem.open_input_file, path))]
        for path in set(paths).difference(photographs):
            pass_over(path)
        if photographs:
            yield filesystem, photographs


def check_columns(types: dict[str, Any]) -> None:
    """OutputError unless a table with columns of these types has images. `types`: column → `pyarrow.DataType`."""
    image = types.get("image")
    if image is not None and pa.types.is_struct(image):
        image = {field.name: field.type for field in image}.get("bytes")
    for column in (image, types.get("bytes")):
        if column is not None and (pa.types.is_binary(column) or pa.types.is_large_binary(column)):
            return
    described = ", ".join(f"{name} ({kind})" for name, kind in types.items())
    raise OutputError(f"the Parquet files have no images in a column bytes or image; they have {described}")


def with_names(batch: pa.Table) -> pa.Table:
    """Columns `path` and `bytes` of a table with images."""
    columns: dict[str, Any] = {name: batch[name].combine_chunks() for name in batch.column_names}
    image = columns.get("image")
    if image is not None and pa.types.is_struct(image.type):
        columns |= {field.name: image.field(field.name) for field in image.type}
    elif image is not None and "bytes" not in columns:
        columns["bytes"] = image
    contents = columns["bytes"].to_pylist()
    digests = [blake2b(content or b"", digest_size=6).hexdigest() for content in contents]
    known = [columns[column].to_pylist() for column in NAMES if column in columns]
    names = [next(name for name in row if name not in (None, "")) for row in zip(*known, digests, strict=True)]
    encoded = [str(name).encode("utf-8", "surrogateescape") for name in names]
    return pa.table({"path": pa.array(encoded, pa.binary()), "bytes": pa.array(contents, pa.binary())})
