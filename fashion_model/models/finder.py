"""Finder: where the products in a photograph are, by FCOS (Tian et al., ICCV 2019) on the classifier's backbone.

The classifier knows what a crop shows, but its maps of stride 16 are not made for small things and edges: the finder
has its own weights for the stage that gives them.
"""

from __future__ import annotations

import copy
import math
from collections import OrderedDict
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from torch import nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.fcos import FCOS, FCOSHead
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import FeaturePyramidNetwork, box_area, box_iou
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from fashion_model.models.backbones import Backbone
from fashion_model.models.config import LEVELS, STRIDES, FinderConfig
from fashion_model.models.engine import WithoutGradients
from fashion_model.preprocessing import Preprocessing

MAX_PRODUCTS = 20  # of a photograph
POSSIBLE = 0.5  # part of the threshold from which on a box may be the only product of a photograph
MIN_SIDE = 12  # pixels of the photograph: smaller products are left out
# Intersection over union from which on the better of two boxes is kept: of the same group, and of any. And the part of
# the smaller of two boxes of one group or type that lies in the other: both show the same product.
SAME_GROUP, SAME_PRODUCT, PART = 0.4, 0.7, 0.2
OUTPUTS = ("cls_logits", "bbox_regression", "bbox_ctrness")  # of the heads, as torchvision names them


