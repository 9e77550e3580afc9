"""The network's outputs for every domain of a split, saved in the checkpoint directory for all that read them.

`python -m train evaluate` writes predictions/SPLIT.safetensors; calibration and report read it. It belongs to the
weights, what they were trained on, the input size and the data, not to temperatures and thresholds, which change
nothing in it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save

from data_prep import TABLE
from fashion_model.attributes import LabelEncoders
from fashion_model.checkpoint import CONFIG, ENCODERS, FINDER, CheckpointError, deciding_files, digest, load_checkpoint
from fashion_model.models.config import ModelConfig
from fashion_model.models.multitask import calibrated
from fashion_model.system import read_json, write_bytes
from train.data import table as tables
from train.data.domains import Split
from train.evaluate.inference import evaluation_domains, outputs_of

# Keys of config.json that predictions do not depend on.
OTHERS = ("temperatures", "temperature_slope", "fashion_threshold", "finder")


@dataclass(frozen=True)
class DomainPredictions:
    """Outputs for the N images of a domain, and what is known of each image."""

    names: np.ndarray  # (N,) file names
    groups: np.ndarray  # (N,) images of one group are not independent
    is_fashion: bool
    accepted: Mapping[str, np.ndarray]  # attribute name → (N, classes) bool: the labels that are right
    logits: Mapping[str, torch.Tensor]  # attribute name → (N, classes) float32
    fashion_scores: np.ndarray  # (N,) log odds
    gates: Mapping[str, np.ndarray]  # of MoE heads: attribute name → (N, experts)
    accessories: np.ndarray | None = None  # (N,) bool

    def __len__(self) -> int:
        return len(self.names)

    def probabilities(self, config: ModelConfig) -> dict[str, np.ndarray]:
        """Attribute name → (N, classes), calibrated."""
        scores, slope = torch.from_numpy(self.fashion_scores), config.temperature_slope
        return {
            name: calibrated(x, scores, config.temperatures[name], slope).numpy() for name, x in self.logits.items()
        }

    @property
    def predicted(self) -> dict[str, np.ndarray]:
        """Attribute name → (N,) class indices."""
        return {name: x.argmax(dim=1).numpy() for name, x in self.logits.items()}

    def __getitem__(self, rows: np.ndarray) -> DomainPredictions:
        """The images at the indices, or where a bool mask is True."""
        accepted, logits, gates = (
            {name: x[rows] for name, x in each.items()} for each in (self.accepted, self.logits, self.gates)
        )
        described = self.names[rows], self.groups[rows], self.is_fashion
        accessories = None if self.accessories is None else self.accessories[rows]
        return DomainPredictions(*described, accepted, logits, self.fashion_scores[rows], gates, accessories)


@dataclass(frozen=True)
class SplitPredictions:
    checkpoint: Path
    split: str
    config: ModelConfig
    encoders: LabelEncoders
    domains: Mapping[str, DomainPredictions]
    rows_left_out: int  # of the split, whose pictures the checkpoint was trained on
    trained_on_known: bool  # whether the checkpoint says what it was trained on


def saved_predictions(
    checkpoint: Path, data: Path, split: str, device: str = "cpu", workers: int = 1
) -> SplitPredictions:
    """The predictions that were saved for these weights, or else the result of `predict_split`."""
    try:
        with safe_open(_file(checkpoint, split), "pt") as file:
            current = file.metadata()["digest"] == predictions_digest(checkpoint, data, split)
    except (OSError, SafetensorError):
        current = False
    return read_predictions(checkpoint, split) if current else predict_split(checkpoint, data, split, device, workers)


def predict_split(checkpoint: Path, data: Path, split: str, device: str = "cpu", workers: int = 1) -> SplitPredictions:
    """Run the network over all domains and save the outputs. DataError or CheckpointError if that is impossible."""
    if not checkpoint.is_dir():
        raise CheckpointError(f"{checkpoint} is not a directory")
    loaded = load_checkpoint(checkpoint)
    table = tables.read_table(data)
    all_rows = tables.rows_of_split(table, split)
    known = (checkpoint / tables.TRAINED_ON).is_file()
    rows = tables.without_pictures_of(all_rows, table, tables.read_trained_on(checkpoint) if known else set())
    if rows.empty:
        raise tables.DataError(f"the checkpoint was trained on every picture of split {split!r}")
    model = loaded.model.to(device, memory_format=torch.channels_last)
    tensors: dict[str, torch.Tensor] = {}
    described = {}
    for domain in evaluation_domains(Split(data, split, rows, loaded.config.attributes, loaded.encoders)):
        outputs = outputs_of(model, domain, workers)
        for kind, values in (("logits", outputs.logits), ("targets", domain.targets), ("gates", outputs.gates)):
            tensors |= {f"{domain.name}/{kind}/{name}": x for name, x in values.items()}
        tensors[f"{domain.name}/fashion"] = outputs.fashion_scores
        described[domain.name] = {
            "names": [path.name for path in domain.paths],
            "groups": [str(group) for group in domain.groups],
            "is_fashion": domain.is_fashion,
            "accessories": None if domain.accessories is None else domain.accessories.tolist(),
        }
    metadata = {
        "digest": predictions_digest(checkpoint, data, split),
        "domains": json.dumps(described),
        "facts": json.dumps({"rows_left_out": len(all_rows) - len(rows), "trained_on_known": known}),
    }
    path = _file(checkpoint, split)
    path.parent.mkdir(exist_ok=True)
    contiguous = {key: x.clone(memory_format=torch.contiguous_format) for key, x in tensors.items()}
    write_bytes(path, save(contiguous, metadata))
    return read_predictions(checkpoint, split)


def _file(checkpoint: Path, split: str) -> Path:
    return checkpoint / "predictions" / f"{split}.safetensors"


def read_predictions(checkpoint: Path, split: str) -> SplitPredictions:
    config = ModelConfig.from_dict(read_json(checkpoint / CONFIG))
    encoders = LabelEncoders.load(checkpoint / ENCODERS, config.attributes)
    path, domains = _file(checkpoint, split), {}
    tensors = load_file(path)
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    for domain, facts in json.loads(metadata["domains"]).items():
        logits, targets, gates = (
            {a.name: tensors[key] for a in config.attributes if (key := f"{domain}/{kind}/{a.name}") in tensors}
            for kind in ("logits", "targets", "gates")
        )
        domains[domain] = DomainPredictions(
            np.array(facts["names"]),
            np.array(facts["groups"]),
            facts["is_fashion"],
            {name: x.numpy() > 0 for name, x in targets.items()},
            logits,
            tensors[f"{domain}/fashion"].numpy(),
            {name: x.numpy() for name, x in gates.items()},
            None if facts["accessories"] is None else np.array(facts["accessories"]),
        )
    return SplitPredictions(checkpoint, split, config, encoders, domains, **json.loads(metadata["facts"]))


def predictions_digest(checkpoint: Path, data: Path, split: str) -> str:
    """SHA-256 of what decides the outputs: weights, labels and configuration without `OTHERS`, split, tables, and the
    names and sizes of the images, and what was trained on, whose pictures are left out."""
    config = {key: value for key, value in read_json(checkpoint / CONFIG).items() if key not in OTHERS}
    files = checkpoint_digests(checkpoint) | {CONFIG: config}
    files.pop(FINDER, None)
    content = hashlib.sha256(json.dumps([split, files], sort_keys=True).encode())
    for path in (data / TABLE, *sorted(data.glob("*/*.csv")), *checkpoint.glob(tables.TRAINED_ON)):
        content.update(path.read_bytes())
    for path in sorted(data.rglob("*.jpg")):
        content.update(f"{path.relative_to(data)} {path.stat().st_size}\n".encode())
    return content.hexdigest()


def checkpoint_digests(checkpoint: Path) -> dict[str, str]:
    """File → SHA-256 of what decides the predictions, see `deciding_files`."""
    return {path.name: digest(path) for path in deciding_files(checkpoint)}
