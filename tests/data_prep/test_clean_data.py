import csv
import random
import shutil
import zipfile
from collections import Counter

import pandas as pd
import pytest

from data_prep import clean_data
from data_prep.clean_data import LABEL_COLUMNS, clean, describe_splits, normalise_case, parse_row
from data_prep.source import COLUMNS, KaggleSource
from tests.data_prep.conftest import PRODUCTS, first_usable, lines_of, table_of

SAME_PICTURE = {(7165, 8807), (4202, 4728)}  # identical bytes, near-duplicates


def test_the_counts_printed_add_up_and_name_each_reason(capsys, tmp_path):
    assert clean_data.main(["--source", str(PRODUCTS), "--output", str(tmp_path)]) == 0
    counts = {}
    for line in capsys.readouterr().out.splitlines():
        number, what = line.strip().split("  ", 1)
        counts[what.strip()] = int(number.replace(",", ""))
    dropped = {what: n for what, n in counts.items() if what.startswith("dropped: ") and n}
    assert dropped == {
        "dropped: image missing": 3,
        "dropped: label missing: baseColour": 1,
        "dropped: label missing: season": 1,
    }
    assert counts["rows read"] == counts["rows kept"] + sum(dropped.values()) == 65
    assert counts["recovered (commas in an unquoted name)"] == 2
    assert counts["train"] + counts["validation"] + counts["test"] == counts["rows kept"]
    assert (counts["train"], counts["validation"], counts["test"]) == (44, 8, 8)


def test_a_row_with_commas_in_its_name_is_recovered_with_the_whole_name(copied, tmp_path):
    photograph = next(iter((copied / "images").iterdir()))
    shutil.copyfile(photograph, copied / "images" / "3413.jpg")
    table, counts = clean(KaggleSource(copied), tmp_path / "out")
    row = table.set_index("id").loc[3413]
    assert row["productDisplayName"] == "Myntra Men's Yes, its all about me White T-shirt"
    assert (row["articleType"], row["baseColour"], row["season"], row["gender"]) == (
        "Tshirts",
        "White",
        "Summer",
        "Men",
    )
    assert counts.recovered == 2


def test_the_published_bytes_are_kept(cleaned):
    table = table_of(cleaned)
    assert list(table) == [*COLUMNS, "group", "split"]
    assert {p.name for p in (cleaned / "images").iterdir()} == {f"{i}.jpg" for i in table["id"]}
    for name in (f"{i}.jpg" for i in table["id"]):
        assert (cleaned / "images" / name).read_bytes() == (PRODUCTS / "images" / name).read_bytes()


def test_the_table_does_not_depend_on_row_order(copied, cleaned, tmp_path):
    header, *rows = lines_of(copied / "styles.csv")
    random.Random(1).shuffle(rows)
    (copied / "styles.csv").write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    clean_data.main(["--source", str(copied), "--output", str(tmp_path / "out")])
    pd.testing.assert_frame_equal(table_of(tmp_path / "out"), table_of(cleaned))


def test_unusable_rows_are_dropped_each_with_its_reason(copied, tmp_path):
    images = copied / "images"
    header, *rows = lines_of(copied / "styles.csv")
    usable = [row for row in rows if (images / f"{row.split(',')[0]}.jpg").is_file()]
    ids = [row.split(",")[0] for row in usable]
    (images / f"{ids[0]}.jpg").write_bytes((images / f"{ids[0]}.jpg").read_bytes()[:500])
    (images / f"{ids[1]}.jpg").write_bytes(b"")
    (images / f"{ids[2]}.jpg").unlink()
    fields = next(csv.reader([usable[4]]))
    fields[4:7] = ["n/a", fields[5].upper(), f"  {fields[6].lower()} "]
    rows = [
        usable[0],
        usable[1],
        usable[2],
        usable[3],
        ",".join(fields),
        "12,Men,too,short",
        "x" + usable[3],
        usable[3],
        *usable[5:],
    ]
    (copied / "styles.csv").write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    table, counts = clean(KaggleSource(copied), tmp_path / "out")
    added = {
        "image unreadable": 2,
        "image missing": 1,
        "label missing: articleType": 1,
        "row malformed": 2,
        "id repeated": 1,
    }
    present = Counter()
    for row in usable[5:]:
        product = parse_row(next(csv.reader([row])))
        present.update(f"label missing: {c}" for c in ("baseColour", "season") if not product[c])
    assert +counts.dropped == Counter(added) + present
    assert counts.read == counts.kept + counts.dropped.total() == len(rows)
    assert len(table) == counts.kept


