"""The functions behind the page's events and endpoints, called without a server."""

import gradio as gr
import pytest

from fashion_model.app.disk import folder
from fashion_model.app.handlers import label_all, photograph_at, read_photograph, received_files
from fashion_model.app.single import SingleEvents, field_of
from fashion_model.app.uploads import TOO_LARGE
from tests.fashion_model.app.conftest import PATHS, SHOES


@pytest.mark.parametrize(
    "payload", ["photo.jpg", ["photo.jpg"], {"path": 7}, {"path": "\0"}, {"url": "data:image/jpeg;base64,AAAA"}]
)
def test_payload_that_is_no_upload_is_a_message(payload):
    with pytest.raises(gr.Error, match="has to be uploaded"):
        read_photograph(payload)


def test_path_that_leaves_the_folder_is_refused():
    with pytest.raises(gr.Error, match="has to be uploaded"):
        read_photograph({"path": str(folder() / ".." / "x.jpg")})


@pytest.mark.parametrize("payload", [7, "photo.jpg", {"path": "photo.jpg"}])
def test_files_that_are_no_list_are_a_message(payload):
    with pytest.raises(gr.Error, match="have to be a list of uploaded files"):
        received_files(payload)


def test_progress_is_reported_after_each_photograph(tiny_classifier, uploaded):
    counts = []
    files = [uploaded(path) for path in PATHS[:3]]
    labelled = list(label_all(tiny_classifier, files, lambda *numbers: counts.append(numbers)))
    assert counts == [(n, 3) for n in (1, 2, 3)]
    assert [name for name, _, _ in labelled] == [path.name for path in PATHS[:3]]
    name, photograph = photograph_at(files, 1)
    assert name == PATHS[1].name
    assert photograph.size == read_photograph(files[1]).size


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
        assert f"&quot;file&quot;: &quot;{SHOES.name}&quot;" in answer


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("pick", [event({"example": "../secret.jpg"})], "There is no such example."),
        ("send", [event({"path": "/etc/hostname"})], "has to be uploaded"),
        ("send", [event(None)], "has to be uploaded"),
        ("fetch", ["ftp://example.com/x.jpg"], "begin with http://"),
        ("fetch", [None], "begin with http://"),
        ("refuse", [], TOO_LARGE),
    ],
)
def test_event_without_a_photograph_is_a_sentence(events, name, arguments, message):
    shown, answer = getattr(events, name)(*arguments)
    assert shown in (None, gr.skip())
    assert message in answer


def test_empty_box_has_no_answer(events):
    assert events.show(None) == (gr.skip(), "")
    assert field_of(event([1]), "path") is None
