"""How much a photograph looks like those the network knows: the score behind `Prediction.is_fashion`."""

from __future__ import annotations

import torch
from torch import nn

DIMENSIONS = 128  # of the subspace in which features of fashion products lie
CERTAINTY = 0.3  # weight of the energy beside the place of the features


class Familiarity(nn.Module):
    """Two signs that a photograph is of the known kind, in standard deviations from the mean of known photographs.

    1 - |what of the features lies outside the principal subspace of known ones| / |features|, after the residual of
    Ndiour et al. (2020, arXiv:2012.04250), and, less heavily, the energy: the log of the summed exponentials of the
    logits, added up over the attributes (Liu et al., NeurIPS 2020). Until `fit`, all scores are 0.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("basis", torch.zeros(DIMENSIONS, channels))
        self.register_buffer("center", torch.zeros(2))  # of the two signs
        self.register_buffer("scale", torch.zeros(2))  # one over their standard deviations

    def forward(self, pooled: torch.Tensor, logits: dict[str, torch.Tensor]) -> torch.Tensor:
        """Pooled features (B, C) and each attribute's logits (B, classes) → scores (B,), higher for the known."""
        place, energy = ((self.signs(pooled, logits) - self.center) * self.scale).unbind(dim=1)
        return (place + CERTAINTY * energy) / (1 + CERTAINTY)

    def signs(self, pooled: torch.Tensor, logits: dict[str, torch.Tensor]) -> torch.Tensor:
        """(B, 2): how much of the features lies in the subspace, and the energy."""
        pooled = pooled.float()
        centred = pooled - self.mean
        outside = (centred - centred @ self.basis.T @ self.basis).norm(dim=1)
        inside = 1 - outside / pooled.norm(dim=1).clamp(min=torch.finfo(torch.float32).tiny)
        energy = sum(x.float().logsumexp(dim=1) for x in logits.values())
        return torch.stack([inside.clamp(min=-1), energy], dim=1)

    @torch.no_grad()
    def fit(self, pooled: torch.Tensor, logits: dict[str, torch.Tensor]) -> None:
        """Learn what is known from photographs' features (N, C) and logits; N / 2 dimensions if they are few."""
        self.mean.copy_(pooled.mean(dim=0))
        _, _, directions = torch.linalg.svd(pooled - self.mean, full_matrices=False)
        used = min(DIMENSIONS, len(pooled) // 2)
        self.basis.zero_()[:used] = directions[:used]
        signs = self.signs(pooled, logits)
        self.center.copy_(signs.mean(dim=0))
        self.scale.copy_(1 / signs.std(dim=0).clamp(min=1e-4))  # what half precision can hold
