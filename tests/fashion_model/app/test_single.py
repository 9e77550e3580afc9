import shutil
from concurrent.futures import ThreadPoolExecutor

import gradio as gr
import numpy as np
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

from fashion_model import FashionClassifier
from fashion_model.app.handlers import notice_on
from fashion_model.app.page import build_demo
from fashion_model.app.single import EXAMPLES, TOP_CLASSES
from fashion_model.checkpoint import Checkpoint
from fashion_model.images import open_image
from tests.conftest import ATTRIBUTES, NAMES, ROOT, USAGE, encoders_of, random_model, serving

EXAMPLE = EXAMPLES[0]


def check_answer(answer, prediction):
    """What a client gets for an attribute is what the network says."""
    assert answer["label"] == prediction.label
    top = prediction.top(TOP_CLASSES)
    assert [c["label"] for c in answer["confidences"]] == [label for label, _ in top]
    assert [c["confidence"] for c in answer["confidences"]] == pytest.approx([p for _, p in top], abs=1e-4)
    assert len(answer["confidences"]) >= 3


def check_overlay(path, expected):
    """JPEG on the way changes it little."""
    served = open_image(path)
    assert served.size == expected.size
    assert np.abs(np.asarray(served).astype(int) - np.asarray(expected).astype(int)).mean() < 4


def names_of_outputs(client):
    """What the page calls the outputs of /predict, in order."""
    api = client.view_api(return_format="dict", print_info=False)["named_endpoints"]["/predict"]
    return [output["label"] for output in api["returns"]]


def test_predict_returns_four_labels_the_overlay_and_the_notice_in_order(client, classifier):
    result = client.predict(handle_file(EXAMPLE), api_name="/predict")
    assert names_of_outputs(client)[:5] == [*(a.title for a in ATTRIBUTES), "Where the network looked"]
    assert len(result) == 6
    color, product_type, season, gender, overlay, notice = result
    prediction = classifier.predict([EXAMPLE])[0]
    check_answer(color, prediction.color)
    check_answer(product_type, prediction.product_type)
    check_answer(season, prediction.season)
    check_answer(gender, prediction.gender)
    check_overlay(overlay, classifier.explain(EXAMPLE, "product_type"))
    assert notice == ""


def test_a_fifth_attribute_comes_after_the_overlay(usage_client, usage_classifier):
    result = usage_client.predict(handle_file(EXAMPLE), "usage", api_name="/predict")
    assert names_of_outputs(usage_client)[4:6] == ["Where the network looked", USAGE.title]
    assert len(result) == 7
    color, product_type, season, gender, overlay, usage, notice = result
    prediction = usage_classifier.predict([EXAMPLE])[0]
    for name, answer in zip((*NAMES, "usage"), (color, product_type, season, gender, usage), strict=True):
        check_answer(answer, prediction[name])
    check_overlay(overlay, usage_classifier.explain(EXAMPLE, "usage"))
    assert notice == notice_on(prediction)


def test_the_places_of_the_outputs_do_not_depend_on_the_checkpoints_order():
    color, _, _, gender = ATTRIBUTES
    attributes = (USAGE, gender, color)
    checkpoint = Checkpoint(random_model(attributes=attributes), encoders_of(attributes), "other")
    classifier = FashionClassifier(checkpoint)
    with serving(classifier) as address:
        result = Client(address, verbose=False).predict(handle_file(EXAMPLE), api_name="/predict")
    prediction = classifier.predict([EXAMPLE])[0]
    assert len(result) == 5
    for name, answer in zip(("color", "gender", "usage"), (result[0], result[1], result[3]), strict=True):
        check_answer(answer, prediction[name])
    check_overlay(result[2], classifier.explain(EXAMPLE, "usage"))  # the first one, as it has no product type
    assert result[4] == notice_on(prediction)


def test_each_attribute_of_the_checkpoint_can_be_explained(usage_classifier):
    (choice,) = [c for c in build_demo(usage_classifier).blocks.values() if isinstance(c, gr.Radio)]
    assert choice.choices == [(a.title, a.name) for a in (*ATTRIBUTES, USAGE)]
    assert choice.value == "product_type"


def test_what_is_no_fashion_product_gets_a_notice_beside_the_labels(client, tmp_path):
    picture = tmp_path / "noise.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 300, 3), dtype=np.uint8)).save(picture)
    *labels, overlay, notice = client.predict(handle_file(picture), api_name="/predict")
    assert "does not look like a photograph of a fashion product" in notice
    assert len(labels) == 4
    with Image.open(overlay) as image:
        assert image.size == (300, 300)


def test_the_overlay_is_as_opaque_as_asked_for(client, classifier):
    *_, path, _ = client.predict(handle_file(EXAMPLE), "color", 0.2, api_name="/predict")
    check_overlay(path, classifier.explain(EXAMPLE, "color", opacity=0.2))
    for wrong in (1.5, "much"):
        with pytest.raises(AppError, match="the opacity must be from 0 to 1"):
            client.predict(handle_file(EXAMPLE), "color", wrong, api_name="/predict")


def test_the_overlay_explains_the_attribute_asked_for(client, classifier):
    for name in ("product_type", "color"):
        path = client.predict(handle_file(EXAMPLE), name, api_name="/predict")[4]
        check_overlay(path, classifier.explain(EXAMPLE, name))


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "empty"), (b"a letter", "not an image"), (EXAMPLE.read_bytes()[:2000], "damaged or cut off")],
)
def test_what_is_no_photograph_is_a_message_to_the_client(client, tmp_path, content, message):
    path = tmp_path / "upload.jpg"
    path.write_bytes(content)
    with pytest.raises(AppError, match=message):
        client.predict(handle_file(path), api_name="/predict")


def test_nothing_and_an_unknown_attribute_are_messages_to_the_client(client):
    with pytest.raises(AppError, match="choose a photograph first"):
        client.predict(None, api_name="/predict")
    with pytest.raises(AppError, match="unknown attribute"):
        client.predict(handle_file(EXAMPLE), "price", api_name="/predict")
    with pytest.raises(AppError, match="unknown attribute 'usage'"):  # which another checkpoint has
        client.predict(handle_file(EXAMPLE), "usage", api_name="/predict")


def test_a_path_on_the_server_is_not_opened(client, tmp_path):
    secret = shutil.copyfile(EXAMPLE, tmp_path / "secret.jpg")
    with pytest.raises(AppError, match="has to be uploaded"):
        client.predict({"path": str(secret)}, api_name="/predict")


def test_a_file_beyond_the_limit_is_refused(client, tmp_path):
    path = tmp_path / "large.png"
    Image.effect_noise((3600, 3600), 100).save(path)
    assert path.stat().st_size > 10 * 2**20
    with pytest.raises(AppError, match="exceeds 10 MB"):
        client.predict(handle_file(path), api_name="/predict")


@pytest.mark.slow
def test_several_visitors_get_their_own_answers(served, classifier):
    def ask(path):
        return Client(served, verbose=False).predict(handle_file(path), api_name="/predict")[1]["label"]

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(ask, EXAMPLES))
    assert answers == [p.product_type.label for p in classifier.predict(EXAMPLES)]


def test_the_examples_are_small_photographs_in_the_repository():
    catalogue = [path for path in EXAMPLES if path.stem.isdigit()]
    assert len(EXAMPLES) == 12
    assert EXAMPLES[6:] == catalogue  # phone photographs come first
    for path in EXAMPLES:
        assert path.is_relative_to(ROOT / "fashion_model" / "examples")
        assert path.stat().st_size < 50_000
        assert max(open_image(path).size) <= 480
