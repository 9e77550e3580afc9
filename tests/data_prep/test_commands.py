"""What all commands have in common."""

import runpy
import shutil
import sys

import pytest

from data_prep.__main__ import COMMANDS, main
from tests.conftest import EVERYDAY, PHONE, PRODUCTS, ROOT, STREET, contents
from tests.data_prep.conftest import prepare


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_explains_itself(command, capsys):
    with pytest.raises(SystemExit, match="0"):
        main([command, "--help"])
    assert f"usage: python -m data_prep {command}" in capsys.readouterr().out


@pytest.mark.parametrize("module", ["clean_data", "phone_photographs", "photographs", "class_distribution"])
def test_each_module_runs_its_command(module, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", [module, "--help"])
    with pytest.raises(SystemExit, match="0"):
        runpy.run_path(str(ROOT / "data_prep" / f"{module}.py"), run_name="__main__")
    assert "usage: python -m data_prep " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("command", "option", "published"),
    [
        ("catalogue", "--source", PRODUCTS),
        ("phone-photographs", "--source", PHONE),
        ("street-photographs", "--source", STREET),
        ("photographs", "--everyday", EVERYDAY),
        ("photographs", "--high-resolution", PRODUCTS / "images"),
    ],
)
def test_the_source_is_never_the_target(command, option, published, refused, tmp_path):
    """Neither the same folder, by whatever path, nor what an earlier run wrote, nor a folder around the target."""
    source = shutil.copytree(published, tmp_path / "source")
    (tmp_path / "link").symlink_to(source)
    before = contents(source)
    for output in (source, tmp_path / "link"):
        assert "choose another --output" in refused(command, output, option, source)
    assert contents(source) == before
    if command != "catalogue":
        assert "lies in the source" in refused(command, source / "data", option, source)
        assert contents(source) == before
        prepare(command, tmp_path / "out", option, source)
        before = contents(tmp_path / "out")
        (target,) = (tmp_path / "out").iterdir()
        refused(command, tmp_path / "out", option, target)
        assert contents(tmp_path / "out") == before


def test_a_catalogue_around_the_target_is_read(copied, cleaned):
    for _ in range(2):
        prepare("catalogue", copied / "data", "--source", copied)
        assert contents(copied / "data") == contents(cleaned)
