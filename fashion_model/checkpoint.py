"""The checkpoint directory: what training writes, the Hub stores and the app reads.

Only safetensors and JSON are read, and nothing else is downloaded from the Hub. A local directory may have a report as
well; the app shows it in a sandbox.
"""

import dataclasses
import errno
import hashlib
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from huggingface_hub import save_torch_state_dict
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import nn

from fashion_model.attributes import LabelEncoders, LabelWords
from fashion_model.hub import HubError, fetch
from fashion_model.models.config import ModelConfig
from fashion_model.models.engine import building
from fashion_model.models.finder import Finder
from fashion_model.models.multitask import MultiTaskClassifier
from fashion_model.system import read_json, write_bytes, write_json

CONFIG, ENCODERS, METRICS = "config.json", "label_encoders.json", "metrics.json"
LABEL_WORDS = "label_words.json"  # a checkpoint may have none
TRAINING = "training.json"  # settings, data, history and hours of the training
TRAINED_ON = "trained_on.txt"  # one product id a line
CARD = "README.md"
WEIGHTS, WEIGHTS_INDEX = "model.safetensors", "model.safetensors.index.json"
SHARDS = "model-?????-of-?????.safetensors"
FINDER = "finder.safetensors"
REPORT, CLASSES = "report/report.html", "report/classes.json"  # written by `train report`
WEIGHT_FILES = (WEIGHTS, WEIGHTS_INDEX, SHARDS)  # one file, or the Hub's shards with their index
NEEDED_FILES = (CONFIG, ENCODERS, *WEIGHT_FILES)
LOADED_FILES = (*NEEDED_FILES, LABEL_WORDS, METRICS, CLASSES, FINDER)  # those that are downloaded from the Hub
TABLES = tuple(f"report/{table}_*.csv" for table in ("classes", "confusions", "label_errors"))
FIGURES = "figures/reliability_*.png"
# All that belongs to a checkpoint, and nothing that a user may have added.
CHECKPOINT_FILES = (*LOADED_FILES, TRAINING, TRAINED_ON, CARD, FIGURES, REPORT, "report/slices.csv", *TABLES)
UNFINISHED = "checkpoint.unfinished"  # folder of files that are not complete
DIGESTS = "digests"  # key of metrics.json: file → SHA-256 of configuration, encoders and weights
MAX_SHARD_SIZE = "9MB"  # a Space rejects files over 10 MB outside of Git LFS
Network = TypeVar("Network", bound=nn.Module)
DEFAULT_CHECKPOINT = Path(__file__).parent / "default_checkpoint"


class CheckpointError(ValueError):
    """A checkpoint cannot be found or used; the message names the checkpoint, the file and the reason."""


class HubCheckpointError(CheckpointError):
    """A checkpoint on the Hub cannot be loaded."""


@dataclass(frozen=True)
class Checkpoint:
    model: MultiTaskClassifier  # in evaluation mode, float32
    encoders: LabelEncoders
    name: str  # to display: `embedded default`, `user/repo@revision` or the directory's name
    directory: Path | None = None  # with metrics and a report, all of it untrusted, if it was read from there
    finder: Finder | None = None  # on the model's backbone

    @property
    def config(self) -> ModelConfig:
        return self.model.config


def weight_files(directory: Path) -> list[Path]:
    """The files that `read_checkpoint` reads the weights from: the shards if there is an index, else the one file."""
    has_shards = (directory / WEIGHTS_INDEX).is_file()
    return sorted(directory.glob(SHARDS)) if has_shards else [directory / WEIGHTS]


def deciding_files(directory: Path) -> list[Path]:
    """What decides the predictions: configuration, labels, weights, and the finder if there is one."""
    return [directory / CONFIG, directory / ENCODERS, *weight_files(directory), *directory.glob(FINDER)]


