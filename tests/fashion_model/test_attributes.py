import json

import pytest

from fashion_model.attributes import Attribute, LabelEncoders
from tests.conftest import ATTRIBUTES, NAMES, USAGE, encoders_of


def test_the_default_has_the_promised_attributes(classifier):
    assert classifier.attributes == ATTRIBUTES
    assert NAMES == ("color", "product_type", "season", "gender")
    assert [a.column for a in classifier.attributes] == ["baseColour", "articleType", "season", "gender"]


@pytest.mark.parametrize("name", ["Color", "product type", "1st", "", "a-b", 7, None])
def test_a_name_that_is_no_identifier_is_refused(name):
    with pytest.raises(ValueError, match="an attribute"):
        Attribute(name, "column", "Title")


def test_an_attribute_needs_a_column_and_a_title():
    for column, title in (("", "Title"), ("column", ""), (None, "Title"), ("column", 3)):
        with pytest.raises(ValueError, match="needs a name, a column and a title"):
            Attribute("color", column, title)


def test_labels_are_in_alphabetical_order():
    columns = {"color": ["Red", "Blue", "Red"], "usage": ["Sports"]}
    encoders = LabelEncoders.fit(columns)
    assert encoders.labels["color"] == ("Blue", "Red")
    assert encoders.num_classes == {"color": 2, "usage": 1}


def test_labels_are_found_by_attribute_and_text():
    encoders = encoders_of(ATTRIBUTES)
    assert encoders.target("season", "season 2") == ("season", 2)
    assert encoders.target("season") == ("season", None)
    with pytest.raises(ValueError, match="unknown attribute 'colour'; the attributes are color, product_type, season"):
        encoders.target("colour")
    with pytest.raises(ValueError, match="unknown label 'Spoon' for season"):
        encoders.target("season", "Spoon")


def test_encoders_survive_the_round_trip(tmp_path):
    attributes = (*ATTRIBUTES, USAGE)
    encoders = LabelEncoders(encoders_of(attributes).labels | {"color": ("Größe", "紅", "b")})
    encoders.save(tmp_path / "x.json", attributes)
    assert LabelEncoders.load(tmp_path / "x.json", attributes) == encoders
    assert list(json.loads((tmp_path / "x.json").read_text(encoding="utf-8"))) == [a.column for a in attributes]
    with pytest.raises(ValueError, match="columns of no attribute: usage"):
        LabelEncoders.load(tmp_path / "x.json", ATTRIBUTES)
