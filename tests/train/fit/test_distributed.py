import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from fashion_model.checkpoint import TRAINING, read_json
from tests.conftest import ROOT
from tests.train.conftest import smoke_fit
from train.__main__ import main

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "train"]
# Batch norms and dropout would see other halves.
SETTINGS = ("--backbone", "test_vit", "--dropout", "0", "--workers", "0", "--linear-probe-steps", "2")
SETTINGS += ("--cooldown-epochs", "0")


@pytest.mark.slow
def test_two_processes_train_as_one_does(prepared, tmp_path):
    alone, together = tmp_path / "alone", tmp_path / "together"
    assert main(smoke_fit(prepared, alone, *SETTINGS)) == 0
    command = [*TORCHRUN, *smoke_fit(prepared, together, *SETTINGS, "--epochs", "1")]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    assert run.stdout.count("'epoch': 1") == 1  # one process prints
    assert main(smoke_fit(prepared, together, *SETTINGS, "--resume")) == 0  # one process continues the run of two

    documents = [read_json(folder / TRAINING) for folder in (alone, together)]
    assert documents[0]["settings"] == documents[1]["settings"]
    for expected, entry in zip(*(document["history"] for document in documents), strict=True):
        assert entry["loss"] == pytest.approx(expected["loss"], rel=1e-4)
        for domain, metrics in expected["validation"].items():
            assert entry["validation"][domain] == pytest.approx(metrics, rel=1e-3)
    tensors = [load_file(folder / "model.safetensors") for folder in (alone, together)]
    assert tensors[0].keys() == tensors[1].keys()
    for name, tensor in tensors[0].items():
        torch.testing.assert_close(tensors[1][name], tensor, atol=2e-3, rtol=0)
    assert {path.name for path in alone.rglob("*")} == {path.name for path in together.rglob("*")}