def test_a_row_whose_image_is_damaged_in_the_zip_is_dropped(tmp_path):
    archive = tmp_path / "data.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in PRODUCTS.rglob("*.*"):
            file.write(path, path.relative_to(PRODUCTS).as_posix())
    photograph = (PRODUCTS / "images" / "7165.jpg").read_bytes()
    stored = archive.read_bytes()
    position = stored.index(photograph) + 300
    archive.write_bytes(stored[:position] + bytes([stored[position] ^ 1]) + stored[position + 1 :])
    table, counts = clean(KaggleSource(archive), tmp_path / "out")
    assert counts.dropped["image unreadable"] == 1
    assert len({7165, 8807} & set(table["id"])) == 1  # these two have the same bytes
    assert counts.read == counts.kept + counts.dropped.total() == 65


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("NAVY  blue", "Navy Blue"),
        ("mask And peel", "Mask and Peel"),
        (" tshirts", "Tshirts"),
        ("multi", "Multi"),
        ("NA", ""),
        ("nan", ""),
        ("", ""),
    ],
)
def test_labels_are_normalised(label, expected):
    assert normalise_case(label) == expected


def test_duplicates_are_in_one_group_and_one_split(cleaned):
    table = table_of(cleaned).set_index("id")
    for first, second in SAME_PICTURE:
        assert table.loc[first, "group"] == table.loc[second, "group"] == min(first, second)
        assert table.loc[first, "split"] == table.loc[second, "split"]
    assert table["group"].nunique() == len(table) - len(SAME_PICTURE)


def test_which_of_two_rows_with_one_id_is_kept_does_not_depend_on_their_order(copied, tmp_path):
    header, *rows = lines_of(copied / "styles.csv")
    product = first_usable(copied, rows)
    other = product.replace(product.split(",")[4], "Zzz")
    kept = []
    for i, lines in enumerate(([product, other], [other, product])):
        (copied / "styles.csv").write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
        table, counts = clean(KaggleSource(copied), tmp_path / str(i))
        assert counts.dropped["id repeated"] == 1
        kept.append(table["articleType"].tolist())
    assert kept[0] == kept[1]


@pytest.fixture
def with_usages(copied):
    """Ids of three usable products and the raw data in which they have the usages `smart  CASUAL`, `NA` and none."""
    header, *rows = lines_of(copied / "styles.csv")
    parsed = [parse_row(next(csv.reader([row]))) for row in rows]
    usable = [
        i
        for i, product in enumerate(parsed)
        if all(product[column] for column in LABEL_COLUMNS) and (copied / "images" / f"{product['id']}.jpg").is_file()
    ]
    chosen = usable[:3]
    for i, usage in zip(chosen, ("smart  CASUAL", "NA", ""), strict=True):
        fields = rows[i].split(",")
        fields[COLUMNS.index("usage")] = usage
        rows[i] = ",".join(fields)
    (copied / "styles.csv").write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return [int(parsed[i]["id"]) for i in chosen], copied


def test_usage_is_kept_and_normalised(cleaned, with_usages, tmp_path):
    published = {row[0]: row for row in KaggleSource(PRODUCTS).rows()}
    table = table_of(cleaned).set_index("id")
    assert set(table["usage"]) == {"Casual", "Ethnic", "Formal", "Sports"}
    for column in ("usage", "masterCategory", "subCategory"):
        assert table[column].to_dict() == {i: published[str(i)][COLUMNS.index(column)] for i in table.index}
    (odd, *_), source = with_usages
    assert clean(KaggleSource(source), tmp_path / "out")[0].set_index("id").loc[odd, "usage"] == "Smart Casual"


def test_a_row_without_usage_is_kept(cleaned, with_usages, tmp_path):
    (_, *without), source = with_usages
    assert clean_data.main(["--source", str(source), "--output", str(tmp_path / "out")]) == 0
    table, complete = table_of(tmp_path / "out").set_index("id"), table_of(cleaned).set_index("id")
    assert table.loc[without, "usage"].tolist() == ["", ""]
    assert all((tmp_path / "out" / "images" / f"{i}.jpg").is_file() for i in without)
    pd.testing.assert_frame_equal(table.drop(columns="usage"), complete.drop(columns="usage"))


def test_a_missing_usage_is_not_counted_as_a_class():
    splits = ["train", "validation", "test"]
    table = pd.DataFrame({column: ["a"] * 3 for column in LABEL_COLUMNS} | {"group": [1, 2, 3], "split": splits})
    lines = describe_splits(table.assign(usage=["Casual", "", ""]))
    assert lines[-3:] == [
        "       1  classes of usage",
        "       1    not in validation: Casual",
        "       1    not in test: Casual",
    ]
