import shutil
from pathlib import Path

import gradio as gr
import pytest
from gradio.utils import get_upload_folder

from fashion_model.app.examples import EXAMPLES
from fashion_model.app.handlers import classified, label_all, photograph_at, read_photograph, received_files

PATHS = [example.path for example in EXAMPLES.values()]


@pytest.fixture
def uploaded(tmp_path):
    """Three photographs as gradio's FileData."""
    folder = Path(get_upload_folder()) / tmp_path.name
    folder.mkdir(parents=True)
    return [{"path": str(shutil.copy(path, folder)), "orig_name": path.name} for path in PATHS[:3]]


@pytest.mark.parametrize("payload", ["photo.jpg", ["photo.jpg"], {"path": 7}, {"url": "data:image/jpeg;base64,AAAA"}])
def test_a_payload_of_another_shape_is_a_message_too(payload):
    with pytest.raises(gr.Error, match="has to be uploaded"):
        read_photograph(payload)


@pytest.mark.parametrize("payload", [7, "photo.jpg", {"path": "photo.jpg"}])
def test_files_that_are_no_list_are_a_message_too(payload):
    with pytest.raises(gr.Error, match="have to be a list of uploaded files"):
        received_files(payload)


def test_the_progress_of_many_photographs_is_told_after_each(tiny_classifier, uploaded):
    told = []
    found = list(label_all(tiny_classifier, uploaded, lambda *counts: told.append(counts)))
    assert told == [(n, 3) for n in (1, 2, 3)]
    assert [name for name, _, _ in found] == [path.name for path in PATHS[:3]]


def test_one_of_many_is_opened_by_its_place(tiny_classifier, uploaded):
    name, photograph = photograph_at(uploaded, 1)
    assert name == PATHS[1].name
    assert photograph.size == read_photograph(uploaded[1]).size
    assert classified(tiny_classifier, uploaded[1]).file == name
