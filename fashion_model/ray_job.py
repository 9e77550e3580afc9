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
from collections.abc import Callable, Sequence
from functools import partial
from hashlib import blake2b
from io import BytesIO
from pathlib import Path
from posixpath import relpath
from typing import TYPE_CHECKING, Any
from urllib.request import url2pathname

import pyarrow as pa
import pyarrow.dataset

from fashion_model.checkpoint import check_finder, fingerprint, load_checkpoint
from fashion_model.classifier import FashionClassifier, open_for_network
from fashion_model.images import find_images, is_hidden, is_photograph
from fashion_model.rows import CHECKPOINT, NO_IMAGE, PARQUET, OutputError, fields_of, parquet_schema, rows_of

if TYPE_CHECKING:
    from ray.data import Dataset

BATCH = 64  # photographs that a worker is given at a time
BLOCK = 64  # names of files in a block of the data set
# Columns of Parquet files, in order of preference; those with a dot are fields of a column.
IMAGES = ("image.bytes", "bytes", "image")
NAMES = ("image.path", "path", "file", "file_name", "id")
FILE = "file://"


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

    Returns the numbers of rows, of photographs that are not readable, and of other local files, which were passed over.
    OutputError if there are no photographs.
    """
    loaded = load_checkpoint(checkpoint)  # its faults are told before Ray starts
    if products:
        check_finder(loaded.name, loaded.finder)
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
    except FileNotFoundError as error:
        raise OutputError(f"this cannot be read: {error}") from error
    finally:
        if started:
            ray.shutdown()
    schema = pa.schema({"error": pa.string()})
    written = pyarrow.dataset.dataset(output, schema) if output.exists() else None
    if not written or not (rows := written.count_rows()):
        raise OutputError(f"no rows are in {output}: there was no image, or the cluster does not share that folder")
    return rows, written.count_rows(filter=pyarrow.dataset.field("error").is_valid()), len(passed_over)


def dataset_of(sources: Sequence[str], pass_over: Callable[[Any], object]) -> Dataset:
    """Columns `path` and, unless they are local files, `bytes`. OutputError if there is no photograph.

    `pass_over` is called with the path of each local file that is no photograph.
    """
    import ray

    sources = [url2pathname(source.removeprefix(FILE)) if source.startswith(FILE) else source for source in sources]
    tables = [Path(source).suffix.lower() == PARQUET for source in sources]
    if any(tables):
        if not all(tables):
            raise OutputError("Parquet files and photographs cannot be labelled in one job")
        table = ray.data.read_parquet(sources)
        schema = table.schema(fetch_if_missing=True)
        check_columns(pa.schema(list(zip(schema.names, schema.types, strict=True))))
        return table.map_batches(with_names, batch_format="pyarrow")
    addresses = ["://" in source for source in sources]
    if any(addresses):
        if not all(addresses):
            raise OutputError("addresses and files of this machine cannot be labelled in one job")
        files = ray.data.read_binary_files(sources, include_paths=True)
        return files.map_batches(lambda batch: with_names(photographs_in(batch, sources)), batch_format="pyarrow")
    paths = [os.fsencode(path) for path in find_images(sources, pass_over=pass_over)]
    if not paths:
        raise OutputError(NO_IMAGE)
    blocks = [paths[start : start + BLOCK] for start in range(0, len(paths), BLOCK)]
    return ray.data.from_arrow([pa.table({"path": pa.array(block, pa.binary())}) for block in blocks])


def photographs_in(batch: pa.Table, addresses: Sequence[str]) -> pa.Table:
    """The rows of `batch` (columns `path` and `bytes`) that `find_images` finds: files named by `addresses`, and, below
    them, photographs that are not hidden.
    """

    def is_found(path: str, content: bytes) -> bool:
        below = [relpath(*(each.rpartition("://")[2] for each in (path, address))) for address in addresses]
        hidden = all(map(is_hidden, below))
        return "." in below or (not hidden and is_photograph(path, partial(BytesIO, content)))

    found = map(is_found, batch["path"].to_pylist(), batch["bytes"].to_pylist())
    return batch.filter(pa.array(found, pa.bool_()))


def images_in(table: pa.Table) -> Any:
    """The column of binary data that holds the images, or None."""
    columns = dict(zip(table.column_names, table.columns, strict=True))
    found = (columns[name] for name in IMAGES if name in columns)
    return next((each for each in found if pa.types.is_binary(each.type) or pa.types.is_large_binary(each.type)), None)


def check_columns(schema: pa.Schema) -> None:
    """OutputError unless a table with this schema has images."""
    if images_in(schema.empty_table().flatten()) is None:
        described = ", ".join(f"{field.name} ({field.type})" for field in schema)
        raise OutputError(f"the Parquet files have no images in a column bytes or image; they have {described}")


def with_names(batch: pa.Table) -> pa.Table:
    """Columns `path` and `bytes` of a table with images."""
    batch = batch.flatten()
    contents = images_in(batch).to_pylist()
    digests = [blake2b(content or b"", digest_size=6).hexdigest() for content in contents]
    known = [batch[column].to_pylist() for column in NAMES if column in batch.column_names]
    names = [next(name for name in row if name not in (None, "", b"")) for row in zip(*known, digests, strict=True)]
    encoded = [name if isinstance(name, bytes) else str(name).encode("utf-8", "surrogateescape") for name in names]
    return pa.table({"path": pa.array(encoded, pa.binary()), "bytes": pa.array(contents, pa.binary())})