class Finder(FCOS):
    """One stage of its own, a feature pyramid and heads. The backbone is used as it is and not part of its weights.

    In training mode it is torchvision's FCOS: a list of normalised images (3, H, W) of one size and their targets →
    losses.
    """

    def __init__(self, backbone: Backbone, config: FinderConfig):
        super().__init__(
            Pyramid(backbone, config.channels),
            len(config.groups),
            image_mean=[0.0] * 3,  # images are normalised before
            image_std=[1.0] * 3,
            anchor_generator=AnchorGenerator(tuple((stride,) for stride in LEVELS), ((1.0,),) * len(LEVELS)),
            head=FCOSHead(config.channels, 1, len(config.groups), config.convolutions),
            score_thresh=config.threshold * POSSIBLE,
            nms_thresh=SAME_GROUP,
            size_divisible=LEVELS[-1],
            _skip_resize=True,
        )
        self.config = config
        self.points = Points(self.backbone, self.head)
        self.engine: Callable[[torch.Tensor], torch.Tensor] | None = None  # what `points` computes, but faster

    def preprocessing(self, classifier: Preprocessing, size: tuple[int, int]) -> Preprocessing:
        """The classifier's with an input size in the proportions of a photograph of `size` (width, height)."""
        scale, multiple = self.config.side / max(size), LEVELS[-1]
        width, height = (max(1, math.ceil(side * scale / multiple - 0.25)) * multiple for side in size)
        return Preprocessing((height, width), classifier.mean, classifier.std, classifier.interpolation)

    @torch.no_grad()
    def locate(self, photograph: Image.Image, classifier: Preprocessing) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Boxes (N, 4) in pixels of the photograph, which may have been decoded smaller than it is; scores, groups.

        The best product is the first one.
        """
        preprocessing = self.preprocessing(classifier, photograph.size)
        image = preprocessing(photograph).to(next(self.parameters()).device)
        height, width = image.shape[1:]  # multiples of the last stride
        maps = [image.new_empty(1, 0, height // stride, width // stride) for stride in LEVELS]
        counts = [each.shape[2] * each.shape[3] for each in maps]
        anchors = self.anchor_generator(ImageList(image[None], [(height, width)]), maps)[0]
        outputs = (self.engine or self.points)(image[None]).split([len(self.config.groups), 4, 1], dim=2)
        levels = {name: list(x.split(counts, dim=1)) for name, x in zip(OUTPUTS, outputs, strict=True)}
        found = self.postprocess_detections(levels, [list(anchors.split(counts))], [(height, width)])[0]
        best = distinct(found["boxes"], found["labels"])[:MAX_PRODUCTS]
        boxes, scores, groups = (found[key][best].cpu().numpy() for key in ("boxes", "scores", "labels"))
        return preprocessing.boxes_on_photograph(boxes, photograph.info["size"]), scores, groups


def distinct(boxes: torch.Tensor, groups: torch.Tensor) -> list[int]:
    """Indices of the boxes (N, 4) with these groups (N,), best first, that do not show the product of a better one."""
    areas, overlaps = box_area(boxes), box_iou(boxes, boxes)
    pairs = areas + areas[:, None]
    inside = overlaps / (1 + overlaps) * pairs / torch.minimum(areas, areas[:, None])
    same = (overlaps > SAME_PRODUCT) | (inside > PART) & (groups == groups[:, None])
    kept: list[int] = []
    for row in range(len(boxes)):
        if not same[row, kept].any():
            kept.append(row)
    return kept


class Pyramid(nn.Module):
    """Feature pyramid (Lin et al., CVPR 2017) on maps with the `STRIDES`, the last of the backbone's that have them.

    A last level, for products that fill the photograph, has every other point of the one before it.
    Those of the middle stride are of a copy of the backbone's stage, `own`, which is trained with the finder.
    """

    def __init__(self, backbone: Backbone, channels: int):
        super().__init__()
        side = 4 * STRIDES[-1]
        try:
            with torch.no_grad():
                device = next(backbone.parameters()).device
                outputs = backbone.outputs(torch.zeros(1, 3, side, side, device=device), range(len(backbone.stages)))
            shapes = [backbone.as_map(output).shape for output in outputs]
        except (AssertionError, RuntimeError, TypeError, ValueError) as error:  # from timm
            raise ValueError(f"a finder needs a backbone that takes images of any size: {error}") from error
        strides = {side // shape[2]: layer for layer, shape in enumerate(shapes) if shape[2] == shape[3]}
        if not all(stride in strides for stride in STRIDES):
            raise ValueError(f"a finder needs stages with strides {STRIDES}; the backbone's are {sorted(strides)}")
        first, middle, last = layers = [strides[stride] for stride in STRIDES]
        self.own = copy.deepcopy(backbone.between(first, middle)).requires_grad_()
        self.as_map = backbone.as_map
        # In a tuple, so that their weights are not the pyramid's.
        self._stages: tuple[nn.Module, ...] = (backbone.chain([first, last]),)
        self.fpn = FeaturePyramidNetwork([shapes[layer][1] for layer in layers], channels, LastLevelMaxPool())
        self.out_channels = channels

    def train(self, mode: bool = True) -> Pyramid:
        """The batch norms of its own stage keep their statistics."""
        super().train(mode)
        self.own.eval()
        return self

    def compute_stages_with_engine(self) -> None:
        """For a training, which leaves the backbone's as they are."""
        self._stages = (WithoutGradients(self._stages[0]),)

    def forward(self, images: torch.Tensor) -> OrderedDict[str, torch.Tensor]:
        """(B, 3, H, W) → level → (B, channels, H / stride, W / stride)."""
        first, last = self._stages[0](images)
        if isinstance(self._stages[0], WithoutGradients):  # whose engine has another order in memory
            first, last = (x.contiguous(memory_format=torch.channels_last) for x in (first, last))
        maps = map(self.as_map, (first, self.own(first), last))
        return self.fpn(OrderedDict(zip(map(str, STRIDES), maps, strict=True)))


class Points(nn.Module):
    """Images (B, 3, H, W) → what the heads say of the n points of all levels: (B, n, groups + 5).

    The logit of each group, the distances of the point to the box's four sides, and centerness.
    """

    def __init__(self, pyramid: Pyramid, head: FCOSHead):
        super().__init__()
        self.parts = (pyramid, head)  # in a tuple, so that their weights are not in the finder's a second time

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        pyramid, head = self.parts
        outputs = head(list(pyramid(images).values()))
        return torch.cat([outputs[name] for name in OUTPUTS], dim=2)
