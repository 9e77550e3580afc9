"""Class activation maps as their papers define them, written out with autograd on the whole network."""

import numpy as np
import torch


def definition(method, activations, gradients):
    """Activations and gradients (B, C, h, w) → maps (B, h, w), as in the papers; Grad-CAM++ as in the package."""
    if method == "gradcam":
        return (gradients.mean(dim=(2, 3), keepdim=True) * activations).sum(dim=1)
    if method == "gradcam++":
        second, third = gradients**2, gradients**3
        alphas = second / (2 * second + activations.sum(dim=(2, 3), keepdim=True) * third + 1e-6)
        weights = (torch.where(gradients != 0, alphas, 0) * gradients.relu()).sum(dim=(2, 3), keepdim=True)
        return (weights * activations).sum(dim=1)
    return ((gradients.relu() if method == "layercam" else gradients) * activations).sum(dim=1)


def scaled(maps):
    """Each map (h, w) of (B, h, w) to [0, 1]."""
    low, high = maps.amin(dim=(1, 2), keepdim=True), maps.amax(dim=(1, 2), keepdim=True)
    return (maps - low) / (high - low + 1e-7)


def expected_maps(model, image, targets, method, layer):
    """Maps (targets, h, w) at one layer: the gradient of each logit with respect to the output of that stage."""
    stages, backbone = model.backbone.stages, model.backbone
    leaf = None

    def cut(module, inputs, output):
        nonlocal leaf
        leaf = output.detach().clone().requires_grad_(True)
        return leaf

    is_last = layer % len(stages) == len(stages) - 1
    as_map = (lambda x: x) if is_last else backbone.as_map
    if is_last:
        leaf = backbone(image).detach().requires_grad_(True)
        logits = model.heads(model.pool(leaf))
    else:
        handle = backbone.net.get_submodule(stages[layer]).register_forward_hook(cut)
        logits = model(image)
        handle.remove()
    maps = []
    for name, index in targets:
        (gradient,) = torch.autograd.grad(logits[name][0, index], leaf, retain_graph=True)
        found = scaled(definition(method, as_map(leaf.detach()), as_map(gradient)).relu())
        maps.append(scaled(found)[0].numpy())  # the package scales twice, which counts where a map is nearly even
    return np.stack(maps)
