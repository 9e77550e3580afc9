"""Augmentation: random crops, pasting on backgrounds, illumination, camera and compression artifacts.

All functions take and return (H, W, 3) uint8 RGB arrays and draw from a NumPy generator, so that a view depends on its
seed only.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

# OpenCV's threads hang in forked worker processes, and the network uses all cores.
cv2.setNumThreads(1)

WHITE = (255, 255, 255)
MIN_ASPECT = 0.05  # of a crop's sides
WHITE_LEVELS = (236, 252)  # range of the darkest channel of a catalogue photograph's background
HALO = 16  # levels darker that JPEG compression makes the white around a thumbnail's product
MAX_THUMBNAIL_HEIGHT = 120  # pixels; images up to this height are enlarged
FOREGROUND_SHARE = (0.04, 0.9)  # of the pixels
GRABCUT_SIDE = 128  # pixels; for speed
MIN_WHITE_BORDER = 0.85  # share of the border's pixels that are background
DrawBackground = Callable[[int, int, np.random.Generator], np.ndarray]  # height, width → (height, width, 3)


def corners(width: float, height: float) -> np.ndarray:
    """The corners of a rectangle at the origin (4, 2) float32, clockwise from the upper left."""
    return np.array([[0, 0], [width, 0], [width, height], [0, height]], dtype=np.float32)


def rotated(points: np.ndarray, degrees: float) -> np.ndarray:
    """Points (4, 2), rotated around their mean."""
    angle = np.deg2rad(degrees)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    centre = points.mean(axis=0)
    return ((points - centre) @ turn + centre).astype(np.float32)


def perturbed(points: np.ndarray, amount: float, random: np.random.Generator) -> np.ndarray:
    """Points (4, 2), each moved by up to `amount` of their extent: a random change of perspective."""
    extent = np.ptp(points, axis=0)
    return (points + random.uniform(-amount, amount, points.shape) * extent).astype(np.float32)


def random_crop(
    image: np.ndarray, size: int, random: np.random.Generator, min_area: float, max_angle: float, border: int
) -> np.ndarray:
    """A random crop with rotation and perspective, resized so that its longer side is `size`.

    The crop covers `min_area` to all of the image's area and changes the aspect ratio by up to a tenth. The standard
    deviation of the rotation is half of `max_angle` degrees. `border` is OpenCV's mode beyond the image's edge.
    """
    height, width = image.shape[:2]
    share = np.sqrt(random.uniform(min_area, 1.0))
    aspect = np.exp(random.uniform(-0.1, 0.1))
    piece = np.array([width * min(1, share * aspect), height * min(1, share / aspect)])
    start = (np.array([width, height]) - piece) * random.uniform(0, 1, 2)
    return crop_region(image, np.concatenate([start, start + piece]), size, random, max_angle, border)


def crop_region(
    image: np.ndarray,
    box: np.ndarray,
    size: int,
    random: np.random.Generator,
    max_angle: float,
    border: int = cv2.BORDER_REFLECT_101,
) -> np.ndarray:
    """What is in the box (left, top, right, bottom in pixels), with rotation and perspective.

    Its longer side is resized to `size`. The box may reach beyond the image. A thinner one than MIN_ASPECT is widened:
    the perspective would fold it. `max_angle` and `border`: `random_crop`.
    """
    extent = np.maximum(box[2:] - box[:2], max(1, *(MIN_ASPECT * (box[2:] - box[:2]))))
    source = corners(*extent) + box[:2]
    source = perturbed(rotated(source, random.normal(0, max_angle / 2)), 0.02, random)
    scale = size / max(extent)
    inner_width, inner_height = (max(1, round(float(side * scale))) for side in extent)
    matrix = cv2.getPerspectiveTransform(source.astype(np.float32), corners(inner_width, inner_height))
    way = cv2.INTER_CUBIC if random.random() < 0.5 else cv2.INTER_LINEAR
    if scale < 0.7:  # halve the image against aliasing
        height, width = image.shape[:2]
        half = max(1, width // 2), max(1, height // 2)
        image = cv2.resize(image, half, interpolation=cv2.INTER_AREA)
        matrix = matrix @ np.diag([width / half[0], height / half[1], 1.0])
    if min(image.shape[:2]) == 1 and border == cv2.BORDER_REFLECT_101:
        border = cv2.BORDER_REFLECT  # OpenCV 5.0 never comes back from the other way around a single pixel
    return cv2.warpPerspective(
        image, matrix, (inner_width, inner_height), flags=way, borderMode=border, borderValue=WHITE
    )


def pad_to_square(view: np.ndarray, size: int) -> np.ndarray:
    """Centered on a white square, as by `fashion_model.preprocessing.Preprocessing.letterbox`."""
    height, width = view.shape[:2]
    top, left = (size - height) // 2, (size - width) // 2
    borders = top, size - height - top, left, size - width - left
    return cv2.copyMakeBorder(view, *borders, cv2.BORDER_CONSTANT, value=WHITE)


@dataclass(frozen=True)
class Backgrounds:
    """Backgrounds to paste products on: textures, corners of photographs, crops of everyday images, plain colors."""

    textures: Sequence[Any]  # images, as of the other two
    photographs: Sequence[Any]
    everyday: Sequence[Any]

    def draw(self, height: int, width: int, random: np.random.Generator) -> np.ndarray:
        """Draw a background (height, width, 3)."""
        kinds = [k for k, images in enumerate((self.textures, self.photographs, self.everyday)) if len(images)]
        kind = random.choice([*kinds, *kinds, 3])
        if kind == 0:
            # Tiled, at a random scale and angle.
            texture = np.asarray(self.textures[random.integers(len(self.textures))])
            side = random.uniform(0.4, 2.0) * max(height, width)
            source = rotated(corners(width, height) / side * texture.shape[0], random.uniform(0, 360))
            matrix = cv2.getPerspectiveTransform(perturbed(source, 0.1, random), corners(width, height))
            return cv2.warpPerspective(texture, matrix, (width, height), borderMode=cv2.BORDER_WRAP)
        if kind == 3:
            return plain(height, width, random)
        images = self.photographs if kind == 1 else self.everyday
        image = np.asarray(images[random.integers(len(images))])
        # Corners of product photographs rarely show the product.
        share = random.uniform(0.15, 0.3) if kind == 1 else random.uniform(0.3, 0.8)
        h, w = (max(1, int(side * share)) for side in image.shape[:2])
        free = image.shape[0] - h, image.shape[1] - w
        top, left = (random.integers(2) * side if kind == 1 else random.integers(side + 1) for side in free)
        piece = image[top : top + h, left : left + w]
        return cv2.resize(piece, (width, height), interpolation=cv2.INTER_CUBIC)


def studio(height: int, width: int, random: np.random.Generator) -> np.ndarray:
    """A background that is white, or nearly white and unevenly lit."""
    if random.random() < 0.5:
        return np.full((height, width, 3), 255, np.uint8)
    light = random.uniform(205, 255, (2, 2, 1)) + random.uniform(-6, 6, 3)
    return cv2.resize(light.clip(0, 255).astype(np.uint8), (width, height), interpolation=cv2.INTER_LINEAR)


def plain(height: int, width: int, random: np.random.Generator) -> np.ndarray:
    """One color, or a gradient between the colors of four corners."""
    colors = random.integers(10, 246, (2, 2, 3)).astype(np.uint8)
    if random.random() < 0.5:
        colors[:] = colors[0, 0]
    return cv2.resize(colors, (width, height), interpolation=cv2.INTER_LINEAR)


def paste_on_background(
    image: np.ndarray, alpha: np.ndarray, draw_background: DrawBackground, size: int, random: np.random.Generator
) -> np.ndarray:
    """The product of an image on another background, at a random position, scale and angle, often with a shadow.

    `alpha` (h, w) uint8 is the matte of `image`, which shows something. The longer side of the result is `size`.
    """
    aspect = random.choice([3 / 4, 4 / 3, 1.0])
    width, height = (round(size * min(1, aspect)), round(size * min(1, 1 / aspect)))
    background = draw_background(height, width, random)
    rows, columns = np.nonzero(alpha > 127)
    box = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], dtype=np.float32)
    source = corners(box[2] - box[0], box[3] - box[1]) + box[:2]
    angle = random.uniform(0, 360) if random.random() < 0.2 else random.normal(0, 12)
    extent = source[2] - source[0]
    scale = random.uniform(0.4, 1.15) * min(np.array([width, height]) / extent)
    target = perturbed(rotated(corners(*(extent * scale)), angle), 0.08, random)
    space = np.array([width, height]) - np.ptp(target, axis=0)
    target += (random.uniform(0, 1, 2) * space - target.min(axis=0)).astype(np.float32)
    matrix = cv2.getPerspectiveTransform(source, target.astype(np.float32))
    product = cv2.warpPerspective(image, matrix, (width, height), flags=cv2.INTER_LINEAR, borderValue=WHITE)
    mask = cv2.warpPerspective(alpha, matrix, (width, height), flags=cv2.INTER_LINEAR)
    view = background.astype(np.float32)
    if random.random() < 0.7:
        strength = random.uniform(0.15, 0.6)
        x, y = random.normal(0, 0.03, 2) * height
        moved = cv2.warpAffine(mask, np.float32([[1, 0, x], [0, 1, y]]), (width, height))
        shadow = cv2.GaussianBlur(moved, (0, 0), random.uniform(0.01, 0.05) * height).astype(np.float32) / 255
        view *= 1 - strength * shadow[..., None]
    share = mask[..., None].astype(np.float32) / 255
    gain = random.uniform(0.75, 1.1) if random.random() < 0.5 else 1.0
    view = view * (1 - share) + product.astype(np.float32) * gain * share
    return np.clip(view, 0, 255).astype(np.uint8)


def jitter_illumination(view: np.ndarray, random: np.random.Generator, strength: float = 1.0) -> np.ndarray:
    """Random brightness, gamma, white balance, and sometimes a gradient of brightness across the image."""
    gains = np.exp(random.normal(0, 0.06 * strength, 3)) * random.uniform(1 - 0.35 * strength, 1 + 0.15 * strength)
    levels = np.arange(256, dtype=np.float32) / 255
    table = levels ** np.exp(random.normal(0, 0.15 * strength)) * 255
    lit = cv2.LUT(view, np.clip(table[:, None] * gains, 0, 255).astype(np.uint8)[None])
    if random.random() < 0.3 * strength:
        falloff = cv2.resize(random.uniform(0.5, 1.1, (2, 2)).astype(np.float32), view.shape[1::-1])
        lit = np.clip(lit * falloff[..., None], 0, 255).astype(np.uint8)
    return lit


def degrade(view: np.ndarray, random: np.random.Generator, min_scale: float = 0.3) -> np.ndarray:
    """Random downsampling to at least `min_scale`, defocus or motion blur, noise and JPEG compression."""
    height, width = view.shape[:2]
    if random.random() < 0.3:
        scale = np.exp(random.uniform(np.log(min_scale), np.log(0.8)))
        small_size = (max(1, round(width * scale)), max(1, round(height * scale)))
        small = cv2.resize(view, small_size, interpolation=cv2.INTER_AREA)
        view = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
    if random.random() < 0.15:
        view = cv2.GaussianBlur(view, (0, 0), random.uniform(0.4, 1.5))
    elif random.random() < 0.05:
        length = int(random.integers(3, 8))
        kernel = np.zeros((length, length), np.float32)
        cv2.line(kernel, (0, int(random.integers(length))), (length - 1, int(random.integers(length))), 1.0)
        view = cv2.filter2D(view, -1, kernel / kernel.sum())
    if random.random() < 0.15:
        noise = random.normal(0, random.uniform(2, 10), view.shape)
        view = np.clip(view + noise, 0, 255).astype(np.uint8)
    if random.random() < 0.5:
        view = jpeg_compressed(view, int(random.integers(30, 95)))
    return view


def jpeg_compressed(view: np.ndarray, quality: int) -> np.ndarray:
    """The view after JPEG compression."""
    _, data = cv2.imencode(".jpg", view[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.ascontiguousarray(cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1])


def resize_and_recompress(image: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Resized to 70 to 130 % and JPEG-compressed again.

    This hides the original compression artifacts, which correlate with the cataloguing date and so with the season.
    """
    scale = random.uniform(0.7, 1.3)
    size = (max(8, round(image.shape[1] * scale)), max(8, round(image.shape[0] * scale)))
    way = random.choice([cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_AREA, cv2.INTER_LANCZOS4])
    return jpeg_compressed(cv2.resize(image, size, interpolation=int(way)), int(random.integers(30, 97)))


