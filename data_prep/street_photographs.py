"""Label and split Clothing Co-Parsing: photographs of people in the street, with a mask of every item they wear.

    python -m data_prep street-photographs --source clothing-co-parsing/ --output data/

`--source`: the folder or zip of `bearpaw/clothing-co-parsing` on GitHub (Apache-2.0; Yang, Luo, Lin, CVPR 2014), with
`photos/0001.jpg` of any size, `annotations/pixel-level/0001.mat` and `label_list.mat`. The labels of the items are in
`data_prep/worn.csv`; a multimodal model assigned them. Writes `data/worn/worn.csv` (a row an item, with its box as
parts of the photograph's width and height, accepted labels, and a split), `data/worn/photographs/0001.jpg` of at most
660 pixels, and `data/worn/masks/0001.png`, which has the number of the item's tag in `data/worn/tags.json` at each
pixel. Half a minute for 704 photographs.
"""

import io
import json
import zlib
from pathlib import Path

import numpy as np
import scipy.io
from PIL import Image
from scipy.io.matlab import MatReadError
from tqdm import tqdm

from data_prep.archive import Archive, SourceConfig, print_splits, replacing_files, save_image
from data_prep.splits import hashed_split
from data_prep.tables import SourceError
from fashion_model.system import replacing, write_text

LABELS = Path(__file__).with_name("worn.csv")
WORN, TAGS = "worn", "tags.json"  # folder and table in the data folder, and a file in it
STREET_SIDE = 660  # pixels of the longer side of a prepared photograph, at most
# What scipy raises for damaged files.
DAMAGED_MATRIX = (MatReadError, ValueError, TypeError, LookupError, OSError, NotImplementedError, zlib.error)
# Photographs of one person at one site, which have to be in the same split: the eight most similar pairs by the pooled
# features of an ImageNet network (cosine similarity above 0.75), looked at one by one; the next most similar show
# different people.
SAME_SHOOT = {"0730": "0183", "0722": "0594", "0990": "0907", "0732": "0692"}
SAME_SHOOT |= {"0984": "0078", "0671": "0197", "0649": "0366", "0398": "0312"}


def run(config: SourceConfig) -> None:
    archive, folder = Archive(config.source, config.output), config.output / WORN
    paths, table = archive.labelled(LABELS, "photo")
    tags = [" ".join(map(str, np.ravel(tag))) for tag in matrix(archive, "label_list.mat", "label_list").ravel()]
    numbers = [Path(photo).stem for photo in table["photo"].unique()]
    files = [name for number in numbers for name in (f"photographs/{number}.jpg", f"masks/{number}.png")]
    with replacing_files(folder, [f"{WORN}.csv", TAGS, *files], archive.files()):
        for number in tqdm(numbers, desc="reading", unit="image", disable=None):
            photograph = archive.image(paths[f"{number}.jpg"], STREET_SIDE)
            mask = mask_of(archive, number, photograph.size, len(tags))
            save_image(photograph, folder / "photographs" / f"{number}.jpg")
            with replacing(folder / "masks" / f"{number}.png") as unfinished:
                mask.save(unfinished, "PNG")
        write_text(folder / TAGS, json.dumps(tags))
        table["shoot"] = [SAME_SHOOT.get(number, number) for number in table["photo"].str.removesuffix(".jpg")]
        table["split"] = [hashed_split(f"street photograph {shoot}") for shoot in table["shoot"]]
        write_text(folder / f"{WORN}.csv", table.to_csv(index=False))
    print_splits(table, "photo", "on {} photographs")
    archive.print_passed_over()


def mask_of(archive: Archive, number: str, size: tuple[int, int], tags: int) -> Image.Image:
    """The gray mask of a photograph, resized to `size` (width, height); a pixel's value is the number of a tag.

    SourceError if it has another shape than the photograph or numbers that are not below `tags`.
    """
    name = f"pixel-level/{number}.mat"
    numbers = matrix(archive, name, "groundtruth")
    is_matrix = numbers.ndim == 2 and numbers.size > 0 and numbers.dtype.kind in "uif"
    if not is_matrix or not (numbers.min() >= 0 and numbers.max() < tags):
        raise SourceError(f"{archive.path}: {name} is not a matrix of numbers from 0 to {tags - 1}")
    height, width = numbers.shape
    if abs(width / height * size[1] - size[0]) > 1.5:  # pixels; both sides of the photograph are rounded
        raise SourceError(f"{archive.path}: {name} has {width}×{height} pixels, its photograph {size[0]}×{size[1]}")
    return Image.fromarray(numbers.astype(np.uint8)).resize(size, Image.Resampling.NEAREST)


def matrix(archive: Archive, name: str, variable: str) -> np.ndarray:
    """The variable of a MATLAB file. SourceError if the file is missing or damaged, or lacks the variable."""
    data = archive.read(archive.find(name))
    try:
        return np.asarray(scipy.io.loadmat(io.BytesIO(data))[variable])
    except DAMAGED_MATRIX as error:
        raise SourceError(f"{archive.path}: {name} has no {variable}: {error}") from error
