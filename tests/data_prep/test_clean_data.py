import shutil
from collections import Counter

import pandas as pd
import pytest
from PIL import Image

from data_prep import TABLE
from data_prep.clean_data import LABEL_COLUMNS, clean, describe_splits, normalise_case
from data_prep.source import COLUMNS, KaggleSource
from fashion_model.images import open_image
from tests.conftest import PRODUCTS, contents
from tests.data_prep.conftest import lines_of, prepare, table_of, usable, write_lines

SAME_PICTURE = {("7165", "8807"), ("4202", "4728")}  # identical bytes, near-duplicates


def cleaned_of(source, tmp_path):
    return clean(KaggleSource(source), tmp_path / "out")


def test_printed_counts_add_up_and_name_reasons(capsys, tmp_path):
    prepare("catalogue", tmp_path, "--source", PRODUCTS)
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
    assert (counts["train"], counts["validation"], counts["test"]) == (44, 8, 8)


def test_a_name_with_commas_is_recovered_whole(copied, tmp_path):
    shutil.copyfile(next((copied / "images").iterdir()), copied / "images" / "3413.jpg")
    table, counts = cleaned_of(copied, tmp_path)
    row = table.set_index("id").loc["3413"]
    assert row["productDisplayName"] == "Myntra Men's Yes, its all about me White T-shirt"
    assert row[["articleType", "baseColour", "season", "gender"]].tolist() == ["Tshirts", "White", "Summer", "Men"]
    assert counts.recovered == 2


def test_published_bytes_and_labels_are_kept(cleaned):
    table = table_of(cleaned).set_index("id")
    assert [table.index.name, *table] == [*COLUMNS, "group", "split"]
    assert {path.stem for path in (cleaned / "images").iterdir()} == set(table.index)
    for product in table.index:
        image = f"images/{product}.jpg"
        assert (cleaned / image).read_bytes() == (PRODUCTS / image).read_bytes()
    published = {row[0]: row for row in KaggleSource(PRODUCTS).rows()}
    for column in ("usage", "masterCategory", "subCategory"):
        assert table[column].to_dict() == {i: published[i][COLUMNS.index(column)] for i in table.index}


def test_the_order_and_splits_of_products_never_change(cleaned):
    """A split that moved would measure the default on what it was trained on."""
    table = table_of(cleaned)
    assert table["id"].astype(int).is_monotonic_increasing
    held_out = ["3741", "9366", "12060", "16763", "21733", "41518", "45019", "58905"]
    assert table["id"][table["split"] == "test"].tolist() == held_out


def test_larger_originals_are_shrunk(copied, tmp_path):
    Image.new("RGB", (1200, 1600), "navy").save(copied / "images" / "7165.jpg")
    cleaned_of(copied, tmp_path)
    assert open_image(tmp_path / "out" / "images" / "7165.jpg").size == (300, 400)
    assert open_image(copied / "images" / "7165.jpg").size == (1200, 1600)


def test_the_table_does_not_depend_on_row_order(copied, cleaned, tmp_path):
    header, rows = lines_of(copied)
    write_lines(copied, header, rows[::-1])
    prepare("catalogue", tmp_path / "out", "--source", copied)
    assert contents(tmp_path / "out") == contents(cleaned)


def test_unusable_rows_are_counted_by_reason(copied, tmp_path):
    images = copied / "images"
    header, rows = lines_of(copied)
    first, second, third, fourth, *rest = usable(copied, rows)
    ids = [row.split(",")[0] for row in (first, second, third)]
    (images / f"{ids[0]}.jpg").write_bytes((images / f"{ids[0]}.jpg").read_bytes()[:500])
    (images / f"{ids[1]}.jpg").write_bytes(b"")
    (images / f"{ids[2]}.jpg").unlink()
    fields = rest[0].split(",")
    without_type = ",".join([*fields[:4], "n/a", *fields[5:]])
    lines = [first, second, third, fourth, fourth, without_type, "12,Men,too,short", "x" + fourth]
    write_lines(copied, header, [*lines, "9," + "x" * 200_000, *rest[1:]])
    table, counts = cleaned_of(copied, tmp_path)
    assert +counts.dropped == Counter(
        {
            "image unreadable": 2,
            "image missing": 1,
            "label missing: articleType": 1,
            "row malformed": 3,
            "id repeated": 1,
        }
    )
    assert counts.read == counts.kept + counts.dropped.total() == len(lines) + len(rest)
    assert len(table) == counts.kept


