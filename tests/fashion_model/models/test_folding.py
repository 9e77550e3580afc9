import pytest
import torch
from torch import nn

from fashion_model.models.backbones import Backbone
from fashion_model.models.engine import fold_batch_norms


def test_a_network_without_batch_norms_gives_the_same_and_the_original_stays():
    network = Backbone("test_vit", (64, 64)).eval()
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(fold_batch_norms(network, image)(image), network(image))
    assert all(torch.equal(before[key], tensor) for key, tensor in network.state_dict().items())


def test_a_network_in_training_is_not_folded():
    with pytest.raises(ValueError, match="evaluation mode only"):
        fold_batch_norms(Backbone("test_efficientnet", (64, 64)).train(), torch.randn(1, 3, 64, 64))


class Unusual(nn.Module):
    """Registers a batch norm after the convolution but calls it before."""

    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(3, 3, 3)
        self.norm = nn.BatchNorm2d(3)
        nn.init.normal_(self.norm.bias)

    def forward(self, images):
        return self.convolution(self.norm(images).relu())


def test_where_folding_would_change_the_output_nothing_is_folded():
    torch.manual_seed(0)
    network = Unusual().eval()
    assert fold_batch_norms(network, torch.randn(1, 3, 8, 8)) is network
