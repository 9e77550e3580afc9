"""What a run starts with: data, network, and the teacher that it is compared with."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from data_prep.photographs import HIGH_RESOLUTION
from data_prep.splits import TRAIN, VALIDATION
from fashion_model.attributes import Attribute, LabelEncoders
from fashion_model.checkpoint import CheckpointError, digest, load_checkpoint, weight_files
from fashion_model.models.backbones import Backbone, WeightsError, file_state, imagenet_state, load_state
from fashion_model.models.config import ModelConfig
from fashion_model.models.engine import WithoutGradients, fold_batch_norms
from fashion_model.models.multitask import MultiTaskClassifier
from train.data import table as tables
from train.data.domains import DOMAINS, PEOPLE, STREETS, THUMBNAILS, Domain, Split, load_domains
from train.data.training_set import TrainingSet
from train.fit.config import IMAGENET, NO_WEIGHTS, FitConfig

VALIDATED = 600  # images of each domain, at most
DISTILLATION_TEMPERATURE = 2.0  # of the softened ImageNet predictions (Hinton et al. 2015, arXiv:1503.02531)
IMAGENET_CLASSES = 1000
BALANCED = "season"  # the attribute whose classes get the thumbnails' frequencies in high-resolution photographs


@dataclass(frozen=True)
class FitData:
    attributes: tuple[Attribute, ...]
    encoders: LabelEncoders
    training_set: TrainingSet
    validation: list[Domain]
    trained_on: set[str]  # product ids
    fingerprint: dict[str, object]  # two runs with the same train on the same, see `Domain.digest`


def read_data(config: FitConfig) -> FitData:
    """DataError if something is missing."""
    table, limit = tables.read_table(config.data), 256 if config.smoke else None
    attributes = tables.attributes_named(config.attributes)
    rows = {name: tables.rows_of_split(table, name)[:limit] for name in (TRAIN, VALIDATION)}
    encoders = tables.fit_encoders(rows[TRAIN], attributes)
    names = [name for name, share in config.shares.items() if share]
    trained_on = set(rows[TRAIN]["id"])
    measured = tables.without_pictures_of(rows[VALIDATION], table, trained_on)
    train, validation = (
        Split(config.data, name, part, attributes, encoders, limit)
        for name, part in ((TRAIN, rows[TRAIN]), (VALIDATION, measured))
    )
    domains = training_domains(train, names)
    columns = ["id", *(attribute.column for attribute in attributes)]
    content = "".join(part[columns].to_csv(index=False) for part in rows.values())
    sampling = config.repeat_threshold, config.accessory_share, config.augmentation
    training_set = TrainingSet(domains, config.data, config.image_size[0], config.shares, *sampling)
    fingerprint: dict[str, object] = {
        "rows": hashlib.sha256(content.encode()).hexdigest()[:16],
        "domains": {domain.name: domain.digest() for domain in domains},
        "backgrounds_and_masks": training_set.others.digest(),
    }
    return FitData(attributes, encoders, training_set, validation_domains(validation, names), trained_on, fingerprint)


def training_domains(split: Split, names: Sequence[str]) -> list[Domain]:
    """Those of `names` that the data folder has; seasons of high-resolution photographs are weighted."""
    domains = load_domains(split, names)
    by_name = {domain.name: domain for domain in domains}
    sharp, thumbnails = by_name.get(HIGH_RESOLUTION), by_name.get(THUMBNAILS)
    if sharp and thumbnails and BALANCED in sharp.targets:
        sharp.targets[BALANCED] = balance_classes(sharp.targets[BALANCED], thumbnails.targets[BALANCED])
    return domains


def balance_classes(targets: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """Targets (N, classes), each row times a weight, so that the class shares are those of `reference` (M, classes).

    Without it, a class that is frequent in one domain is predicted from the look of the domain.
    """
    weights = torch.ones(targets.shape[1])
    for _ in range(100):  # iterative proportional fitting
        shares = (targets * (targets @ weights)[:, None]).mean(dim=0)
        weights *= reference.mean(dim=0) / shares.clamp(min=1e-9)
    return targets * (targets @ weights)[:, None]


def validation_domains(split: Split, names: list[str]) -> list[Domain]:
    """What each epoch is measured on: the domains trained on, and, if there are several, those never trained on."""
    if names != [THUMBNAILS]:
        names = [*names, *(kind.name for kind in DOMAINS if not kind.share)]
    domains = load_domains(split, [name for name in names if name not in (PEOPLE, STREETS)])
    return [d.subset(np.unique(np.linspace(0, len(d) - 1, VALIDATED).round().astype(int))) for d in domains]


@torch.no_grad()
def check_input_size(model: MultiTaskClassifier, size: tuple[int, int]) -> None:
    """DataError if the network, which may be built for one size, cannot take images of this height and width."""
    try:
        model.eval().features(torch.zeros(1, 3, *size))
    except (AssertionError, RuntimeError, TypeError, ValueError) as error:  # from timm
        raise tables.DataError(f"{model.config.backbone} cannot take images of {size}: {error}") from error
    model.train()


def build_model(config: FitConfig, data: FitData) -> tuple[MultiTaskClassifier, set[str], list[str]]:
    """The network with `config.weights`, the products that these were trained on, and the digests of their files.

    WeightsError or CheckpointError if they do not fit.
    """
    encoders = data.encoders
    settings = {key: getattr(config, key) for key in ("image_size", "dropout", "heads", "experts")}
    model_config = ModelConfig.for_backbone(config.backbone, data.attributes, encoders.num_classes, **settings)
    model = MultiTaskClassifier(model_config)
    if config.small_image_size:
        check_input_size(model, config.small_image_size)
    trained_on, digests, weights = set(), [], Path(config.weights)
    if config.weights == IMAGENET:
        load_state(model.backbone, imagenet_state(config.backbone, config.image_size), "ImageNet weights")
    elif config.weights != NO_WEIGHTS and weights.is_dir():
        checkpoint = load_checkpoint(weights)
        if checkpoint.encoders.labels != encoders.labels:
            raise CheckpointError(f"{weights} has other attributes or labels than this run")
        theirs, ours = (
            f"backbone {c.backbone}, {c.heads} heads, {c.experts} experts" for c in (checkpoint.config, model_config)
        )
        if theirs != ours:
            raise CheckpointError(f"{checkpoint.name} has {theirs}; this run has {ours}")
        try:
            model.load_state_dict(checkpoint.model.state_dict())
        except RuntimeError as error:
            raise CheckpointError(f"{checkpoint.name} was trained for another input size: {error}") from error
        trained_on, digests = tables.read_trained_on(weights), [digest(path) for path in weight_files(weights)]
    elif config.weights != NO_WEIGHTS:
        load_state(model.backbone, file_state(weights), config.weights)
        digests = [digest(weights)]
    try:
        frozen = model.backbone.first_stages(config.frozen_stages)
    except ValueError as error:
        raise WeightsError(f"frozen_stages: {error}") from error
    for module in frozen:
        module.requires_grad_(False)
    return model, trained_on, digests


class ImageNetTeacher(nn.Module):
    """Learning without forgetting (Li and Hoiem, ECCV 2016): the loss between the 1000-class predictions of the trained
    backbone, through ImageNet's classifier, and those of the ImageNet network.

    The training images hardly show real bags, caps and scarves, which the ImageNet network knows.
    """

    def __init__(self, name: str, image_size: tuple[int, int]):
        """WeightsError if there are no ImageNet weights, or their classifier is not one layer on pooled features."""
        super().__init__()
        state = imagenet_state(name, image_size)
        backbone = Backbone(name, image_size)
        load_state(backbone, state, "ImageNet weights")
        example = torch.rand(1, 3, *image_size, generator=torch.Generator().manual_seed(0))
        self.backbone = WithoutGradients(fold_batch_norms(backbone.eval(), example))
        shape = (IMAGENET_CLASSES, backbone.channels)
        layers = [key.removesuffix(".weight") for key, t in state.items() if t.squeeze().shape == shape]
        if len(layers) != 1:
            raise WeightsError(f"the ImageNet classifier of {name} is not one layer on pooled features")
        self.classifier = nn.Linear(backbone.channels, IMAGENET_CLASSES)
        self.classifier.load_state_dict({k: state[f"{layers[0]}.{k}"] for k in ("weight", "bias")})
        self.eval().requires_grad_(False)

    def forward(self, images: torch.Tensor, pooled: torch.Tensor) -> torch.Tensor:
        """Images (B, 3, H, W), pooled features (B, C) of the trained backbone → mean loss."""
        with torch.no_grad():
            logits = self.classifier(self.backbone(images).mean(dim=(2, 3)))
            target = (logits / DISTILLATION_TEMPERATURE).softmax(dim=1)
        student = (self.classifier(pooled) / DISTILLATION_TEMPERATURE).log_softmax(dim=1)
        return nn.functional.kl_div(student, target, reduction="batchmean") * DISTILLATION_TEMPERATURE**2