def test_without_usable_rows_nothing_is_written(copied, refused, tmp_path):
    write_lines(copied, lines_of(copied)[0], ["12,Men,too,short"])
    assert "has no usable row" in refused("catalogue", tmp_path / "out", "--source", copied)
    assert not (tmp_path / "out" / TABLE).exists()


def test_ids_keep_their_leading_zeros(copied, tmp_path):
    header, rows = lines_of(copied)
    rows = usable(copied, rows)[:3]
    ids = ["0108775015", "108775015", "00" + rows[2].split(",")[0]]
    for new, row in zip(ids, rows, strict=True):
        shutil.copyfile(copied / "images" / f"{row.split(',')[0]}.jpg", copied / "images" / f"{new}.jpg")
    write_lines(copied, header, [",".join([i, *row.split(",")[1:]]) for i, row in zip(ids, rows, strict=True)])
    prepare("catalogue", tmp_path / "out", "--source", copied)
    table = table_of(tmp_path / "out")
    assert table["id"].tolist() == table["group"].tolist() == [ids[2], *ids[:2]]  # in the order of their numbers
    assert {path.stem for path in (tmp_path / "out" / "images").iterdir()} == set(ids)


def test_a_group_is_named_by_its_smallest_number(copied, tmp_path):
    header, rows = lines_of(copied)
    rest = usable(copied, rows)[0].split(",", 1)[1]
    for product in ("1000", "999"):
        shutil.copyfile(copied / "images" / "7165.jpg", copied / "images" / f"{product}.jpg")
    write_lines(copied, header, [f"1000,{rest}", f"999,{rest}"])
    assert cleaned_of(copied, tmp_path)[0]["group"].tolist() == ["999", "999"]


@pytest.mark.parametrize("name", ["{}.JPG", "{}.jpg?v=1699999999", "{}"])
def test_images_with_another_ending_are_used(name, copied, cleaned, tmp_path):
    for path in list((copied / "images").iterdir()):
        path.rename(path.with_name(name.format(path.stem)))
    (copied / "images" / "._7165.jpg").write_bytes(b"metadata of macOS")
    prepare("catalogue", tmp_path / "out", "--source", copied)
    assert contents(tmp_path / "out") == contents(cleaned)


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("NAVY  blue", "Navy Blue"),
        ("mask And peel", "Mask and Peel"),
        (" tshirts", "Tshirts"),
        ("NA", ""),
        ("nan", ""),
        ("", ""),
    ],
)
def test_labels_are_normalised(label, expected):
    assert normalise_case(label) == expected


def test_duplicates_share_a_group_and_a_split(cleaned):
    table = table_of(cleaned).set_index("id")
    for first, second in SAME_PICTURE:
        assert table.loc[first, "group"] == table.loc[second, "group"] == first
        assert table.loc[first, "split"] == table.loc[second, "split"]
    assert table["group"].nunique() == len(table) - len(SAME_PICTURE)


def test_which_repeated_id_is_kept_is_deterministic(copied, tmp_path):
    header, rows = lines_of(copied)
    product = usable(copied, rows)[0]
    other = product.replace(product.split(",")[4], "Zzz")
    kept = []
    for lines in ([product, other], [other, product]):
        write_lines(copied, header, lines)
        table, counts = cleaned_of(copied, tmp_path)
        assert counts.dropped["id repeated"] == 1
        kept.append(table["articleType"].tolist())
    assert kept[0] == kept[1]


def test_a_missing_usage_is_kept_and_no_class(copied, tmp_path):
    header, rows = lines_of(copied)
    changed = []
    for row, usage in zip(usable(copied, rows)[:3], ("smart  CASUAL", "NA", ""), strict=True):
        fields = row.split(",")
        fields[COLUMNS.index("usage")] = usage
        changed.append(",".join(fields))
    write_lines(copied, header, changed)
    table, _ = cleaned_of(copied, tmp_path)
    assert sorted(table["usage"]) == ["", "", "Smart Casual"]
    splits = ["train", "validation", "test"]
    table = pd.DataFrame({column: ["a"] * 3 for column in LABEL_COLUMNS} | {"group": list("123"), "split": splits})
    lines = describe_splits(table.assign(usage=["Casual", "", ""]))
    assert [line.strip() for line in lines[-3:]] == [
        "1  classes of usage",
        "1    not in validation: Casual",
        "1    not in test: Casual",
    ]