def cut_out(image: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray] | None:
    """Separate the product of a catalogue photograph: the image (H, W, 3), thumbnails enlarged, and its matte (H, W).

    The white level of the background is drawn at random, so that the network does not rely on the edges that one level
    leaves. None if the product is not surrounded by white.
    """
    level = int(random.integers(*WHITE_LEVELS))
    if image.shape[0] <= MAX_THUMBNAIL_HEIGHT:
        image, level = cv2.resize(image, None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC), level - HALO
    white = (image.min(axis=2) >= level).astype(np.uint8)
    _, regions = cv2.connectedComponents(white, connectivity=4)
    border = np.concatenate([regions[0], regions[-1], regions[:, 0], regions[:, -1]])
    if (border > 0).mean() < MIN_WHITE_BORDER:
        return None
    outside = np.zeros(regions.max() + 1, dtype=bool)
    outside[np.unique(border[border > 0])] = True
    product = (~outside[regions]).astype(np.uint8) * 255
    if not FOREGROUND_SHARE[0] <= product.mean() / 255 <= FOREGROUND_SHARE[1]:
        return None
    product = cv2.erode(product, np.ones((3, 3), np.uint8))  # the outermost pixels are mixed with white
    alpha = visible(cv2.GaussianBlur(product, (3, 3), 0))
    return None if alpha is None else (image, alpha)


