import pytest

from data_prep.tables import SourceError, accepted_labels, read_cleaned, read_table

OWN = "id,group,split,fabric\n0108775015,style-0,train,cotton|linen\n1001,7,validation,?\n"
ROWS = [
    {"id": "0108775015", "group": "style-0", "split": "train", "fabric": "cotton|linen"},
    {"id": "1001", "group": "7", "split": "validation", "fabric": ""},
]


@pytest.mark.parametrize(
    "data",
    [
        OWN.encode(),
        OWN.replace(",", ";").encode("cp1252"),
        OWN.replace(",", "\t").encode("utf-16"),
        OWN.replace("\n", "\r").encode("utf-8-sig"),
        OWN.replace("id,group,split,", ' ID , "Group",SPLIT,').encode(),
        OWN.replace("1001,7,", "1001.0,7.0,").encode(),
        OWN.replace("\n", ",,\n").replace("fabric,,", "fabric").encode(),
    ],
    ids=["plain", "semicolons", "utf-16 tabs", "old line ends", "other header", "floats", "padded rows"],
)
def test_own_tables_are_read_as_people_save_them(data, tmp_path):
    (tmp_path / "own.csv").write_bytes(data)
    assert read_cleaned(tmp_path / "own.csv").to_dict("records") == ROWS


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("group", "groups", "own.csv lacks the columns ['group']"),
        (OWN, OWN.splitlines()[0], "own.csv has no rows"),
        ("1001,", "", "own.csv, row 3: 3 fields, but 4 columns"),
        ("1001", "0108775015", "own.csv, row 3: the id '0108775015' is repeated"),
        ("1001", "../1001", "own.csv, row 3: the id '../1001' cannot be the name"),
        ("validation", "dev", "own.csv, row 3: the split 'dev' is none of train"),
        ("cotton", "x" * 200_000, "own.csv, row 2: field larger than field limit"),
        ("cotton", '"cotton', "own.csv, row 3: unexpected end of data"),
        ("cotton", "\x81\x8d", "own.csv is neither UTF-8, UTF-16 nor Windows-1252; save it as UTF-8"),
    ],
    ids=[str(number) for number in range(9)],
)
def test_unusable_tables_name_file_and_row(old, new, message, tmp_path):
    (tmp_path / "own.csv").write_text(OWN.replace(old, new), encoding="latin-1")
    with pytest.raises(SourceError) as refusal:
        read_cleaned(tmp_path / "own.csv")
    assert message in str(refusal.value)


def test_quoted_fields_may_hold_lines():
    table = read_table(b'id,name\n1,"a, b\nc"\n2,d\n', "t.csv", ("id",))
    assert table["name"].to_dict() == {3: "a, b\nc", 4: "d"}


def test_accepted_labels_are_split_best_first():
    assert accepted_labels(" Navy Blue| Black |") == ["Navy Blue", "Black"]
    assert accepted_labels("?") == accepted_labels("") == []
