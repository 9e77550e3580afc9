import json
import os
import pickle
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from PIL import Image, ImageChops

from fashion_model import FashionClassifier, ImageError
from fashion_model.classifier import DETAIL, WORKERS, open_for_network
from fashion_model.images import open_image
from tests.conftest import NAMES, PRODUCTS, ROOT, checkpoint_with_finder

PATHS = sorted((PRODUCTS / "images").iterdir())[:7]


def stacked(predictions, name):
    return np.stack([prediction[name].probabilities for prediction in predictions])


def test_prediction_gives_labels_and_a_document(classifier):
    (prediction,) = classifier.predict(PATHS[:1])
    assert list(prediction.attributes) == [attribute.name for attribute in classifier.attributes] == list(NAMES)
    document = json.loads(json.dumps(prediction.to_document(top=3)))
    assert list(document) == [*NAMES, "is_fashion", "fashion_score", "fashion_threshold"]
    for name in NAMES:
        attribute = prediction[name]
        assert attribute.probabilities.sum() == pytest.approx(1, abs=1e-5)
        order = np.argsort(-attribute.probabilities)[:3]
        rounded = [[attribute.labels[i], round(float(attribute.probabilities[i]), 4)] for i in order]
        assert document[name] == {"label": rounded[0][0], "confidence": rounded[0][1], "top": rounded}
    assert document["is_fashion"] is (document["fashion_score"] >= document["fashion_threshold"]) is True
    assert document["fashion_score"] == round(prediction.fashion_score, 4)
    assert document["fashion_threshold"] == round(classifier.config.fashion_threshold, 4)
    assert [len(prediction.to_document(**top)["color"]["top"]) for top in ({}, {"top": 0})] == [5, 46]
    assert pickle.loads(pickle.dumps(prediction)).gender.label == prediction["gender"].label
    with pytest.raises(AttributeError, match="no attribute 'usage'; there are color, product_type, season, gender"):
        _ = prediction.usage


def test_fashion_score_is_explained(classifier):
    """A black picture shows no fashion product."""
    for image, label, other in ((PATHS[0], "yes", "no"), (Image.new("RGB", (80, 60)), "no", "yes")):
        explained, overlays = classifier.predict_and_explain(image, ["is_fashion"])
        assert explained.is_fashion is (label == "yes")
        chosen = classifier.explain(image, "is_fashion", label)
        assert ImageChops.difference(overlays["is_fashion"], chosen).getextrema()[0][1] <= 2
        assert ImageChops.difference(chosen, classifier.explain(image, "is_fashion", other)).getbbox()


def test_every_kind_of_source_is_predicted_alike(classifier, tmp_path):
    expected = stacked(classifier.predict(PATHS), "color")
    images = [PATHS[0], str(PATHS[1]), PATHS[2].read_bytes(), tmp_path / "bad.jpg", *map(Image.open, PATHS[3:])]
    results = list(classifier.stream(iter(images), batch_size=2))
    assert [image for image, _ in results] == images
    assert isinstance(results.pop(3)[1], ImageError)
    assert np.allclose(stacked([prediction for _, prediction in results], "color"), expected, atol=1e-4)
    with pytest.raises(ImageError, match=r"bad\.jpg: The file cannot be read"):
        classifier.predict(images)
    with pytest.raises(TypeError, match="a list of images"):
        classifier.predict(str(PATHS[0]))


def test_stream_reads_few_batches_ahead(classifier):
    """Nothing more after it is closed."""
    asked, read = [], []

    def images():
        for path in PATHS * 20:
            asked.append(path)
            yield path

    stream = classifier.stream(images(), 1, lambda path: read.append(path) or open_image(path))
    next(stream)
    assert len(asked) == WORKERS + 1
    stream.close()
    known = len(read)
    time.sleep(0.2)
    assert len(read) == known <= WORKERS + 1


