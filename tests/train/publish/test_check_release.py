import json
import shutil

import pytest

from fashion_model.checkpoint import DEFAULT_CHECKPOINT
from train.__main__ import main


@pytest.fixture
def copy(tmp_path):
    return shutil.copytree(DEFAULT_CHECKPOINT, tmp_path / "copy", ignore=shutil.ignore_patterns("predictions"))


def check(checkpoint):
    return main(["check-release", "--checkpoint", str(checkpoint)])


def test_the_embedded_default_is_ready(capsys):
    assert main(["check-release"]) == 0
    assert "ready" in capsys.readouterr().out


def test_what_does_not_belong_together_is_named(copy, capsys):
    (copy / "README.md").write_text("another card")
    (copy / "report" / "report.html").unlink()
    assert check(copy) == 2
    printed = capsys.readouterr().err
    assert "the model card is not that of metrics.json" in printed
    assert "there is no report" in printed
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"fashion_threshold": 0.0}))
    assert check(copy) == 2
    assert "belongs to other weights or another calibration" in capsys.readouterr().err