def save_checkpoint(
    directory: Path,
    model: MultiTaskClassifier,
    encoders: LabelEncoders,
    dtype: torch.dtype | None = None,
    max_shard_size: str = "5GB",
) -> None:
    """Write weights, configuration and encoders, and delete finder, metrics and report of the weights before them.

    `dtype` casts the floating-point weights, e.g. to half precision. CheckpointError, and nothing is written, if a
    weight is not a finite number, as after a training that diverged.
    """
    problem = f"{directory}: the weights hold values that are not numbers, so they are not saved"
    state = _finite_state(model, dtype, problem)
    new = directory / UNFINISHED
    shutil.rmtree(new, ignore_errors=True)  # of a run that was killed
    new.mkdir(parents=True)
    try:
        save_torch_state_dict(state, new, max_shard_size=max_shard_size)
    except SafetensorError as error:  # hides the OSError
        full = f"os error {errno.ENOSPC}" in str(error)
        raise OSError(errno.ENOSPC if full else errno.EIO, str(error), str(directory / WEIGHTS)) from error
    for file in new.glob("model*.safetensors"):
        file.chmod(0o644)  # safetensors makes them readable for the owner only
    write_json(new / CONFIG, dataclasses.replace(model.config, finder=None).to_dict())
    encoders.save(new / ENCODERS, model.config.attributes)
    encoders.words.save(new / LABEL_WORDS)
    before = {path for pattern in (*WEIGHT_FILES, FINDER) for path in directory.glob(pattern)}
    written = [file.replace(directory / file.name) for file in list(new.iterdir())]
    for file in before.difference(written):
        file.unlink(missing_ok=True)
    delete_measurements(directory)  # the last: until then the digests show that files are mixed
    new.rmdir()


def delete_measurements(directory: Path) -> None:
    """Delete the metrics and the report of a checkpoint that is changed."""
    for file in (REPORT, CLASSES, METRICS):
        (directory / file).unlink(missing_ok=True)


def _finite_state(network: nn.Module, dtype: torch.dtype | None, problem: str) -> dict[str, torch.Tensor]:
    """The tensors, those of floating point as `dtype`. CheckpointError with the `problem` if one is not finite."""
    state = {key: t.to(dtype) if dtype and t.is_floating_point() else t for key, t in network.state_dict().items()}
    if not all(tensor.isfinite().all() for tensor in state.values()):
        raise CheckpointError(problem)
    return {key: tensor.contiguous() for key, tensor in state.items()}


def save_finder(directory: Path, finder: Finder) -> None:
    """Add the finder, in half precision, to a checkpoint directory, and delete metrics and report.

    CheckpointError, and nothing is written, if a weight is not a finite number.
    """
    problem = f"{directory}: the finder holds values that are not numbers, so it is not saved"
    state = _finite_state(finder, torch.float16, problem)
    config = read_json(directory / CONFIG)
    delete_measurements(directory)
    write_bytes(directory / FINDER, save(state))
    write_json(directory / CONFIG, config | {"finder": dataclasses.asdict(finder.config)})


def load_checkpoint(
    source: str | os.PathLike[str] | None = None,
    *,
    revision: str | None = None,
    refresh: bool = False,
    **options: Any,
) -> Checkpoint:
    """The checkpoint at `source`: None for the embedded default, a directory, or a Hub repository.

    A repository is `user/repo` or `user/repo@revision`; `options` are `token`, `cache_dir` and `timeout` of
    `hub.fetch`. Loading is strict: CheckpointError for a missing, damaged or unexpected file, tensor or class count;
    where that comes from the Hub, HubCheckpointError.
    """
    if source is None:
        return read_checkpoint(DEFAULT_CHECKPOINT, "embedded default")
    if Path(source).is_dir():
        return read_checkpoint(Path(source), Path(source).resolve().name)
    options |= {"patterns": LOADED_FILES, "needed": NEEDED_FILES}
    repository, _, named_revision = str(source).partition("@")
    revision = revision or named_revision or None
    try:
        directory = fetch(repository, revision, refresh=refresh, **options)
        try:
            return read_checkpoint(directory, f"{repository}@{revision or directory.name}")
        except CheckpointError:
            with suppress(HubError):  # what was cached may have been damaged since
                directory = fetch(repository, revision, refresh=True, **options)
            return read_checkpoint(directory, f"{repository}@{revision or directory.name}")
    except (HubError, CheckpointError) as error:
        named = f"{repository}@{revision or 'main'}"
        raise HubCheckpointError(f"{named} cannot be loaded from the Hub: {error}") from error
    except ValueError as error:
        raise CheckpointError(f"{source} is neither a directory nor the name of a Hub repository") from error


