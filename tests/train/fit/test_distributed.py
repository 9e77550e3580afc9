"""Two processes under torchrun train as one does."""

import subprocess
import sys
import time

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from tests.conftest import ROOT
from tests.train.conftest import smoke_fit
from train.__main__ import main
from train.fit.command import FIT, LOG, STATE

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "train"]
# Batch norms and dropout would see other halves; the last batch of an epoch is not full.
SETTINGS = ("--backbone", "test_vit", "--dropout", "0", "--workers", "0", "--linear-probe-steps", "2")


def started(data, folder, *more):
    command = [*TORCHRUN, *smoke_fit(data, folder, *SETTINGS, *more)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.mark.slow
def test_two_processes_train_as_one_does_and_resume(prepared, tmp_path):
    alone, together = tmp_path / "alone", tmp_path / "together"
    assert main(smoke_fit(prepared, alone, *SETTINGS)) == 0

    first = started(prepared, together)
    while not (together / STATE).is_file():
        assert first.poll() is None, first.stdout.read()
        time.sleep(0.02)
    first.terminate()  # torchrun ends its processes
    first.communicate()
    resumed = started(prepared, together, "--resume")
    printed, _ = resumed.communicate(timeout=300)
    assert resumed.returncode == 0, printed

    assert printed.count("resuming after epoch 1") == 1  # one process speaks
    assert printed.count("best epoch") == 1
    curves = [pd.read_csv(folder / LOG).drop(columns="images_per_second") for folder in (alone, together)]
    assert list(curves[0]["epoch"]) == [1, 2]
    pd.testing.assert_frame_equal(*curves, rtol=1e-4)
    tensors = [load_file(folder / "model.safetensors") for folder in (alone, together)]
    assert tensors[0].keys() == tensors[1].keys()
    for name, tensor in tensors[0].items():
        torch.testing.assert_close(tensors[1][name], tensor, atol=2e-3, rtol=0)
    assert {path.name for path in alone.rglob("*")} == {path.name for path in together.rglob("*")}
    for file in (FIT, "trained_on.txt", "config.json"):
        assert (together / file).read_text() == (alone / file).read_text()
