"""Label photographs from the command line.

python -m fashion_model predict photographs/ --output results.csv
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

from tqdm import tqdm

from fashion_model.attributes import NAMES
from fashion_model.checkpoint import CheckpointError
from fashion_model.classifier import FashionClassifier, Prediction
from fashion_model.images import ImageError, find_images

LONGEST_NAME = 50  # characters of a file's name kept in its overlays' names, which have to fit into 255 bytes
FIELDS = ("file", *(field for name in NAMES for field in (name, f"{name}_confidence")), "error", "is_fashion")


def rows(classifier: FashionClassifier, files: list[Path], heatmaps: Path | None = None) -> Iterator[dict[str, str]]:
    """One row a file, in order. A file that is no photograph becomes a row with its error."""
    results = classifier.stream(files) if heatmaps is None else write_overlays(classifier, files, heatmaps)
    for path, result in tqdm(results, total=len(files), unit="image", disable=None):
        row = dict.fromkeys(FIELDS, "") | {"file": str(path)}
        if isinstance(result, ImageError):
            row["error"] = str(result)
        else:
            for attribute in NAMES:
                row[attribute] = result[attribute].label
                row[f"{attribute}_confidence"] = f"{result[attribute].confidence:.4f}"
            row["is_fashion"] = "yes" if result.is_fashion else "no"
        yield row


def write_overlays(
    classifier: FashionClassifier, files: list[Path], folder: Path
) -> Iterator[tuple[Path, Prediction | ImageError]]:
    """As `FashionClassifier.stream`, and writes NAME.ATTRIBUTE.png for each photograph and attribute on the way."""
    for path, name in zip(files, unique_names(files), strict=True):
        try:
            prediction, overlays = classifier.predict_and_explain(path)
        except ImageError as error:
            yield path, error
            continue
        for attribute, image in overlays.items():
            image.save(folder / f"{name}.{attribute}.png")
        yield path, prediction


def unique_names(files: list[Path]) -> list[str]:
    """The files' own names; where several share one, the later ones with 2-, 3-, … before them."""
    names: list[str] = []
    taken: set[str] = set()
    for path in files:
        own = path.name[-LONGEST_NAME:]
        name, number = own, 1
        while name in taken:
            number += 1
            name = f"{number}-{own}"
        taken.add(name)
        names.append(name)
    return names


def predict(options: argparse.Namespace) -> int:
    files = list(find_images(options.paths))
    if not files:
        print("predict: no image among the files and folders given", file=sys.stderr)
        return 2
    try:
        classifier = FashionClassifier.from_pretrained(options.checkpoint)
    except CheckpointError as error:
        print(f"predict: {error}", file=sys.stderr)
        return 2
    try:
        for folder in filter(None, [options.heatmaps, options.output and options.output.parent]):
            folder.mkdir(parents=True, exist_ok=True)
        # A file name need not be valid text: what is not is written with backslashes.
        sys.stdout.reconfigure(errors="backslashreplace")
        with (
            options.output.open("w", newline="", encoding="utf-8", errors="backslashreplace")
            if options.output
            else nullcontext(sys.stdout)
        ) as file:
            writer = csv.DictWriter(file, FIELDS)
            writer.writeheader()
            writer.writerows(rows(classifier, files, options.heatmaps))
    except OSError as error:
        print(f"predict: {error}", file=sys.stderr)
        return 2
    return 0


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m fashion_model", description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(required=True, metavar="predict")
    command = commands.add_parser("predict", help="label photographs: one CSV row each")
    command.add_argument("paths", nargs="+", type=Path, metavar="FILE_OR_FOLDER", help="folders are read recursively")
    command.add_argument(
        "--checkpoint", metavar="REPO_OR_DIR", help="user/repo[@revision] or a directory; the embedded default"
    )
    command.add_argument("--output", type=Path, metavar="CSV", help="where to write the rows; standard output")
    command.add_argument("--heatmaps", type=Path, metavar="DIR", help="also write NAME.ATTRIBUTE.png overlays there")
    command.set_defaults(run=predict)
    options = parser.parse_args(arguments)
    return options.run(options)


if __name__ == "__main__":
    sys.exit(main())
