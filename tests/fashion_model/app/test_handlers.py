import shutil
from pathlib import Path

import gradio as gr
import numpy as np
import pytest
from gradio.utils import get_upload_folder

from fashion_model.app.handlers import MIN_CONFIDENCE, analyse, analyse_all, notice_on, received_files
from fashion_model.app.single import EXAMPLES
from fashion_model.predictions import AttributePrediction, Prediction


@pytest.mark.parametrize("payload", ["photo.jpg", ["photo.jpg"], {"path": 7}, {"url": "data:image/jpeg;base64,AAAA"}])
def test_a_payload_of_another_shape_is_a_message_too(tiny_classifier, payload):
    with pytest.raises(gr.Error, match="has to be uploaded"):
        analyse(tiny_classifier, payload, "color", 0.7)


@pytest.mark.parametrize("payload", [7, "photo.jpg", {"path": "photo.jpg"}])
def test_files_that_are_no_list_are_a_message_too(payload):
    with pytest.raises(gr.Error, match="have to be a list of uploaded files"):
        received_files(payload)


def test_the_progress_of_many_photographs_is_told_after_each(tiny_classifier, tmp_path):
    folder = Path(get_upload_folder()) / tmp_path.name
    folder.mkdir(parents=True)
    files = [{"path": str(shutil.copy(path, folder)), "orig_name": path.name} for path in EXAMPLES[:3]]
    told = []
    analyse_all(tiny_classifier, files, lambda done, unit: told.append((done, unit)))
    assert told == [((n, 3), "photographs") for n in (1, 2, 3)]


def prediction_of(name, is_fashion, *probabilities):
    labels = tuple(f"label {i}" for i in range(len(probabilities)))
    answer = AttributePrediction(labels, np.array(probabilities, dtype=np.float32))
    return Prediction({name: answer}, 0.0, is_fashion)


def test_the_notice_says_what_is_no_fashion_and_what_is_only_unsure():
    assert notice_on(prediction_of("product_type", True, 0.9, 0.1)) == ""
    assert "does not look like" in notice_on(prediction_of("product_type", False, 0.9, 0.1))
    assert "hard to tell" in notice_on(prediction_of("product_type", True, MIN_CONFIDENCE - 0.01, 0.31, 0.3))
    assert notice_on(prediction_of("product_type", True, MIN_CONFIDENCE + 0.01, 0.31, 0.28)) == ""


def test_without_a_product_type_the_page_never_says_that_it_is_unsure():
    assert notice_on(prediction_of("color", True, 0.39, 0.31, 0.3)) == ""
    assert "does not look like" in notice_on(prediction_of("color", False, 0.39, 0.31, 0.3))
