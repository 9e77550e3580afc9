"""Label photographs: one row each, or one for each product in them, and overlays if they are wanted.

    python -m fashion_model predict photographs/ --output results.csv

The exit status is 1 if not one photograph could be read.
"""

import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from io import BytesIO
from itertools import chain
from pathlib import Path
from threading import Lock
from typing import Annotated, Literal

import tyro
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from tqdm import tqdm

from fashion_model.checkpoint import fingerprint
from fashion_model.classifier import WORKERS, FashionClassifier, Prediction, in_parallel
from fashion_model.images import ImageError, find_images
from fashion_model.predictions import Product
from fashion_model.rows import (
    CHECKPOINT,
    NO_IMAGE,
    OutputError,
    check_output,
    fields_of,
    name_in_row,
    open_output,
    rows_of,
)
from fashion_model.system import write_bytes

MAX_NAME = 50  # characters of a file's name kept in its overlays' names, which have to fit into 255 bytes


@dataclass(frozen=True)
class Config:
    paths: Annotated[tuple[str, ...], tyro.conf.arg(metavar="FILE_OR_FOLDER…"), tyro.conf.Positional]
    """Folders are read recursively."""
    checkpoint: Annotated[str | None, tyro.conf.arg(metavar="REPO_OR_DIR")] = None
    """user/repo[@revision] or a directory; the embedded default."""
    output: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Where to write the rows: .csv, .jsonl (JSON Lines) or .parquet; without it CSV on standard output."""
    resume: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Keep the rows that the output holds, and add the rows and overlays that are missing; files whose row has an error
    are tried again. Files are known by their paths as they are given."""
    heatmaps: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Also write overlays there, NAME.DIGEST.ATTRIBUTE.png; photographs in this folder are not labelled."""
    products: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Find the products in each photograph: a row for each of them, with its box."""
    engine: Literal["local", "ray"] = "local"
    """ray: with Ray Data, on this machine or the cluster of RAY_ADDRESS, to a folder of Parquet files; the photographs
    may then also be an address such as s3://bucket/folder, or Parquet files with images."""
    workers: int = 1
    """Processes of Ray, each with its own network."""

    def __post_init__(self) -> None:
        if not self.paths:
            raise ValueError("name files or folders of photographs")
        if self.resume and not self.output:
            raise ValueError("--resume needs an --output to go on with")
        if self.products and self.heatmaps:
            raise ValueError("--heatmaps are of whole photographs and cannot be combined with --products")
        if self.engine == "ray" and (not self.output or self.resume or self.heatmaps or self.workers < 1):
            raise ValueError("--engine ray needs an --output, at least one worker, and neither --resume nor --heatmaps")


def run(config: Config) -> int:
    """The exit status."""
    if config.engine == "ray":
        try:
            import ray  # noqa: F401

            from fashion_model import ray_job
        except ImportError as error:
            raise OutputError("--engine ray needs more packages: pip install 'ray[data]'") from error
        assert config.output
        rows, failed, passed_over = ray_job.write_rows(
            config.paths, config.checkpoint, config.output, config.workers, config.products
        )
        print_counts(f"{rows:,} rows, {failed:,} photographs not readable", passed_over, config.output)
        return 1 if rows == failed else 0
    try:
        return label(config)
    except KeyboardInterrupt:
        print(f"predict: interrupted{'; --resume goes on from here' if config.output else ''}", file=sys.stderr)
        return 130


def label(config: Config) -> int:
    passed_over: list[Path] = []
    files = find_images(config.paths, config.heatmaps, passed_over.append)
    if config.output:
        check_output(config.output, config.paths, config.resume)
    first = next(files, None)
    if first is None:
        raise OutputError(NO_IMAGE)
    for folder in filter(None, [config.heatmaps, config.output and config.output.parent]):
        folder.mkdir(parents=True, exist_ok=True)
    classifier = FashionClassifier.from_pretrained(config.checkpoint)
    classifier.take_all_cores()
    if config.products:
        classifier.check_finder()
    names = [attribute.name for attribute in classifier.attributes]
    assert classifier.directory
    checkpoint, written, failed = fingerprint(classifier.directory), 0, 0
    fields, overlays = fields_of(names, config.products), config.heatmaps
    with open_output(config.output, fields, checkpoint, config.resume) as (done, write):
        kept, left = sum(done.values()), not_done(chain([first], files), done, config.products)
        results: Iterator[tuple[Path, Prediction | list[Product] | ImageError]]
        if config.products:
            results = classifier.stream_products(left)
        else:
            results = write_overlays(classifier, left, overlays, checkpoint) if overlays else classifier.stream(left)
        for file, result in tqdm(results, unit="image", disable=None):
            write(rows_of(file, result, names, config.products))
            written, failed = written + 1, failed + isinstance(result, ImageError)
        if config.resume and overlays:
            files = find_images(config.paths, overlays)
            missing = (file for file in files if not has_overlays(file, names, overlays, checkpoint))
            for _ in tqdm(write_overlays(classifier, missing, overlays, checkpoint), unit="image", disable=None):
                pass
    if config.output or failed or passed_over:
        print_counts(f"{written:,} photographs, {failed:,} of them not readable", len(passed_over), config.output)
    return 1 if failed and failed == written + kept else 0


def print_counts(counts: str, passed_over: int, output: Path | None) -> None:
    where = f" → {output}" if output else ""
    others = f"; other files passed over: {passed_over:,}" if passed_over else ""
    print(f"predict: {counts}{others}{where}", file=sys.stderr)


def not_done(files: Iterable[Path], done: Counter[str], products: bool = False) -> Iterator[Path]:
    """The files that have fewer rows in `done` than they are named, in order; with `products`, those that have none."""
    rows = done.copy()
    for file in files:
        if not rows[name_in_row(file)]:
            yield file
        elif not products:
            rows[name_in_row(file)] -= 1


def write_overlays(
    classifier: FashionClassifier, files: Iterable[Path], folder: Path, checkpoint: str
) -> Iterator[tuple[Path, Prediction | ImageError]]:
    """Yields what `FashionClassifier.stream` does, and writes the overlay of each photograph and attribute."""
    writing = Lock()  # a file may be given twice
    info = PngInfo()
    info.add_text(CHECKPOINT, checkpoint)

    def explain(path: Path) -> tuple[Path, Prediction | ImageError]:
        try:
            prediction, overlays = classifier.predict_and_explain(path)
        except ImageError as error:
            return path, error
        for attribute, image in overlays.items():
            file = BytesIO()
            image.save(file, "PNG", pnginfo=info)
            with writing:
                write_bytes(folder / overlay_name(name_in_row(path), attribute), file.getvalue())
        return path, prediction

    return in_parallel(explain, files, WORKERS)


def has_overlays(file: Path, attributes: Iterable[str], folder: Path, checkpoint: str) -> bool:
    """Whether each attribute has an overlay of this checkpoint there."""
    try:
        for attribute in attributes:
            with Image.open(folder / overlay_name(name_in_row(file), attribute)) as image:
                if image.info.get(CHECKPOINT) != checkpoint:
                    return False
    except OSError:
        return False
    return True


def overlay_name(file: str, attribute: str) -> str:
    """NAME.DIGEST.ATTRIBUTE.png; the digest of the path in the file's row keeps files of the same name apart."""
    digest = blake2b(file.encode(), digest_size=6).hexdigest()
    return f"{Path(file).name[-MAX_NAME:]}.{digest}.{attribute}.png"
