import shutil

import torch
from safetensors.torch import load_file, save_file

from tests.train.conftest import smoke_fit
from tests.train.fit.test_fit import with_labels
from train.__main__ import main
from train.data.table import read_trained_on


def test_the_heads_are_trained_on_the_mean_of_two_networks(trained, cleaned, tmp_path, capsys):
    second = shutil.copytree(trained, tmp_path / "second")
    own = load_file(trained / "model.safetensors")
    moved = {key: tensor + 1 if tensor.is_floating_point() else tensor for key, tensor in own.items()}
    save_file(moved, second / "model.safetensors")
    (second / "trained_on.txt").write_text("7654321\n")
    mean = tmp_path / "mean"
    assert main(["soup", "--checkpoints", str(trained), str(second), "--output", str(mean)]) == 0
    stored = load_file(mean / "model.safetensors")
    for key, tensor in own.items():
        assert torch.allclose(stored[key].float(), (tensor.float() + moved[key].float()) / 2, atol=2e-3, rtol=2e-3), key
    assert read_trained_on(mean) == read_trained_on(trained) | {7654321}

    options = ("--weights", str(mean), "--epochs", "0", "--linear-probe-steps", "2", "--resume")
    for _ in range(2):  # the second time there is nothing left to do
        assert main(smoke_fit(cleaned, tmp_path / "run", *options)) == 0
    assert "best epoch 0" in capsys.readouterr().out
    after = load_file(tmp_path / "run" / "model.safetensors")
    changed = {key.split(".")[0] for key, tensor in stored.items() if not torch.equal(tensor, after[key])}
    assert changed == {"heads", "fashion"}

    other = with_labels(trained, tmp_path / "other")
    arguments = ["soup", "--checkpoints", str(trained), str(other), "--output", str(tmp_path / "x")]
    assert main(arguments) == 2
    assert "different networks or have different labels" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()
