from fashion_model.attributes import NAMES
from train.card import season_limits
from train.tables import fashion_table, kinds_table, shares_table, unlikely_pairs_line


def test_each_share_has_the_interval_of_its_own_number_of_photographs():
    rows = {"few": (40, dict.fromkeys(NAMES, 0.5)), "many": (4000, dict.fromkeys(NAMES, 0.5) | {"gender": 1.0})}
    few, many = shares_table("title", rows).splitlines()[2:]
    assert few == "| few |" + " 50.0 (35.2–64.8) |" * 4  # Wilson 1927, by hand
    assert many == "| many |" + " 50.0 (48.5–51.5) |" * 3 + " 100.0 (99.9–100.0) |"


def test_crops_of_the_same_photographs_and_means_of_shares_have_no_interval():
    found = {"pictures": 40, "share": 0.5}
    fashion = {"accepted": {"sharp": found}, "flagged": dict.fromkeys(("crop", "photograph", "mean"), found)}
    assert fashion_table(fashion).splitlines()[2:] == [
        "| yes: sharp photographs | 40 | 50.0 (35.2–64.8) |",
        "| no: crops | 40 | 50.0 |",
        "| no: photographs | 40 | 50.0 (35.2–64.8) |",
        "| no: mean of these | 40 | 50.0 |",
    ]


def test_unlikely_pairs_are_named_with_how_often_they_are_answered():
    frequent = [{"labels": ["Sarees", "Men"], "count": 3}, {"labels": ["Ties", "Women"], "count": 1}]
    found = {"pairs": 7, "answers": 0.0123, "labels": 0.001, "frequent": frequent}
    line = unlikely_pairs_line(found, "thumbnails")
    assert line.startswith(
        "By the frequency of their labels, 7 pairs of product type and gender should each occur in 5 "
    )
    assert line.endswith(
        "On thumbnails they are 1.23 % of the answers and 0.10 % of the labels; "
        "most often: Sarees for Men (3), Ties for Women (1)."
    )


def test_the_season_is_compared_with_its_most_frequent_label():
    season = {"accuracy": 0.7, "balanced_accuracy": 0.55, "calibration_error": 0.04}
    sharp = {
        "attributes": {"season": season},
        "agreement": {"thumbnail": {"season": 0.9}},
        "season_shares": {"labels": {"Fall": 0.3, "Spring": 0.0, "Summer": 0.6, "Winter": 0.1}},
    }
    text = season_limits({"attributes": {"season": season}, "sharp": sharp})
    assert "in 70.0 %. Always answering Summer would be right in 60.0 % of them. " in text
    assert "the network is right in 55.0 %, a guess would be in 33.3 %" in text


def test_the_shares_of_the_seasons_stand_beside_those_of_the_labels():
    shares = {"Fall": 0.25, "Summer": 0.75}
    sharp = {"season_shares": {"labels": shares, "thumbnails": shares, "sharp": {"Fall": 0.5, "Summer": 0.5}}}
    printed = kinds_table(sharp | {"kind_accuracy": None})
    assert "| their labels | 25.0 | 75.0 |" in printed
    assert printed.endswith("| answers to their sharp photographs | 50.0 | 50.0 |")
    assert "says which it is in 61.2 % of cases" in kinds_table(sharp | {"kind_accuracy": 0.6123})
