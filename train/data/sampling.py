"""Which images an epoch shows, and how often."""

from __future__ import annotations

import math

import torch


def repeat_factors(targets: torch.Tensor, threshold: float) -> torch.Tensor:
    """Repeat factor sampling (LVIS, Gupta et al., CVPR 2019): how often to show each image, (N,) at least 1.

    targets (N, attributes) class indices. The factor is the square root of `threshold` over the share of the image's
    rarest label.
    """
    factors = torch.ones(len(targets))
    for column in targets.T:
        _, position, counts = column.unique(return_inverse=True, return_counts=True)
        factors = torch.maximum(factors, (threshold * len(targets) / counts[position]).sqrt())
    return factors


def draw_epoch(factors: torch.Tensor, generator: torch.Generator) -> list[int]:
    """Image indices in random order, each as often as its factor, rounded at random (systematic sampling)."""
    ends = factors.double().cumsum(0)
    size = math.ceil(ends[-1].item())
    points = (torch.arange(size) + torch.rand((), generator=generator)) * (ends[-1] / size)
    rows = torch.searchsorted(ends, points, right=True).clamp(max=len(factors) - 1)
    return rows[torch.randperm(size, generator=generator)].tolist()


def balance_classes(targets: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """Targets (N, classes), each row times a weight, so that the class shares are those of `reference` (M, classes).

    Without it, a class that is frequent in one domain is predicted from the look of the domain.
    """
    weights = torch.ones(targets.shape[1])
    for _ in range(100):  # iterative proportional fitting
        shares = (targets * (targets @ weights)[:, None]).mean(dim=0)
        weights *= reference.mean(dim=0) / shares.clamp(min=1e-9)
    return targets * (targets @ weights)[:, None]
