"""What a run is trained and validated on."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from data_prep.splits import TRAIN, VALIDATION
from fashion_model.attributes import Attribute, LabelEncoders
from train.data.domains import DOMAINS, PEOPLE, STREETS, THUMBNAILS, Domain, Split, load_domains
from train.data.table import attributes_named, fit_encoders, read_table, rows_of_split, without_pictures_of
from train.data.training_set import TrainingSet, training_domains
from train.fit.config import FitConfig

VALIDATED = 600  # images of each domain, at most


@dataclass(frozen=True)
class FitData:
    attributes: tuple[Attribute, ...]
    encoders: LabelEncoders
    training_set: TrainingSet
    validation: list[Domain]
    trained_on: set[int]  # product ids
    fingerprint: dict[str, object]  # of rows, images and targets: two runs with the same train on the same


def read_data(config: FitConfig) -> FitData:
    """DataError if something is missing."""
    table = read_table(config.data)
    attributes = attributes_named(config.attributes)
    rows = {split: rows_of_split(table, split)[: config.rows_limit] for split in (TRAIN, VALIDATION)}
    encoders = fit_encoders(rows[TRAIN], attributes)
    names = [name for name, share in config.shares.items() if share]
    splits = {
        name: Split(config.data, name, of_split, attributes, encoders, config.rows_limit)
        for name, of_split in rows.items()
    }
    parts = training_domains(splits[TRAIN], names)
    trained_on = set(rows[TRAIN]["id"])
    measured = without_pictures_of(rows[VALIDATION], table, trained_on)
    validation = validation_domains(
        Split(config.data, VALIDATION, measured, attributes, encoders, config.rows_limit), names
    )
    columns = ["id", *(attribute.column for attribute in attributes)]
    fingerprint: dict[str, object] = {
        "rows": _digest("".join(part[columns].to_csv(index=False) for part in rows.values()).encode()),
        "domains": {part.name: part.digest() for part in parts},
    }
    training_set = TrainingSet(
        parts,
        config.data,
        config.image_size[0],
        config.shares,
        config.repeat_threshold,
        config.accessory_share,
        config.augmentation,
    )
    return FitData(attributes, encoders, training_set, validation, trained_on, fingerprint)


def validation_domains(split: Split, names: list[str]) -> list[Domain]:
    """What each epoch is measured on: the domains trained on, and, if there are several, those never trained on."""
    if names != [THUMBNAILS]:
        names = [*names, *(kind.name for kind in DOMAINS if not kind.share)]
    domains = load_domains(split, [name for name in names if name not in (PEOPLE, STREETS)])
    return [d.subset(np.unique(np.linspace(0, len(d) - 1, VALIDATED).round().astype(int))) for d in domains]


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
