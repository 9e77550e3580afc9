"""Scenes for the finder: photographs of several products, or none, with a box around each."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset
from tqdm import tqdm

from data_prep.photographs import BACKGROUNDS, EVERYDAY, HIGH_RESOLUTION
from data_prep.splits import TRAIN
from fashion_model.attributes import PRODUCT_TYPE
from train.data import augmentation as aug
from train.data.domains import PHONE, THUMBNAILS, WORN, Domain, read_image
from train.data.training_set import read_mask

# Groups of products → their product types in the catalogue, and their tags in street photographs.
GROUPS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "upper body": (
        (
            *("Tshirts", "Shirts", "Tops", "Tunics", "Kurtas", "Kurtis", "Sweaters", "Sweatshirts", "Camisoles", "Bra"),
            *("Innerwear Vests", "Lounge Tshirts", "Shapewear"),
        ),
        ("blouse", "shirt", "t-shirt", "top", "sweater", "sweatshirt", "jumper", "hoodie", "bodysuit", "bra"),
    ),
    "outerwear": (
        ("Jackets", "Blazers", "Waistcoat", "Rain Jacket", "Nehru Jackets", "Shrug", "Robe", "Bath Robe"),
        ("coat", "jacket", "blazer", "cape", "cardigan", "vest", "suit"),
    ),
    "dress": (
        (
            *("Dresses", "Jumpsuit", "Rompers", "Nightdress", "Baby Dolls", "Night Suits", "Sarees", "Lehenga Choli"),
            *("Kurta Sets", "Clothing Set", "Salwar and Dupatta", "Swimwear", "Tracksuits"),
        ),
        ("dress", "romper", "swimwear", "intimate"),
    ),
    "trousers": (
        (
            *("Trousers", "Jeans", "Jeggings", "Track Pants", "Shorts", "Capris", "Churidar", "Patiala", "Salwar"),
            *("Lounge Pants", "Lounge Shorts", "Boxers", "Briefs", "Trunk"),
        ),
        ("pants", "jeans", "shorts", "panties"),
    ),
    "skirt": (("Skirts",), ("skirt",)),
    "legwear": (("Leggings", "Stockings", "Tights", "Socks"), ("leggings", "stockings", "tights", "socks")),
    "footwear": (
        (
            *("Casual Shoes", "Formal Shoes", "Sports Shoes", "Heels", "Flats", "Booties"),
            *("Sandals", "Sports Sandals", "Flip Flops"),
        ),
        ("shoes", "boots", "sandals", "heels", "loafers", "sneakers", "flats", "pumps", "wedges", "clogs"),
    ),
    "bag": (
        (
            *("Handbags", "Clutches", "Backpacks", "Rucksacks", "Duffel Bag", "Laptop Bag", "Messenger Bag"),
            *("Trolley Bag", "Waist Pouch", "Wallets", "Mobile Pouch", "Tablet Sleeve"),
        ),
        ("bag", "purse", "wallet"),
    ),
    "hat": (("Caps", "Hat", "Headband"), ("hat",)),
    "eyewear": (("Sunglasses",), ("sunglasses", "glasses")),
    "belt": (("Belts",), ("belt",)),
    "scarf and tie": (("Scarves", "Stoles", "Mufflers", "Dupatta", "Ties"), ("scarf", "tie")),
    "wrist": (("Watches", "Bracelet", "Bangle", "Wristbands"), ("watch", "bracelet")),
    "necklace": (("Necklace and Chains", "Pendant", "Jewellery Set"), ("necklace",)),
}
GROUP_OF_TYPE = {name: number for number, (types, _) in enumerate(GROUPS.values()) for name in types}
GROUP_OF_TAG = {tag: number for number, (_, tags) in enumerate(GROUPS.values()) for tag in tags}
# Types whose catalogue images show nothing else: clothes are often worn by a model, together with others.
ALONE = ("footwear", "bag", "hat", "eyewear", "belt", "scarf and tie", "wrist", "necklace")
KINDS = {"street": 0.45, "phone": 0.3, "composite": 0.13, "nothing": 0.12}  # parts of the scenes
MIN_VISIBLE = 0.4  # part of a product's box that a scene has to show
MAX_ENLARGEMENT = 2.5  # of a photograph of 660 pixels
MOSAIC = 0.3  # part of the phone scenes that show two to four photographs


@dataclass(frozen=True)
class Photograph:
    """A photograph with a box around each of its N products."""

    path: Path
    boxes: np.ndarray  # (N, 4) left, top, right, bottom as parts of its width and height
    groups: np.ndarray  # (N,) indices of groups
    rows: np.ndarray  # (N,) of the domain


Scene = tuple[np.ndarray, np.ndarray, np.ndarray]  # image (H, W, 3) uint8, boxes (N, 4) in pixels, groups (N,)


def street_photographs(worn: Domain) -> list[Photograph]:
    """Those of the domain, with the boxes of their products. A product without a group is left out."""
    groups = np.array([GROUP_OF_TAG.get(tag, -1) for tag in worn.tags])
    rows: dict[Path, list[int]] = {}
    for row, path in enumerate(worn.paths):
        rows.setdefault(path, []).extend([row] if groups[row] >= 0 else [])
    return [Photograph(path, worn.boxes[r], groups[r], np.array(r)) for path, r in rows.items()]


def phone_photographs(phone: Domain, types: tuple[str, ...]) -> list[Photograph]:
    """Those with a product type that has a group, and whose product GrabCut finds."""
    photographs, targets = [], phone.targets[PRODUCT_TYPE]
    for row, path in enumerate(tqdm(phone.paths, desc="phone photographs", unit="image", disable=None)):
        group = GROUP_OF_TYPE.get(types[targets[row].argmax()])
        if targets[row].any() and group is not None:
            box = box_of_product(np.asarray(read_image(path)))
            if box is not None:
                photographs.append(Photograph(path, box[None], np.array([group]), np.array([row])))
    return photographs


def box_of_product(image: np.ndarray) -> np.ndarray | None:
    """Of what is in the middle: (4,) left, top, right, bottom as parts of width and height. None if it is not clear."""
    alpha = aug.central_object(image, np.random.default_rng(0))
    if alpha is None:
        return None
    _, _, facts, _ = cv2.connectedComponentsWithStats((alpha > 127).astype(np.uint8))
    areas = facts[1:, cv2.CC_STAT_AREA]
    large = facts[1:][areas >= 0.15 * areas.max()]  # both of a pair of shoes
    left, top = large[:, 0].min(), large[:, 1].min()
    right, bottom = (large[:, 0] + large[:, 2]).max(), (large[:, 1] + large[:, 3]).max()
    return np.array([left, top, right, bottom]) / np.tile(image.shape[1::-1], 2)


class Scenes(Dataset):
    """(image (3, H, W) uint8, boxes (N, 4) in pixels, groups (N,)); a key is a seed and the size (width, height)."""

    def __init__(self, domains: Mapping[str, Domain], data: Path, types: tuple[str, ...]):
        self.street = street_photographs(domains[WORN])
        self.phone = phone_photographs(domains[PHONE], types)
        self.everyday = domains[EVERYDAY]
        textures = Domain(BACKGROUNDS, sorted((data / BACKGROUNDS / TRAIN).glob("*.jpg")), {})
        self.grounds = aug.Backgrounds(textures, [], self.everyday)
        self.tags = json.loads((data / WORN / "tags.json").read_text(encoding="utf-8"))
        self.worn = domains[WORN]
        counts = np.bincount(np.concatenate([p.groups for p in self.street]), minlength=len(GROUPS))
        self.rarity = 1 / np.sqrt(np.maximum(counts, 1))
        weights = np.array([self.rarity[p.groups].sum() for p in self.street])
        self.street_weights = weights / weights.sum()
        self.catalogue: dict[int, list[Path]] = {}
        alone = {number for number, name in enumerate(GROUPS) if name in ALONE}
        for name in (HIGH_RESOLUTION, THUMBNAILS):
            if name in domains:
                best = domains[name].targets[PRODUCT_TYPE].argmax(dim=1).tolist()
                for path, label in zip(domains[name].paths, best, strict=True):
                    if (group := GROUP_OF_TYPE.get(types[label])) in alone:
                        self.catalogue.setdefault(group, []).append(path)

    def __getitem__(self, key: tuple[int, tuple[int, int]]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        seed, size = key
        random = np.random.default_rng(seed)
        kind = random.choice(list(KINDS), p=list(KINDS.values()))
        image, boxes, groups = getattr(self, f"_{kind}")(size, random)
        if random.random() < 0.6:
            image = aug.jitter_illumination(image, random, 0.6)
        if random.random() < 0.5:
            image = aug.degrade(image, random, min_scale=0.5)
        if random.random() < 0.5:
            image = image[:, ::-1]
            boxes = np.stack([size[0] - boxes[:, 2], boxes[:, 1], size[0] - boxes[:, 0], boxes[:, 3]], axis=1)
        pixels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)
        return pixels, torch.from_numpy(boxes.astype(np.float32)), torch.from_numpy(groups.astype(np.int64))

    def _street(self, size: tuple[int, int], random: np.random.Generator) -> Scene:
        """The photograph, a part of it, or what is around one of its products."""
        photograph = self.street[random.choice(len(self.street), p=self.street_weights)]
        image = np.asarray(read_image(photograph.path))
        boxes = photograph.boxes * np.tile(image.shape[1::-1], 2)
        fitting = min(np.array(size) / image.shape[1::-1])
        if len(boxes) and random.random() < 0.4:
            weights = self.rarity[photograph.groups]
            box = boxes[random.choice(len(boxes), p=weights / weights.sum())]
            share = np.exp(random.uniform(np.log(0.12), np.log(0.7)))  # of the scene's width or height
            scale = share * min(np.array(size) / (box[2:] - box[:2]))
            scale = max(0.8 * fitting, min(scale, MAX_ENLARGEMENT))
            centre = (box[:2] + box[2:]) / 2
        else:
            scale = fitting * np.exp(random.uniform(np.log(0.75), np.log(2)))
            centre = np.array(image.shape[1::-1]) / 2
        return framed(image, boxes, photograph.groups, centre, scale, size, random)

    def _phone(self, size: tuple[int, int], random: np.random.Generator) -> Scene:
        """A photograph of one product, or two to four side by side."""
        if random.random() >= MOSAIC:
            return self._one_phone(size, random)
        columns, rows = (1, 2) if random.random() < 0.4 else (2, 1) if random.random() < 0.3 else (2, 2)
        cell = size[0] // columns, size[1] // rows
        image, boxes, groups = np.full((size[1], size[0], 3), 255, np.uint8), [], []
        for row in range(rows):
            for column in range(columns):
                part, found, of_part = self._one_phone(cell, random)
                left, top = column * cell[0], row * cell[1]
                image[top : top + cell[1], left : left + cell[0]] = part
                boxes.append(found + np.array([left, top, left, top]))
                groups.append(of_part)
        return image, np.concatenate(boxes), np.concatenate(groups)

    def _one_phone(self, size: tuple[int, int], random: np.random.Generator) -> Scene:
        photograph = self.phone[random.integers(len(self.phone))]
        image = np.asarray(read_image(photograph.path))
        boxes = photograph.boxes * np.tile(image.shape[1::-1], 2)
        scale = min(np.array(size) / image.shape[1::-1]) * np.exp(random.uniform(np.log(0.8), np.log(1.4)))
        return framed(image, boxes, photograph.groups, boxes.reshape(2, 2).mean(axis=0), scale, size, random)

    def _composite(self, size: tuple[int, int], random: np.random.Generator) -> Scene:
        """One to five products, cut out of catalogue images and street photographs, on one ground."""
        width, height = size
        image = (aug.studio if random.random() < 0.3 else self.grounds.draw)(height, width, random)
        boxes, groups = np.empty((0, 4)), []
        for _ in range(random.integers(1, 6)):
            of_catalogue = self.catalogue and random.random() < 0.7
            piece = self._catalogue_piece(random) if of_catalogue else self._worn_piece(random)
            if piece is None:
                continue
            product, alpha, group = piece
            rows, columns = np.nonzero(alpha > 127)
            if not len(rows):
                continue
            crop = np.s_[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
            product, alpha = product[crop], alpha[crop]
            scale = np.exp(random.uniform(np.log(0.1), np.log(0.75))) * min(np.array(size) / product.shape[1::-1])
            w, h = (max(6, round(side * scale)) for side in product.shape[1::-1])
            if w >= width or h >= height:
                continue
            for _ in range(10):
                left, top = random.integers(0, width - w), random.integers(0, height - h)
                box = np.array([left, top, left + w, top + h])
                if not (np.minimum(boxes[:, 2:], box[2:]) > np.maximum(boxes[:, :2], box[:2])).all(axis=1).any():
                    break
            else:
                continue
            product = cv2.resize(product, (w, h), interpolation=cv2.INTER_AREA)
            share = cv2.resize(alpha, (w, h), interpolation=cv2.INTER_AREA)[..., None] / 255
            ground = image[top : top + h, left : left + w]
            image[top : top + h, left : left + w] = np.rint(product * share + ground * (1 - share)).astype(np.uint8)
            boxes, groups = np.vstack([boxes, box]), [*groups, group]
        return image, boxes, np.array(groups)

    def _nothing(self, size: tuple[int, int], random: np.random.Generator) -> Scene:
        """An everyday photograph or a ground without products."""
        if random.random() < 0.2:
            return self.grounds.draw(size[1], size[0], random), np.empty((0, 4)), np.empty(0)
        image = np.asarray(self.everyday[random.integers(len(self.everyday))])
        scale = min(np.array(size) / image.shape[1::-1]) * np.exp(random.uniform(np.log(0.5), np.log(2)))
        return framed(image, np.empty((0, 4)), np.empty(0), np.array(image.shape[1::-1]) / 2, scale, size, random)

    def _catalogue_piece(self, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray, int] | None:
        group = random.choice(list(self.catalogue))
        paths = self.catalogue[group]
        piece = aug.cut_out(np.asarray(read_image(paths[random.integers(len(paths))])), random)
        return piece and (*piece, group)

    def _worn_piece(self, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray, int] | None:
        photograph = self.street[random.choice(len(self.street), p=self.street_weights)]
        if not len(photograph.rows):
            return None
        number = random.integers(len(photograph.rows))
        mask = read_mask(photograph.path)
        tag = self.worn.tags[photograph.rows[number]]
        left, top, right, bottom = (photograph.boxes[number] * np.tile(mask.shape[::-1], 2)).round().astype(int)
        alpha = np.where(mask[top:bottom, left:right] == self.tags.index(tag), 255, 0).astype(np.uint8)
        if alpha.size == 0 or alpha.mean() < 0.35 * 255:
            return None
        image = np.asarray(read_image(photograph.path))[top:bottom, left:right]
        return image, cv2.GaussianBlur(alpha, (3, 3), 0), int(photograph.groups[number])


def framed(
    image: np.ndarray,
    boxes: np.ndarray,
    groups: np.ndarray,
    centre: np.ndarray,
    scale: float,
    size: tuple[int, int],
    random: np.random.Generator,
) -> Scene:
    """What a frame of `size` (width, height) around about `centre` shows at this scale; white beyond the image."""
    frame = np.array(size)
    aspect = np.exp(random.uniform(-0.08, 0.08))
    scales = scale * np.array([aspect, 1 / aspect])
    full = np.maximum(np.rint(np.array(image.shape[1::-1]) * scales), 1).astype(int)
    free = frame - full
    middle = centre * scales + random.uniform(-0.35, 0.35, 2) * frame  # of the frame in the scaled image
    start = np.rint(middle - frame / 2)
    start = np.where(free >= 0, -np.rint(random.uniform(0, 1, 2) * free), start.clip(0, np.maximum(-free, 0)))
    # Only the visible part is resized.
    visible = np.concatenate([np.maximum(start, 0), np.minimum(start + frame, full)])
    source = np.concatenate([np.floor(visible[:2] / scales), np.ceil(visible[2:] / scales)]).astype(int)
    source = np.minimum(source, np.tile(image.shape[1::-1], 2))
    part = image[source[1] : max(source[3], source[1] + 1), source[0] : max(source[2], source[0] + 1)]
    w, h = (visible[2:] - visible[:2]).astype(int)
    canvas = np.full((size[1], size[0], 3), aug.WHITE, np.uint8)
    left, top = (visible[:2] - start).astype(int)
    canvas[top : top + h, left : left + w] = cv2.resize(
        part, (w, h), interpolation=cv2.INTER_AREA if max(scales) < 1 else cv2.INTER_LINEAR
    )
    moved = boxes * np.tile(scales, 2) - np.tile(start, 2)
    clipped = moved.clip(0, np.tile(frame, 2))
    sides, shown = moved[:, 2:] - moved[:, :2], clipped[:, 2:] - clipped[:, :2]
    keep = (shown.prod(axis=1) >= MIN_VISIBLE * sides.prod(axis=1)) & (shown.min(axis=1, initial=np.inf) >= 4)
    return canvas, clipped[keep], groups[keep]
