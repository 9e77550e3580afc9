"""Check the embedded default before a release: that all its parts belong together and README shows its metrics."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from data_prep.splits import TEST
from fashion_model.checkpoint import (
    CARD,
    CHECKPOINT_FILES,
    CLASSES,
    DEFAULT_CHECKPOINT,
    REPORT,
    CheckpointError,
    load_checkpoint,
)
from train.data.table import read_trained_on
from train.evaluate.card import model_card
from train.evaluate.split_metrics import read_metrics
from train.evaluate.tables import README_DOMAINS, accuracy_table, markdown_table
from train.publish.commits import files_in

README = Path(__file__).parents[2] / "README.md"
MAX_FILE, MAX_TOTAL = 10 * 10**6, 50 * 10**6  # bytes; a Space rejects larger files outside of Git LFS


@dataclass(frozen=True)
class Config:
    checkpoint: Path = DEFAULT_CHECKPOINT  # the checkpoint directory


def run(config: Config) -> None:
    problems = find_problems(config.checkpoint)
    if problems:
        raise CheckpointError("; ".join(problems))
    print(f"{config.checkpoint}: ready")


def find_problems(checkpoint: Path) -> list[str]:
    """CheckpointError if it cannot be loaded or was not evaluated as it is."""
    config, test, problems = load_checkpoint(checkpoint).config, read_metrics(checkpoint).get(TEST, {}), []
    if "domains" not in test:  # not measured, or by an older version
        return ["metrics.json has no metrics of the test split"]
    if not read_trained_on(checkpoint):
        problems.append("trained_on.txt is empty")
    if any(temperature == 1 for temperature in config.temperatures.values()):
        problems.append("it is not calibrated")
    if (checkpoint / CARD).read_text(encoding="utf-8") != model_card(checkpoint, test):
        problems.append("the model card is not that of metrics.json")
    table = accuracy_table(config.attributes, test, README_DOMAINS)
    if markdown_table(table.columns, table.to_numpy()) not in README.read_text(encoding="utf-8"):
        problems.append("README.md does not show the table of metrics.json")
    if not all((checkpoint / file).is_file() for file in (REPORT, CLASSES)):
        problems.append("there is no report")
    sizes = [path.stat().st_size for path in files_in(checkpoint, CHECKPOINT_FILES).values()]
    if max(sizes) > MAX_FILE or sum(sizes) > MAX_TOTAL:
        problems.append("its files are too large for a Space")
    return problems
