"""What a run is trained and validated on."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from data_prep.photographs import EVERYDAY
from data_prep.splits import TRAIN, VALIDATION
from fashion_model.attributes import Attribute, LabelEncoders
from train.data import domains
from train.data.domains import PHONE, Domain, label_targets
from train.data.table import attributes_named, fit_encoders, read_table, rows_of_split, without_pictures_of
from train.data.training_set import TrainingSet, training_domains
from train.fit.config import FitConfig
from train.fit.distillation import load_soft_targets


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
    targets = label_targets(rows[TRAIN], attributes, encoders)
    if config.soft_targets:
        weight, soft = config.distillation_weight, load_soft_targets(config.soft_targets, rows[TRAIN]["id"], encoders)
        targets = {name: weight * soft[name] + (1 - weight) * t for name, t in targets.items()}
    trained_on = set(rows[TRAIN]["id"])
    if config.thumbnails_only:
        parts = [domains.thumbnails(config.data, rows[TRAIN], targets)]
    else:
        parts = training_domains(config.data, rows[TRAIN], targets, encoders, config.balanced, config.rows_limit)
    validation_rows = without_pictures_of(rows[VALIDATION], table, trained_on)
    validation = validation_domains(config.data, validation_rows, attributes, encoders, config.rows_limit)
    if config.thumbnails_only:
        validation = [domain for domain in validation if domain.name == domains.THUMBNAILS]
    columns = ["id", *(attribute.column for attribute in attributes)]
    fingerprint: dict[str, object] = {
        "rows": _digest("".join(part[columns].to_csv(index=False) for part in rows.values()).encode()),
        "domains": {part.name: part.digest() for part in parts},
        "validation": [part.name for part in validation],
    }
    if config.soft_targets:
        fingerprint["soft_targets"] = _digest(Path(config.soft_targets).read_bytes())
    training_set = TrainingSet(
        parts, config.data, config.image_size[0], config.repeat_threshold, plain=config.thumbnails_only
    )
    return FitData(attributes, encoders, training_set, validation, trained_on, fingerprint)


def validation_domains(
    data: Path, rows: pd.DataFrame, attributes: tuple[Attribute, ...], encoders: LabelEncoders, limit: int | None
) -> list[Domain]:
    """The domains by which the best epoch is chosen. `rows`: validation rows of the cleaned table."""
    found = [domains.thumbnails(data, rows, label_targets(rows, attributes, encoders))]
    photographed = domains.high_resolution_rows(data, rows)
    found.append(domains.high_resolution(data, photographed, label_targets(photographed, attributes, encoders)))
    if domains.available(data, PHONE):
        found.append(domains.phone(data, VALIDATION, encoders, limit))
    if domains.available(data, EVERYDAY, VALIDATION):
        found.append(domains.everyday(data, VALIDATION, encoders, limit))
    return [domain for domain in found if len(domain)]


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
