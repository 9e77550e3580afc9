"""The events of the tab for one photograph, called without a server."""

import gradio as gr
import pytest

from fashion_model import ImageError
from fashion_model.app.disk import folder
from fashion_model.app.single import EXAMPLES, SingleEvents
from fashion_model.app.uploads import TOO_LARGE, read_photograph
from fashion_model.images import open_image
from tests.fashion_model.app.conftest import SHOES


@pytest.mark.parametrize(
    "payload",
    [{"path": 7}, {"path": "\0"}, {"url": "data:image/jpeg;base64,AAAA"}, {"path": str(folder() / ".." / "x.jpg")}],
)
def test_payload_that_is_no_upload_is_refused(payload):
    with pytest.raises(ImageError, match="has to be uploaded"):
        read_photograph(payload)


@pytest.fixture
def events(tiny_classifier):
    return SingleEvents(tiny_classifier)


def event(data):
    return gr.EventData(None, data)


def test_each_event_answers_its_photograph(events, uploaded):
    photo = uploaded(SHOES)
    for (shown, answer), expected in (
        (events.show(photo), gr.skip()),
        (events.pick(event({"example": SHOES.name})), str(SHOES)),
        (events.send(event({"path": photo["path"], "name": SHOES.name})), photo["path"]),
    ):
        assert shown == expected
        assert f"&#34;file&#34;: &#34;{SHOES.name}&#34;" in answer


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("pick", [event({"example": "../secret.jpg"})], "There is no such example."),
        ("pick", [event([1])], "There is no such example."),
        ("send", [event({"path": "/etc/hostname"})], "has to be uploaded"),
        ("send", [event(None)], "has to be uploaded"),
        ("fetch", ["ftp://example.com/x.jpg"], "begin with http://"),
        ("fetch", [None], "begin with http://"),
        ("refuse", [], TOO_LARGE),
    ],
)
def test_event_without_photograph_is_a_sentence(events, name, arguments, message):
    shown, answer = getattr(events, name)(*arguments)
    assert shown in (None, gr.skip())
    assert message in answer


def test_empty_box_has_no_answer(events):
    assert events.show(None) == (gr.skip(), "")


def test_examples_are_small_photographs():
    assert [path.name.startswith("phone-") for path in EXAMPLES] == [True] * 6 + [False] * 6  # those come first
    for path in EXAMPLES:
        assert path.stat().st_size < 50_000
        assert max(open_image(path).size) <= 480
