import pandas as pd
import pytest
from PIL import Image

from data_prep import TABLE, class_distribution


def test_one_chart_is_drawn_per_label_column(cleaned, tmp_path):
    assert class_distribution.main(["--data", str(cleaned), "--output", str(tmp_path)]) == 0
    assert {p.name for p in tmp_path.iterdir()} == {
        "baseColour.png",
        "articleType.png",
        "season.png",
        "gender.png",
        "usage.png",
    }
    for path in tmp_path.iterdir():
        with Image.open(path) as chart:
            assert chart.width > 400
            assert len(chart.convert("RGB").getcolors(1 << 20)) > 10  # something is drawn


def test_a_chart_of_any_column(cleaned, tmp_path, capsys):
    arguments = ["--data", str(cleaned), "--output", str(tmp_path), "--columns"]
    assert class_distribution.main([*arguments, "usage"]) == 0
    assert {p.name for p in tmp_path.iterdir()} == {"usage.png"}
    assert class_distribution.main([*arguments, "length"]) == 2
    assert "has no columns ['length']" in capsys.readouterr().err


def test_the_chart_of_product_types_has_every_class_once():
    table = pd.DataFrame({"articleType": [f"Type {i}" for i in range(143) for _ in range(i + 1)]})
    figure = class_distribution.draw(table, "articleType")
    labels = [text.get_text() for axes in figure.axes for text in axes.get_yticklabels()]
    assert sorted(labels) == sorted(f"Type {i}" for i in range(143))
    assert labels[0] == "Type 142"
    heights = [text.get_fontsize() / 72 for axes in figure.axes for text in axes.get_yticklabels()]
    assert max(heights) < class_distribution.INCHES_PER_BAR  # no label touches the next


def test_usage_is_drawn_by_default_only_if_the_table_has_it(cleaned, tmp_path, capsys):
    table = pd.read_csv(cleaned / TABLE, dtype=str, keep_default_na=False)
    four = {"baseColour.png", "articleType.png", "season.png", "gender.png"}
    for number, changed in enumerate((table.drop(columns="usage"), table.assign(usage=""))):
        data = tmp_path / str(number)
        data.mkdir()
        changed.to_csv(data / TABLE, index=False)
        assert class_distribution.main(["--data", str(data)]) == 0
        assert {path.name for path in (data / "figures").iterdir()} == four
    assert class_distribution.main(["--data", str(data), "--columns", "usage"]) == 2
    assert "the column 'usage' is empty" in capsys.readouterr().err


def test_empty_cells_are_not_drawn():
    figure = class_distribution.draw(pd.DataFrame({"usage": ["Casual", "", "Casual", "Formal", ""]}), "usage")
    assert figure.get_suptitle() == "usage: 2 classes, 3 products"
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == ["Casual", "Formal"]
    with pytest.raises(ValueError, match="'usage' is empty"):
        class_distribution.draw(pd.DataFrame({"usage": ["", ""]}), "usage")


def test_a_folder_without_a_table_is_an_error(tmp_path, capsys):
    assert class_distribution.main(["--data", str(tmp_path)]) == 2
    assert f"{tmp_path / TABLE} is missing" in capsys.readouterr().err
