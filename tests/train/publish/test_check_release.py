from tests.train.publish.test_push_to_hub import change_config
from train.__main__ import main


def test_embedded_default_is_ready(capsys):
    assert main(["check-release"]) == 0
    assert "ready" in capsys.readouterr().out


def test_parts_that_do_not_fit_are_named(evaluated, capsys):
    check = ["check-release", "--checkpoint", str(evaluated)]
    (evaluated / "trained_on.txt").write_text("1163\n")
    (evaluated / "README.md").write_text("another card")
    (evaluated / "report" / "report.html").unlink()
    assert main(check) == 2
    printed = capsys.readouterr().err
    for problem in ("it is not calibrated", "the model card is not", "README.md does not show", "there is no report"):
        assert problem in printed
    change_config(evaluated)
    assert main(check) == 2
    assert "belongs to other weights or another calibration" in capsys.readouterr().err
