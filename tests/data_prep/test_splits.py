import pandas as pd

from data_prep.splits import split_column


def synthetic_table(sizes):
    """One row a group but for type 'Twins', whose groups have two."""
    rows, product = [], 1000
    for name, size in sizes.items():
        for i in range(size):
            group = product - (i % 2 if name == "Twins" else 0)
            rows.append({"id": product, "group": group, "articleType": name})
            product += 1
    return pd.DataFrame(rows)


def test_the_split_is_stratified_by_type_and_keeps_groups_together():
    sizes = {"Many": 1000, "Some": 30, "Few": 3, "Pair": 2, "Twins": 40}
    table = synthetic_table(sizes)
    table["split"] = split_column(table)
    counts = pd.crosstab(table["articleType"], table["split"])
    assert counts.loc["Many", ["train", "validation", "test"]].tolist() == [800, 100, 100]
    assert counts.loc["Some", ["train", "validation", "test"]].tolist() == [24, 3, 3]
    assert counts.loc["Few", ["train", "validation", "test"]].tolist() == [1, 1, 1]
    assert counts.loc["Pair", ["train", "validation", "test"]].tolist() == [2, 0, 0]
    assert counts.loc["Twins", ["train", "validation", "test"]].tolist() == [32, 4, 4]
    assert (table.groupby("group")["split"].nunique() == 1).all()


def test_a_type_of_three_pictures_is_in_all_splits_even_if_each_has_several_ids():
    table = pd.DataFrame([{"id": i, "group": i - i % 2, "articleType": "Pairs"} for i in range(6)])
    assert sorted(split_column(table)) == ["test"] * 2 + ["train"] * 2 + ["validation"] * 2


def test_the_split_does_not_depend_on_row_order_or_index():
    table = synthetic_table({"Many": 200, "Twins": 40})
    expected = split_column(table).set_axis(table["id"])
    shuffled = table.sample(frac=1, random_state=3)
    assert split_column(shuffled).set_axis(shuffled["id"]).sort_index().equals(expected)