def check_finder(name: str, finder: Finder | None) -> None:
    """CheckpointError if the checkpoint of this name has no finder."""
    if not finder:
        raise CheckpointError(f"{name} has no finder: it predicts for whole photographs only")


@building()
def read_checkpoint(directory: Path, name: str) -> Checkpoint:
    """Read a checkpoint directory; every source ends here."""
    config = _read(directory, CONFIG, name, lambda path: ModelConfig.from_dict(read_json(path)))
    encoders = _read(directory, ENCODERS, name, lambda path: LabelEncoders.load(path, config.attributes))
    if encoders.num_classes != dict(config.num_classes):
        raise CheckpointError(f"{name}: {ENCODERS} has {encoders.num_classes} classes, {CONFIG} {config.num_classes}")
    if (directory / LABEL_WORDS).is_file():
        words = _read(directory, LABEL_WORDS, name, LabelWords.load)
        encoders = dataclasses.replace(encoders, words=words)
    state: dict[str, torch.Tensor] = {}
    for file in weight_files(directory):
        tensors = _read(directory, file.name, name, load_file)
        if repeated := sorted(state.keys() & tensors):  # of an earlier checkpoint with another number of shards
            raise CheckpointError(f"{name}: {file.name} repeats tensors of another file, such as {repeated[0]}")
        state |= tensors
    model = _network(lambda: MultiTaskClassifier(config), state, WEIGHTS, name)
    finder = None
    if of_finder := config.finder:
        state = _read(directory, FINDER, name, load_file)
        finder = _network(lambda: Finder(model.backbone, of_finder), state, FINDER, name)
    _check_digests(directory, name)
    return Checkpoint(model, encoders, name, directory, finder)


def _network(build: Callable[[], Network], state: dict[str, torch.Tensor], file: str, name: str) -> Network:
    """The network in evaluation mode with the tensors of `file`. CheckpointError unless it has exactly these."""
    try:
        network = build()
    except ValueError as error:
        raise CheckpointError(f"{name}: {CONFIG} {error}") from error
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        _, first, *others = str(error).splitlines()  # a heading, then a line for each kind of difference
        more = f" and {len(others)} more" if others else ""
        raise CheckpointError(f"{name}: {file} does not fit {CONFIG}: {first.strip()[:300]}{more}") from error
    if not all(tensor.isfinite().all() for tensor in network.state_dict().values()):
        raise CheckpointError(f"{name}: {file} holds values that are not numbers")
    return network.eval()


def digest(path: Path) -> str:
    """SHA-256 of the file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def fingerprint(directory: Path) -> str:
    """12 hexadecimal digits of what decides the predictions: configuration, labels and weights."""
    return hashlib.sha256("".join(map(digest, deciding_files(directory))).encode()).hexdigest()[:12]


def _check_digests(directory: Path, name: str) -> None:
    """CheckpointError if encoders or weights are not those that were measured. Without metrics nothing is compared."""
    try:
        measured = read_json(directory / METRICS)[DIGESTS]
    except (OSError, ValueError, KeyError, RecursionError):
        return
    for path in deciding_files(directory)[1:]:  # calibration may have changed the configuration
        if not isinstance(measured, dict) or measured.get(path.name) != digest(path):
            raise CheckpointError(f"{name}: {path.name} is damaged or was exchanged: {METRICS} has another digest")


def _read(directory: Path, file: str, name: str, reader: Callable[[Path], Any]) -> Any:
    try:
        return reader(directory / file)
    except FileNotFoundError as error:
        raise CheckpointError(f"{name}: {file} is missing") from error
    except RecursionError as error:  # brackets by the thousand
        raise CheckpointError(f"{name}: {file} is nested too deeply") from error
    except SafetensorError as error:
        raise CheckpointError(f"{name}: {file} is damaged or cut off: {error}") from error
    except (ValueError, TypeError, OSError) as error:  # json and unicode errors are ValueErrors
        raise CheckpointError(f"{name}: {file} {getattr(error, 'strerror', None) or error}") from error