def central_object(image: np.ndarray, random: np.random.Generator) -> np.ndarray | None:
    """A rough matte (H, W) uint8 of what is in the middle of any photograph, by GrabCut (Rother et al., 2004).

    None if it finds hardly anything, or no ground around it.
    """
    height, width = image.shape[:2]
    scale = GRABCUT_SIDE / max(height, width)
    small_size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(image, small_size, interpolation=cv2.INTER_AREA)
    rows, columns = small.shape[:2]
    margin_x, margin_y = (max(2, round(side * random.uniform(0.05, 0.12))) for side in (columns, rows))
    inside = (margin_x, margin_y, columns - 2 * margin_x, rows - 2 * margin_y)
    if min(inside) < 1:
        return None
    mask = np.zeros((rows, columns), np.uint8)
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.setRNGSeed(int(random.integers(2**31)))
    cv2.grabCut(small, mask, inside, *models, 2, cv2.GC_INIT_WITH_RECT)
    product = np.where((mask == cv2.GC_FGD) | (mask == cv2.GC_PR_FGD), 255, 0).astype(np.uint8)
    if not FOREGROUND_SHARE[0] <= product.mean() / 255 <= FOREGROUND_SHARE[1]:
        return None
    return visible(cv2.resize(cv2.GaussianBlur(product, (3, 3), 0), (width, height), interpolation=cv2.INTER_LINEAR))


def visible(alpha: np.ndarray) -> np.ndarray | None:
    """The matte, or None if it shows nothing: what is thinner than a few pixels vanishes from it."""
    return alpha if (alpha > 127).any() else None
