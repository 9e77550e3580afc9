"""Label and split Clothing Co-Parsing: photographs of people in the street, with a mask of every item they wear.

    python -m data_prep street-photographs --source clothing-co-parsing/ --output data/

`--source`: the folder or zip of `bearpaw/clothing-co-parsing` on GitHub (Apache-2.0; Yang, Luo, Lin, CVPR 2014), with
`photos/0001.jpg` of any size, `annotations/pixel-level/0001.mat` and `label_list.mat`. The labels of the items are in
`data_prep/worn.csv`; a multimodal model assigned them. Writes `data/worn/worn.csv` (a row an item, with its box as
parts of the photograph's width and height, accepted labels, and a split), `data/worn/photographs/0001.jpg` of at most
660 pixels, and `data/worn/masks/0001.png`, which has the number of the item's tag in `data/worn/tags.json` at each
pixel.
Half a minute for 704 photographs.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.io
from PIL import Image
from tqdm import tqdm

from data_prep.archive import Archive, delete_images, save_image
from data_prep.source import SourceError
from data_prep.splits import TEST, TRAIN, VALIDATION, hashed_split
from fashion_model.files import replacing, write_text

LABELS = Path(__file__).with_name("worn.csv")
FOLDER, TABLE, TAGS = "worn", "worn.csv", "tags.json"
MAX_SIDE = 660  # pixels of a prepared photograph
# Photographs of one person at one place, which have to be in the same split: the eight most similar pairs by the pooled
# features of an ImageNet network (cosine similarity above 0.75), looked at one by one; the next most similar show
# different people.
SAME_SHOOT = {
    "0730": "0183",
    "0722": "0594",
    "0990": "0907",
    "0732": "0692",
    "0984": "0078",
    "0671": "0197",
    "0649": "0366",
    "0398": "0312",
}


@dataclass(frozen=True)
class Config:
    source: Path
    """The folder or zip of Clothing Co-Parsing."""
    output: Path
    """The data folder."""


def run(config: Config) -> None:
    table = prepare(config.source, config.output)
    for split in (TRAIN, VALIDATION, TEST):
        rows = table[table["split"] == split]
        print(f"{len(rows):>8,}  {split}, on {rows['photo'].nunique()} photographs")


def prepare(source: Path, output: Path) -> pd.DataFrame:
    """Write the labeled photographs of `source`, their masks and their table. Returns the table.

    Labels without a photograph in `source` are left out. SourceError if there is no photograph, or one is unusable.
    """
    archive = Archive(source)
    table = pd.read_csv(LABELS, dtype=str, keep_default_na=False)
    table = table[[photo in archive for photo in table["photo"]]].reset_index(drop=True)
    if table.empty:
        raise SourceError(f"{source} holds none of the photographs that {LABELS.name} has labels of")
    photographs, masks = output / FOLDER / "photographs", output / FOLDER / "masks"
    delete_images(photographs)
    masks.mkdir(parents=True, exist_ok=True)
    for photo in tqdm(table["photo"].unique(), desc="reading", unit="image", disable=None):
        photograph = archive.image(photo, MAX_SIDE)
        save_image(photograph, photographs / photo)
        mask = Image.fromarray(matrix(archive, f"{Path(photo).stem}.mat", "groundtruth").astype(np.uint8))
        with replacing(masks / f"{Path(photo).stem}.png") as unfinished:
            mask.resize(photograph.size, Image.Resampling.NEAREST).save(unfinished, "PNG")
    tags = [str(np.ravel(tag)[0]) for tag in matrix(archive, "label_list.mat", "label_list").ravel()]
    write_text(output / FOLDER / TAGS, json.dumps(tags))
    numbers = [Path(photo).stem for photo in table["photo"]]
    table["shoot"] = [SAME_SHOOT.get(number, number) for number in numbers]
    table["split"] = [hashed_split(f"street photograph {shoot}") for shoot in table["shoot"]]
    write_text(output / FOLDER / TABLE, table.to_csv(index=False))
    return table


def matrix(archive: Archive, name: str, variable: str) -> np.ndarray:
    """The variable of a MATLAB file. SourceError if the file is missing or damaged, or lacks the variable."""
    try:
        return scipy.io.loadmat(io.BytesIO(archive.bytes(name)))[variable]
    except (ValueError, TypeError, KeyError, NotImplementedError) as error:
        raise SourceError(f"{archive.path}: {name} has no {variable}: {error}") from error
