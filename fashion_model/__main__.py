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

from PIL import Image
from tqdm import tqdm

from fashion_model.attributes import NAMES
from fashion_model.checkpoint import CheckpointError
from fashion_model.classifier import BATCH_SIZE, FashionClassifier, Prediction, batches
from fashion_model.images import ImageError, find_images, open_image

FIELDS = ("file", *(field for name in NAMES for field in (name, f"{name}_confidence")), "error")


def rows(classifier: FashionClassifier, files: list[Path], heatmaps: Path | None = None) -> Iterator[dict[str, str]]:
    """One row a file, in order. A file that is no photograph becomes a row with its error."""
    names = unique_names(files)
    progress = tqdm(total=len(files), unit="image", disable=None)
    for batch in batches(zip(files, names, strict=True), BATCH_SIZE):
        opened = [_open(path) for path, _ in batch]
        photographs = [result for result in opened if isinstance(result, Image.Image)]
        results = iter(analyse(classifier, photographs, with_overlays=heatmaps is not None))
        for (path, name), result in zip(batch, opened, strict=True):
            row = dict.fromkeys(FIELDS, "") | {"file": str(path)}
            if isinstance(result, ImageError):
                row["error"] = str(result)
            else:
                prediction, overlays = next(results)
                for attribute in NAMES:
                    row[attribute] = prediction[attribute].label
                    row[f"{attribute}_confidence"] = f"{prediction[attribute].confidence:.4f}"
                for attribute, image in overlays.items():
                    image.save(heatmaps / f"{name}.{attribute}.png")
            yield row
        progress.update(len(batch))
    progress.close()


def analyse(
    classifier: FashionClassifier, photographs: list[Image.Image], with_overlays: bool
) -> list[tuple[Prediction, dict[str, Image.Image]]]:
    """Predictions in batches, or one by one with the overlays of all attributes: the backbone runs once either way."""
    if with_overlays:
        return [classifier.predict_and_explain(photograph) for photograph in photographs]
    return [(prediction, {}) for prediction in classifier.predict(photographs)]


def unique_names(files: list[Path]) -> list[str]:
    """The files' own names; where several share one, the later ones with -2, -3, … before them."""
    names: list[str] = []
    taken: set[str] = set()
    for path in files:
        name, number = path.name, 1
        while name in taken:
            number += 1
            name = f"{number}-{path.name}"
        taken.add(name)
        names.append(name)
    return names


def _open(path: Path) -> Image.Image | ImageError:
    try:
        return open_image(path)
    except ImageError as error:
        return error


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
    for folder in filter(None, [options.heatmaps, options.output and options.output.parent]):
        folder.mkdir(parents=True, exist_ok=True)
    destination = options.output.open("w", newline="", encoding="utf-8") if options.output else nullcontext(sys.stdout)
    with destination as file:
        writer = csv.DictWriter(file, FIELDS)
        writer.writeheader()
        writer.writerows(rows(classifier, files, options.heatmaps))
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
