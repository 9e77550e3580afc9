"""Label photographs in batches: a row each, and their overlays."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from io import BytesIO
from itertools import chain
from pathlib import Path
from threading import Lock

from tqdm import tqdm

from fashion_model.checkpoint import CheckpointError
from fashion_model.classifier import WORKERS, FashionClassifier, Prediction, in_parallel
from fashion_model.console import sentence_of
from fashion_model.files import write_bytes
from fashion_model.images import ImageError, find_images
from fashion_model.outputs import PARQUET, OutputError, check_output, not_done, open_output
from fashion_model.rows import name_in_row, row_of

GO_ON = "go on with --resume"
MAX_NAME = 50  # characters of a file's name kept in its overlays' names, which have to fit into 255 bytes


def write_overlays(
    classifier: FashionClassifier, files: Iterable[Path], folder: Path
) -> Iterator[tuple[Path, Prediction | ImageError]]:
    """As `FashionClassifier.stream`; also writes the overlay of each photograph and attribute."""

    writing = Lock()  # a file may be given twice

    def label(path: Path) -> tuple[Path, Prediction | ImageError]:
        try:
            prediction, overlays = classifier.predict_and_explain(path)
        except ImageError as error:
            return path, error
        for attribute, image in overlays.items():
            file = BytesIO()
            image.save(file, "PNG")
            with writing:
                write_bytes(folder / overlay_name(path, attribute), file.getvalue())
        return path, prediction

    return in_parallel(label, files, WORKERS)


def overlay_name(path: Path, attribute: str) -> str:
    """NAME.DIGEST.ATTRIBUTE.png; the digest of the path keeps files of the same name apart."""
    digest = blake2b(name_in_row(path).encode(), digest_size=6).hexdigest()
    return f"{path.name[-MAX_NAME:]}.{digest}.{attribute}.png"


def write_rows(classifier: FashionClassifier, files: Iterable[Path], options: argparse.Namespace) -> None:
    """A row for each file; that of an unreadable one has its error."""
    names = [attribute.name for attribute in classifier.attributes]
    with open_output(options.output, names, options.resume) as output:
        left = not_done(files, output.done)
        results = write_overlays(classifier, left, options.heatmaps) if options.heatmaps else classifier.stream(left)
        for path, result in tqdm(results, unit="image", disable=None):
            output.write(row_of(path, result, names))


def predict_with_ray(options: argparse.Namespace) -> int:
    try:
        from fashion_model import ray_job
    except ImportError as error:
        raise OutputError("--engine ray needs more packages: pip install 'ray[data]'") from error
    ray_job.write_rows(list(map(str, options.paths)), options.checkpoint, options.output, options.workers)
    return 0


def predict(options: argparse.Namespace) -> int:
    files = find_images(options.paths, leave_out=options.heatmaps)
    try:
        if options.engine == "ray":
            return predict_with_ray(options)
        if options.output:
            check_output(options.output, options.resume)
        first = next(files, None)
        if first is None:
            raise OutputError("no image among the files and folders given")
        for folder in filter(None, [options.heatmaps, options.output and options.output.parent]):
            folder.mkdir(parents=True, exist_ok=True)
        classifier = FashionClassifier.from_pretrained(options.checkpoint)
        classifier.take_all_cores()
        write_rows(classifier, chain([first], files), options)
    except (CheckpointError, OutputError, OSError) as error:
        print(f"predict: {sentence_of(error, GO_ON)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        resumable = options.output and options.output.suffix.lower() != PARQUET
        print(f"predict: interrupted{'; --resume goes on from here' if resumable else ''}", file=sys.stderr)
        return 130
    return 0
