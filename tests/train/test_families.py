"""The study `backbones`: a row for each family of timm, with the outcome."""

from train.__main__ import main


def test_each_family_has_its_outcome(capsys):
    assert main(["backbones", "--families", "resnet", "coat", "deepseek_vit", "levit"]) == 0
    rows = [[cell.strip() for cell in line.split("|")[1:5]] for line in capsys.readouterr().out.splitlines()]
    outcomes = {row[0]: row[1:] for row in rows if len(row) == 4}
    assert outcomes["resnet"] == ["test_resnet", "works", "5"]
    assert outcomes["coat"][1] == "refused"
    assert outcomes["coat"][2].startswith("backbone 'coat_lite_mini' cannot be used: ")
    assert outcomes["deepseek_vit"][1:] == ["not tried", "411 million parameters"]
    assert outcomes["levit"][1] == "works"
