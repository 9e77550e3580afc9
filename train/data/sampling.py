"""Which images an epoch shows, and how often."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from train.data.domains import Domain

MAX_REPEAT = 3.0  # of an image with rare labels, against the others


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


def balance_classes(targets: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """Targets (N, classes), each row times a weight, so that the class shares are those of `reference` (M, classes).

    Without it, a class that is frequent in one domain is predicted from the look of the domain.
    """
    weights = torch.ones(targets.shape[1])
    for _ in range(100):  # iterative proportional fitting
        shares = (targets * (targets @ weights)[:, None]).mean(dim=0)
        weights *= reference.mean(dim=0) / shares.clamp(min=1e-9)
    return targets * (targets @ weights)[:, None]
