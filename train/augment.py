"""Random views of training pictures: as a phone's camera would have taken them, and as uploads get lost on the way.

All take and return (H, W, 3) uint8 RGB arrays and draw from a NumPy generator, so that a view hangs on its seed alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

# OpenCV's threads do not live on in forked processes, which would wait for them, and the cores are the network's.
cv2.setNumThreads(1)

WHITE = (255, 255, 255)
LEAST_WHITE, WHITEST = 236, 252  # a channel's level above which the catalogue's white may begin
HALO = 16  # levels that compression takes from that around a thumbnail's product
THUMBNAIL_HEIGHT = 120  # pixels; lower pictures are enlarged before their product is cut out
PRODUCT_SHARE = (0.04, 0.9)  # of a catalogue picture's pixels
WHITE_BORDER = 0.85  # share of the border's pixels that belong to the ground of a product that can be cut out


def cut_out(picture: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray] | None:
    """The picture and (H, W) uint8, 255 on the product, 0 on the white around it, soft between.

    A thumbnail is enlarged. None if no plain white surrounds the product.
    """
    level = int(random.integers(LEAST_WHITE, WHITEST))
    if picture.shape[0] <= THUMBNAIL_HEIGHT:
        picture, level = cv2.resize(picture, None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC), level - HALO
    white = (picture.min(axis=2) >= level).astype(np.uint8)
    _, regions = cv2.connectedComponents(white, connectivity=4)
    border = np.concatenate([regions[0], regions[-1], regions[:, 0], regions[:, -1]])
    if (border > 0).mean() < WHITE_BORDER:
        return None
    outside = np.zeros(regions.max() + 1, dtype=bool)
    outside[np.unique(border[border > 0])] = True
    product = (~outside[regions]).astype(np.uint8) * 255
    if not PRODUCT_SHARE[0] <= product.mean() / 255 <= PRODUCT_SHARE[1]:
        return None
    product = cv2.erode(product, np.ones((3, 3), np.uint8))  # the outermost pixel is half white
    return picture, cv2.GaussianBlur(product, (3, 3), 0)


def corners_of(width: float, height: float) -> np.ndarray:
    """(4, 2) float32, clockwise from the upper left."""
    return np.array([[0, 0], [width, 0], [width, height], [0, height]], dtype=np.float32)


def rotated(points: np.ndarray, degrees: float) -> np.ndarray:
    """Points (4, 2) around their centre."""
    angle = np.deg2rad(degrees)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    centre = points.mean(axis=0)
    return ((points - centre) @ turn + centre).astype(np.float32)


def jittered(points: np.ndarray, amount: float, random: np.random.Generator) -> np.ndarray:
    """Each of the points (4, 2) moved by up to `amount` of their extent: a change of perspective."""
    extent = np.ptp(points, axis=0)
    return (points + random.uniform(-amount, amount, points.shape) * extent).astype(np.float32)


def framed(
    picture: np.ndarray, size: int, random: np.random.Generator, smallest: float, tilt: float, border: int
) -> np.ndarray:
    """A piece of the picture, `smallest` to all of its area, tilted by about `tilt` degrees, with sides up to `size`.

    The piece keeps its proportions but for a tenth. `border`: what lies beyond the picture's edge, as OpenCV calls it.
    """
    height, width = picture.shape[:2]
    share = np.sqrt(random.uniform(smallest, 1.0))
    aspect = np.exp(random.uniform(-0.1, 0.1))
    piece = corners_of(width * min(1, share * aspect), height * min(1, share / aspect))
    room = np.array([width, height]) - piece[2]
    source = jittered(rotated(piece + random.uniform(0, 1, 2) * room, random.normal(0, tilt / 2)), 0.02, random)
    scale = size / max(piece[2])
    inner_width, inner_height = (max(1, round(float(side * scale))) for side in piece[2])
    matrix = cv2.getPerspectiveTransform(source.astype(np.float32), corners_of(inner_width, inner_height))
    way = cv2.INTER_CUBIC if random.random() < 0.5 else cv2.INTER_LINEAR
    if scale < 0.7:
        picture, matrix = _halved(picture, matrix)
    return cv2.warpPerspective(
        picture, matrix, (inner_width, inner_height), flags=way, borderMode=border, borderValue=WHITE
    )


def _halved(picture: np.ndarray, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Half the size, against aliasing, and the transform that belongs to it."""
    height, width = picture.shape[:2]
    half = cv2.resize(picture, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
    return half, matrix @ np.diag([width / (width // 2), height / (height // 2), 1.0])


def on_white(view: np.ndarray, size: int) -> np.ndarray:
    """Centred on a white square, as `fashion_model.transforms.Letterbox` does."""
    height, width = view.shape[:2]
    canvas = np.full((size, size, 3), 255, dtype=np.uint8)
    top, left = (size - height) // 2, (size - width) // 2
    canvas[top : top + height, left : left + width] = view
    return canvas


class Grounds:
    """What products lie on: textures, corners of photographs, pieces of everyday pictures, plain colors."""

    def __init__(
        self, textures: Sequence[np.ndarray], photographs: Sequence[np.ndarray], everyday: Sequence[np.ndarray]
    ):
        self.textures, self.photographs, self.everyday = textures, photographs, everyday

    def draw(self, height: int, width: int, random: np.random.Generator) -> np.ndarray:
        """(height, width, 3)."""
        kinds = [k for k, found in enumerate((self.textures, self.photographs, self.everyday)) if len(found)]
        kind = random.choice([*kinds, *kinds, 3])
        if kind == 0:
            return self._texture(height, width, random)
        if kind == 3:
            return plain(height, width, random)
        pictures = self.photographs if kind == 1 else self.everyday
        picture = pictures[random.integers(len(pictures))]
        # The corner of a photograph of clothes hardly shows them.
        share = random.uniform(0.15, 0.3) if kind == 1 else random.uniform(0.3, 0.8)
        h, w = max(2, int(picture.shape[0] * share)), max(2, int(picture.shape[1] * share))
        if kind == 1:
            top, left = (random.integers(2) * (full - part) for full, part in zip(picture.shape, (h, w), strict=False))
        else:
            top, left = (random.integers(full - part + 1) for full, part in zip(picture.shape, (h, w), strict=False))
        piece = picture[top : top + h, left : left + w]
        return cv2.resize(piece, (width, height), interpolation=cv2.INTER_CUBIC)

    def _texture(self, height: int, width: int, random: np.random.Generator) -> np.ndarray:
        """A seamless texture, tiled, at a random scale and angle."""
        texture = np.asarray(self.textures[random.integers(len(self.textures))])
        side = random.uniform(0.4, 2.0) * max(height, width)
        source = rotated(corners_of(width, height) / side * texture.shape[0], random.uniform(0, 360))
        matrix = cv2.getPerspectiveTransform(jittered(source, 0.1, random), corners_of(width, height))
        return cv2.warpPerspective(texture, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)


def plain(height: int, width: int, random: np.random.Generator) -> np.ndarray:
    """One color, or four corners that pass into each other."""
    corners = random.integers(10, 246, (2, 2, 3)).astype(np.uint8)
    if random.random() < 0.5:
        corners[:] = corners[0, 0]
    return cv2.resize(corners, (width, height), interpolation=cv2.INTER_LINEAR)


def composite(
    picture: np.ndarray, alpha: np.ndarray, grounds: Grounds, size: int, random: np.random.Generator
) -> np.ndarray:
    """The product of a catalogue picture before another ground, anywhere and at any scale, sides up to `size`."""
    aspect = random.choice([3 / 4, 4 / 3, 1.0])
    width, height = (round(size * min(1, aspect)), round(size * min(1, 1 / aspect)))
    ground = grounds.draw(height, width, random)
    rows, columns = np.nonzero(alpha > 127)
    box = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], dtype=np.float32)
    source = corners_of(box[2] - box[0], box[3] - box[1]) + box[:2]
    angle = random.uniform(0, 360) if random.random() < 0.2 else random.normal(0, 12)
    extent = source[2] - source[0]
    scale = random.uniform(0.4, 1.15) * min(np.array([width, height]) / extent)
    target = jittered(rotated(corners_of(*(extent * scale)), angle), 0.08, random)
    room = np.array([width, height]) - np.ptp(target, axis=0)
    target += (random.uniform(0, 1, 2) * room - target.min(axis=0)).astype(np.float32)
    matrix = cv2.getPerspectiveTransform(source, target.astype(np.float32))
    # Levels of white around the product are not smeared into its edge: both are warped alike.
    product = cv2.warpPerspective(picture, matrix, (width, height), flags=cv2.INTER_LINEAR, borderValue=WHITE)
    mask = cv2.warpPerspective(alpha, matrix, (width, height), flags=cv2.INTER_LINEAR)
    view = ground.astype(np.float32)
    if random.random() < 0.7:
        view *= 1 - random.uniform(0.15, 0.6) * _shadow(mask, random)[..., None]
    share = mask[..., None].astype(np.float32) / 255
    gain = random.uniform(0.75, 1.1) if random.random() < 0.5 else 1.0
    view = view * (1 - share) + product.astype(np.float32) * gain * share
    return np.clip(view, 0, 255).astype(np.uint8)


def _shadow(mask: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """(H, W) float32 in [0, 1], a little aside of the product."""
    size = mask.shape[0]
    x, y = random.normal(0, 0.03, 2) * size
    moved = cv2.warpAffine(mask, np.float32([[1, 0, x], [0, 1, y]]), mask.shape[::-1])
    return cv2.GaussianBlur(moved, (0, 0), random.uniform(0.01, 0.05) * size).astype(np.float32) / 255


def relit(view: np.ndarray, random: np.random.Generator, strength: float = 1.0) -> np.ndarray:
    """Another lamp: brightness, gamma, the lamp's color, and light that falls off across the picture."""
    gains = np.exp(random.normal(0, 0.06 * strength, 3)) * random.uniform(1 - 0.35 * strength, 1 + 0.15 * strength)
    levels = np.arange(256, dtype=np.float32) / 255
    table = levels ** np.exp(random.normal(0, 0.15 * strength)) * 255
    lit = cv2.LUT(view, np.clip(table[:, None] * gains, 0, 255).astype(np.uint8)[None])
    if random.random() < 0.3 * strength:
        falloff = cv2.resize(random.uniform(0.5, 1.1, (2, 2)).astype(np.float32), view.shape[1::-1])
        lit = np.clip(lit * falloff[..., None], 0, 255).astype(np.uint8)
    return lit


def degraded(view: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """As uploads are: fewer pixels, out of focus or shaken, noisy, compressed."""
    height, width = view.shape[:2]
    if random.random() < 0.3:
        scale = random.uniform(0.3, 0.8)
        small = cv2.resize(view, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_AREA)
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
        view = compressed(view, int(random.integers(30, 95)))
    return view


def compressed(view: np.ndarray, quality: int) -> np.ndarray:
    """After one trip through JPEG."""
    _, data = cv2.imencode(".jpg", view[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.ascontiguousarray(cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1])


def resampled(picture: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """At its own size: resized to 70 to 130 % and compressed anew. The traces of the catalogue's compression follow
    the date of cataloguing and with it the season."""
    scale = random.uniform(0.7, 1.3)
    size = (max(8, round(picture.shape[1] * scale)), max(8, round(picture.shape[0] * scale)))
    way = random.choice([cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_AREA, cv2.INTER_LANCZOS4])
    return compressed(cv2.resize(picture, size, interpolation=int(way)), int(random.integers(30, 97)))
