import errno
import os
import signal
import subprocess
import sys
import time

import pytest

from fashion_model.system import replacing, sentence_of, write_text
from tests.conftest import ROOT, free_port

COMMANDS = {
    "app": ["app.py"],
    "predict": ["-m", "fashion_model", "predict", "tests/data/phone"],
    "evaluate": ["-m", "train", "evaluate", "--checkpoint", "nowhere", "--data", "nowhere"],
}


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT to send")
@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("seconds", [0.5, 4])
def test_ctrl_c_is_quiet_whenever_it_comes(command, seconds):
    environment = os.environ | {"GRADIO_SERVER_PORT": str(free_port())}
    arguments = [sys.executable, *COMMANDS[command]]
    with subprocess.Popen(arguments, cwd=ROOT, env=environment, text=True, stdout=-1, stderr=-1) as process:
        time.sleep(seconds)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert "Traceback" not in errors
    assert len(errors.splitlines()) <= 1


def test_error_is_one_short_sentence():
    full = OSError(errno.ENOSPC, "No space", "x.csv")
    assert sentence_of(full) == "[Errno 28] No space: 'x.csv'; make room and run the command again"
    printed = sentence_of(ValueError("it begins with " + "a,b\r" * 9000))
    assert printed.startswith("it begins with a,b a,b")
    assert len(printed) <= 501
    assert "\r" not in printed


def test_file_stays_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "table.csv"
    write_text(path, "old ✓\nb\r\n")
    with pytest.raises(ValueError, match="broken"), replacing(path) as unfinished:
        unfinished.write_text("half")
        raise ValueError("broken")
    with pytest.raises(OSError, match=r"No space: .*table\.csv'"), replacing(path):
        raise OSError(errno.ENOSPC, "No space")
    assert path.read_bytes() == "old ✓\nb\r\n".encode()
    with replacing(path) as unfinished:
        unfinished.write_text("new")
        assert path.read_bytes() != b"new"
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]
