"""The training set: images of every prepared domain, how often each is shown, and a random view of each."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset

from data_prep.photographs import BACKGROUNDS, EVERYDAY
from data_prep.splits import TRAIN
from train.data import augmentation as aug
from train.data.domains import CATALOGUE, PERSON, PHONE, STREETS, THUMBNAILS, WORN, Domain, read_image, with_margins
from train.data.table import DataError

EMPTY = "backgrounds"  # without a product
EMPTY_IMAGES = 100
MIN_PASTED_SIDE, MIN_PASTED_SHARE = 40, 0.35  # pixels of the box of a worn product, and its part that the mask fills
MAX_REPEAT = 3.0  # of an image with rare labels, against the others


@dataclass(frozen=True)
class Augmentation:
    """Probabilities with which a view is changed."""

    paste: float = 0.5  # A catalogue image: its product is pasted on another background.
    paste_worn: float = 0.12  # A worn product: what its mask shows is pasted on another background.
    isolate: float = 0.4
    """An everyday photograph: what is in its middle is pasted before white or another background, as shops show it."""
    partial: float = 0.15  # A worn product: the crop cuts up to a third of it off.
    turn: float = 0.1  # A photograph: turned by 90, 180 or 270 degrees.
    illuminate: float = 0.6  # Brightness, gamma and white balance change.
    degrade: float = 1.0  # Resolution, focus, noise and compression change, each with a probability of its own.


class TrainingSet(Dataset):
    """A view (3, size, size) uint8 and the image's index, for each key: a pair of an image index and a seed.

    `shares` are the parts of an epoch's views, by domain; those of domains that `data` lacks go to the others.
    DataError if a file is missing; a damaged one raises it when it is read.
    """

    def __init__(
        self,
        domains: Sequence[Domain],
        data: Path,
        size: int,
        shares: Mapping[str, float],
        repeat_threshold: float = 0.0,
        accessory_share: float | None = None,
        augmentation: Augmentation | None = None,
    ):
        self.size, self.augmentation = size, augmentation or Augmentation()
        by_name = {domain.name: domain for domain in domains}
        textures = Domain(BACKGROUNDS, sorted((data / BACKGROUNDS / TRAIN).glob("*.jpg")), {})
        everyday = by_name.get(EVERYDAY, [])
        self.backgrounds = aug.Backgrounds(textures, by_name.get(PHONE, []), everyday)
        self.empty_backgrounds = aug.Backgrounds(textures, [], everyday)  # corners of photographs may show clothes
        if shares.get(EMPTY):
            nothing = {name: torch.zeros(EMPTY_IMAGES, t.shape[1]) for name, t in domains[0].targets.items()}
            domains = [*domains, Domain(EMPTY, [Path()] * EMPTY_IMAGES, nothing, is_fashion=False)]
        self.images = [(domain, row) for domain in domains for row in range(len(domain))]
        files = [path for domain in domains if domain.name != EMPTY for path in domain.paths]
        masks = [mask_of(path) for domain in domains if domain.name in (WORN, STREETS) for path in domain.paths]
        files += masks
        missing = next((path for path in files if not path.is_file()), None)
        if missing:
            raise DataError(f"{missing} is missing; data_prep writes it")
        self.targets = {name: torch.cat([domain.targets[name] for domain in domains]) for name in domains[0].targets}
        self.is_fashion = torch.tensor([float(domain.is_fashion) for domain, _ in self.images])
        self.weights = torch.cat(
            [sampling_weights(d, shares[d.name], repeat_threshold, accessory_share) for d in domains]
        )
        tags = data / WORN / "tags.json"  # the names of the numbers in masks
        self.tags = json.loads(tags.read_text(encoding="utf-8")) if tags.is_file() else []
        # What views are made of beside the images.
        self.others = Domain("others", [*textures.paths, *masks], {}, tags=np.array(self.tags, dtype=str))

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, key: tuple[int, int]) -> tuple[torch.Tensor, int]:
        index, random = key[0], np.random.default_rng(key[1])
        domain, row = self.images[index]
        if domain.name == EMPTY:
            view = self.empty_backgrounds.draw(self.size, round(self.size * random.choice([0.75, 1])), random)
        else:
            views = {WORN: self._worn_view, EVERYDAY: self._everyday_view, STREETS: self._street_view}
            views |= dict.fromkeys(CATALOGUE, self._catalogue_view)
            image = np.asarray(read_image(domain.paths[row]))
            view = views.get(domain.name, self._photograph_view)(image, domain, row, random)
        if random.random() < self.augmentation.degrade:
            view = aug.degrade(view, random, min_scale=0.3 if domain.name in CATALOGUE else 0.15)
        view = aug.pad_to_square(view, self.size)
        view = np.ascontiguousarray(view[:, ::-1] if random.random() < 0.5 else view)
        return torch.from_numpy(view).permute(2, 0, 1), index

    def _photograph_view(self, image: np.ndarray, domain: Domain, row: int, random: np.random.Generator) -> np.ndarray:
        if random.random() < self.augmentation.turn:
            image = np.ascontiguousarray(np.rot90(image, int(random.integers(1, 4))))
        view = aug.random_crop(image, self.size, random, min_area=0.4, max_angle=14, border=cv2.BORDER_REFLECT_101)
        return self._illuminated(view, random, 0.6)

    def _everyday_view(self, image: np.ndarray, domain: Domain, row: int, random: np.random.Generator) -> np.ndarray:
        if random.random() >= self.augmentation.isolate or (alpha := aug.central_object(image, random)) is None:
            return self._photograph_view(image, domain, row, random)
        draw_background = aug.studio if random.random() < 0.7 else self.empty_backgrounds.draw
        return self._illuminated(aug.paste_on_background(image, alpha, draw_background, self.size, random), random, 0.5)

    def _catalogue_view(self, image: np.ndarray, domain: Domain, row: int, random: np.random.Generator) -> np.ndarray:
        if random.random() < self.augmentation.paste and (product := aug.cut_out(image, random)) is not None:
            view = aug.paste_on_background(*product, self.backgrounds.draw, self.size, random)
            return self._illuminated(view, random, 0.7)
        if domain.name == THUMBNAILS and random.random() < self.augmentation.degrade:
            image = aug.resize_and_recompress(image, random)
        view = aug.random_crop(image, self.size, random, min_area=0.7, max_angle=6, border=cv2.BORDER_CONSTANT)
        return self._illuminated(view, random, 0.5) if random.random() < 0.5 else view

    def _worn_view(self, image: np.ndarray, domain: Domain, row: int, random: np.random.Generator) -> np.ndarray:
        """A crop around the box, or the product itself before another background.

        The margins are 0 to 40 % of the box's sides, or, for a crop nearer to a square, of its longer side; around some
        accessories up to 80 %.
        """
        size = np.array(image.shape[1::-1])
        box = domain.boxes[row] * np.tile(size, 2)
        if random.random() < self.augmentation.paste_worn:
            alpha = self._matte(domain, row, box)
            if alpha is not None:
                view = aug.paste_on_background(image, alpha, self.backgrounds.draw, self.size, random)
                return self._illuminated(view, random, 0.7)
        wide = domain.accessories[row] and random.random() < 0.3
        amount = random.uniform(0.4, 0.8) if wide else random.uniform(0, 0.4)
        margins = (amount + random.uniform(-0.1, 0.1, 4)).clip(0)
        sides = np.maximum(box[2:] - box[:2], 1)
        if random.random() < 0.5:
            margins *= np.tile(max(sides) / sides, 2)
        if random.random() < self.augmentation.partial:
            margins[random.integers(4)] = random.uniform(-0.33, 0)
        box = with_margins(box, margins).clip(0, np.tile(size, 2))
        return self._illuminated(aug.crop_region(image, box, self.size, random, max_angle=10), random, 0.6)

    def _street_view(self, image: np.ndarray, domain: Domain, row: int, random: np.random.Generator) -> np.ndarray:
        """A part of the photograph without a product: face, hair and hands, what is above the people, or the ground.

        Between these, people whom the masks leave out walk by. The part is a tenth to six tenths as wide.
        """
        mask = read_mask(domain.paths[row])
        person, skin = (
            np.isin(mask, [self.tags.index(t) for t in tags if t in self.tags]) for tags in (PERSON, PERSON[1:])
        )
        height, width = image.shape[:2]
        box = np.array([0, 0, 0.2 * width, 0.1 * height])
        for _ in range(30):
            side = random.uniform(0.1, 0.6) * width * np.exp(random.uniform(-0.3, 0.3, 2))  # width, height
            start = random.uniform(0, np.maximum(np.array([width, height]) - side, 1))
            drawn = np.array([*start, *np.minimum(start + side, [width, height])])
            left, top, right, bottom = drawn.round().astype(int)
            if left == right or top == bottom:
                continue
            apart = bottom < 0.3 * height or top > 0.85 * height or skin[top:bottom, left:right].mean() > 0.4
            if apart and person[top:bottom, left:right].mean() > 0.99:
                box = drawn
                break
        return self._illuminated(aug.crop_region(image, box, self.size, random, max_angle=10), random, 0.6)

    def _matte(self, domain: Domain, row: int, box: np.ndarray) -> np.ndarray | None:
        """255 where the product of the row is, (H, W) uint8; None if that is small or little of its box."""
        if domain.tags[row] not in self.tags:
            return None
        mask = read_mask(domain.paths[row])
        left, top, right, bottom = box.round().astype(int)
        alpha = np.zeros_like(mask)
        product = mask[top:bottom, left:right] == self.tags.index(domain.tags[row])
        if product.size == 0 or min(product.shape) < MIN_PASTED_SIDE or product.mean() < MIN_PASTED_SHARE:
            return None
        alpha[top:bottom, left:right] = np.where(product, 255, 0)
        return aug.visible(cv2.GaussianBlur(alpha, (3, 3), 0))

    def _illuminated(self, view: np.ndarray, random: np.random.Generator, strength: float) -> np.ndarray:
        changes = random.random() < self.augmentation.illuminate
        return aug.jitter_illumination(view, random, strength) if changes else view


def mask_of(street_photograph: Path) -> Path:
    return street_photograph.parent.with_name("masks") / f"{street_photograph.stem}.png"


def read_mask(street_photograph: Path) -> np.ndarray:
    """The number of the tag at each pixel of the photograph, (H, W) uint8. DataError if it cannot be read."""
    path = mask_of(street_photograph)
    mask = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if mask is None:
        raise DataError(f"{path} is missing or damaged; `python -m data_prep street-photographs` writes it")
    return mask


def sampling_weights(
    domain: Domain, share: float, repeat_threshold: float, accessory_share: float | None
) -> torch.Tensor:
    """How often to show each image of the domain, (N,); they add up to `share`.

    Images with rare labels are shown more often, see `repeat_factors`. Accessories get `accessory_share` of the views;
    with None, as many as they have images.
    """
    known = {name: targets for name, targets in domain.targets.items() if bool(targets.any())}
    weights = repeat_factors(known, len(domain), repeat_threshold).clamp(max=MAX_REPEAT)
    if accessory_share is not None and domain.accessories is not None:
        accessories = torch.tensor(domain.accessories)
        if 0 < int(accessories.sum()) < len(domain):
            weights[accessories] *= accessory_share / weights[accessories].sum()
            weights[~accessories] *= (1 - accessory_share) / weights[~accessories].sum()
    return share * weights / weights.sum()


def repeat_factors(targets: Mapping[str, torch.Tensor], count: int, threshold: float) -> torch.Tensor:
    """Repeat factor sampling (LVIS, Gupta et al., CVPR 2019): (count,) at least 1.

    targets: attribute → (count, classes). The factor is the square root of `threshold` over the share of the rarest of
    the image's first labels. Unknown labels are left out.
    """
    factors = torch.ones(count)
    for of_attribute in targets.values():
        labels, known = of_attribute.argmax(dim=1), of_attribute.any(dim=1)
        counts = labels[known].bincount(minlength=of_attribute.shape[1])
        factors[known] = torch.maximum(factors[known], (threshold * count / counts[labels[known]]).sqrt())
    return factors


def draw_epoch(weights: torch.Tensor, views: int, generator: torch.Generator) -> list[int]:
    """Indices of `views` images in random order, in proportion to their weights (systematic sampling)."""
    ends = weights.double().cumsum(0)
    points = (torch.arange(views) + torch.rand((), generator=generator)) * (ends[-1] / views)
    rows = torch.searchsorted(ends, points, right=True).clamp(max=len(weights) - 1)
    return rows[torch.randperm(views, generator=generator)].tolist()
