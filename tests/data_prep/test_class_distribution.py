from PIL import Image

from data_prep.__main__ import main
from tests.data_prep.conftest import table_of


def test_a_chart_is_drawn_for_each_column(cleaned, tmp_path, capsys):
    table = table_of(cleaned).assign(**{"Price / EUR": "9", "empty": ""})
    table.to_csv(tmp_path / "cleaned_styles.csv", index=False)
    columns = ["usage", "Price / EUR", "empty", "no_such_column"]
    assert main(["class-distribution", "--data", str(tmp_path), "--columns", *columns]) == 0
    charts = sorted((tmp_path / "figures").iterdir())
    assert [path.name for path in charts] == ["Price_EUR.png", "usage.png"]
    with Image.open(charts[1]) as chart:
        assert len(chart.convert("RGB").getcolors(1 << 20)) > 10  # something is drawn
    assert main(["class-distribution", "--data", str(tmp_path), "--columns", "empty"]) == 2
    assert "has none of the columns; it has ['id', 'gender'" in capsys.readouterr().err
