import errno
import os
import signal
import subprocess
import sys
import time

import pytest

from fashion_model.console import sentence_of
from tests.conftest import ROOT, free_port

COMMANDS = {
    "app": ["app.py"],
    "predict": ["-m", "fashion_model", "predict", "tests/data/phone"],
    "evaluate": ["-m", "train", "evaluate", "--checkpoint", "nowhere", "--data", "nowhere"],
}


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT to send")
@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("seconds", [0.5, 1.5, 3, 6])
def test_ctrl_c_is_quiet_whenever_it_comes(command, seconds):
    environment = os.environ | {"GRADIO_SERVER_PORT": str(free_port())}
    arguments = [sys.executable, *COMMANDS[command]]
    with subprocess.Popen(arguments, cwd=ROOT, env=environment, text=True, stdout=-1, stderr=-1) as process:
        time.sleep(seconds)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert "Traceback" not in errors
    assert len(errors.splitlines()) <= 1


def test_the_remedy_of_a_full_disk_is_named():
    full = OSError(errno.ENOSPC, "No space left on device", "rows.csv")
    assert sentence_of(full).endswith("No space left on device: 'rows.csv'; make room and run the command again")
    assert sentence_of(full, "go on").endswith("; make room and go on")
    assert sentence_of(ValueError("other")) == "other"