@pytest.mark.parametrize("size", [(2 * DETAIL, 3 * DETAIL), (333, 200), (1, 50)])
def test_overlay_has_the_photographs_size(classifier, tmp_path, size):
    """Although no more of a large JPEG file is decoded than the network needs."""
    large = tmp_path / "large.jpg"
    open_image(PATHS[0]).resize(size).save(large)
    assert min(open_for_network(large).size) == min(DETAIL, *size)
    prediction, overlays = classifier.predict_and_explain(large, ["color"])
    assert overlays["color"].size == size
    whole = classifier.predict([open_image(large)])[0]
    for name in NAMES:
        assert np.allclose(prediction[name].probabilities, whole[name].probabilities, atol=0.01)


@pytest.mark.parametrize("settings", [{"method": "layercam"}, {"layers": (-1, 2)}, {"opacity": 0.3}, {"label": "Red"}])
def test_explain_takes_settings_and_labels(classifier, settings):
    label = classifier.predict(PATHS[:1])[0].color.label
    plain = classifier.explain(PATHS[0], "color", label)
    assert label != "Red"
    assert ImageChops.difference(plain, classifier.explain(PATHS[0], "color")).getbbox() is None
    assert ImageChops.difference(plain, classifier.explain(PATHS[0], "color", **settings)).getbbox() is not None


def test_predict_and_explain_agrees_with_both(classifier):
    prediction, overlays = classifier.predict_and_explain(PATHS[0])
    assert list(overlays) == list(NAMES)
    alone = classifier.predict(PATHS[:1])[0]
    for name in NAMES:
        assert np.allclose(prediction[name].probabilities, alone[name].probabilities, atol=1e-5)
        assert ImageChops.difference(overlays[name], classifier.explain(PATHS[0], name)).getextrema()[0][1] <= 2
    assert classifier.predict_and_explain(PATHS[0], [])[1] == {}
    with pytest.raises(ValueError, match="given for color"):
        classifier.predict_and_explain(PATHS[0], ["season"], {"color": "Red"})


FORK = """
import multiprocessing
import numpy as np
from fashion_model import FashionClassifier

classifier, file = FashionClassifier.from_pretrained(), "fashion_model/examples/2650.jpg"

def predict():
    classifier.find(file)
    map = classifier.predict_and_map(file, 1)[1]["color"]
    return np.append(classifier.predict([file] * 8)[0]["color"].probabilities, map)

for engine in (classifier.backbone.engine, None):
    classifier.backbone.engine = engine
    before = predict()
    with multiprocessing.get_context("fork").Pool(1) as pool:
        forked = pool.apply_async(predict).get(timeout=200)
    print(abs(forked - before).max())
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="only Unix forks")
def test_forked_process_answers_the_same():
    """With ONNX Runtime and with PyTorch."""
    command, environment = (
        [sys.executable, "-c", FORK],
        os.environ | {"OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "PASSIVE"},
    )
    ended = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, timeout=500, check=True)
    assert [float(difference) < 1e-4 for difference in ended.stdout.split()] == [True, True]


def test_callers_pytorch_changes_nothing(tmp_path):
    checkpoint_with_finder(tmp_path, threshold=0.0)

    def results():
        random = torch.get_rng_state()
        classifier = FashionClassifier.from_pretrained(tmp_path)
        prediction, overlays = classifier.predict_and_explain(PATHS[0], layers=(-1, 2))
        (alone,) = classifier.predict(PATHS[:1])
        assert torch.equal(torch.get_rng_state(), random)
        products = [product.to_document() for product in classifier.find(PATHS[0])]
        assert products
        return [prediction.to_document(), products, alone.to_document(), *(x.tobytes() for x in overlays.values())]

    expected = results()
    for mode in (torch.inference_mode(), torch.autocast("cpu", torch.bfloat16), torch.device("meta")):
        with mode:
            assert results() == expected
    torch.set_default_dtype(torch.float64)
    try:
        assert results() == expected
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
