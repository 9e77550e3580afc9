import dataclasses
import json
import threading
import weakref

import numpy as np
import pytest
import torch
from PIL import Image, ImageChops, ImageOps

from fashion_model import FashionClassifier, ImageError
from fashion_model.attributes import ATTRIBUTES, NAMES, LabelEncoders, attribute_named
from fashion_model.checkpoint import Checkpoint, save_checkpoint
from fashion_model.classifier import BATCH_SIZE
from fashion_model.images import open_image
from fashion_model.model import ModelConfig, MultiTaskClassifier
from fashion_model.transforms import eval_transform
from tests.conftest import PRODUCTS

PATHS = sorted((PRODUCTS / "images").iterdir())[:7]


def stacked(predictions, name):
    return np.stack([prediction[name].probabilities for prediction in predictions])


def test_each_attribute_is_a_probability_distribution_over_all_its_classes(classifier):
    for prediction in classifier.predict(PATHS):
        for name in NAMES:
            answer = prediction[name]
            assert len(answer.probabilities) == len(answer.labels) == classifier.config.num_classes[name]
            assert answer.probabilities.sum() == pytest.approx(1, abs=1e-5)
            assert (answer.probabilities >= 0).all()


def test_label_confidence_and_top_agree(classifier):
    prediction = classifier.predict(PATHS[:1])[0]
    top = prediction.color.top(5)
    assert len(top) == 5
    assert top[0] == (prediction.color.label, prediction.color.confidence)
    assert [confidence for _, confidence in top] == sorted((c for _, c in top), reverse=True)
    assert len(prediction.season.top(99)) == 4
    assert prediction["gender"] is prediction.gender


def test_paths_bytes_and_images_in_any_batches_give_the_same_answers(classifier):
    expected = classifier.predict(PATHS)
    for images, size in [
        ([str(path) for path in PATHS], 1),
        ([path.read_bytes() for path in PATHS], 3),
        ((Image.open(path) for path in PATHS), 100),
    ]:
        predictions = classifier.predict(images, batch_size=size)
        for name in NAMES:
            assert np.allclose(stacked(predictions, name), stacked(expected, name), atol=1e-4)
    assert classifier.predict([]) == []


def test_a_batch_size_below_one_and_an_unreadable_file_are_errors(classifier, tmp_path):
    with pytest.raises(ValueError, match="batch size"):
        classifier.predict(PATHS, batch_size=0)
    (tmp_path / "bad.jpg").write_bytes(b"no photograph")
    with pytest.raises(ImageError, match=r"bad\.jpg: The file is not an image"):
        classifier.predict([PATHS[0], tmp_path / "bad.jpg"])
    with pytest.raises(TypeError, match="a list of images"):
        classifier.predict(str(PATHS[0]))


def test_a_stream_reads_a_batch_ahead_and_goes_on_after_a_bad_one(classifier, tmp_path):
    asked = []

    def images():
        for path in [*PATHS[:3], tmp_path / "nothing.jpg", *PATHS[3:]]:
            asked.append(path)
            yield path

    stream = classifier.stream(images(), batch_size=2)
    first, prediction = next(stream)
    assert first == PATHS[0]
    assert asked == PATHS[:2]
    rest = [result for _, result in stream]
    assert [isinstance(result, ImageError) for result in rest] == [False, False, True, False, False, False, False]
    expected = classifier.predict(PATHS)
    for name in NAMES:
        got = [prediction, *(r for r in rest if not isinstance(r, ImageError))]
        assert np.allclose(stacked(got, name), stacked(expected, name), atol=1e-4)


def test_the_backbone_runs_once_a_batch(tiny_model, tiny_encoders, tmp_path):
    save_checkpoint(tmp_path / "tiny", tiny_model, tiny_encoders)
    tiny = FashionClassifier.from_pretrained(tmp_path / "tiny")
    sizes = []
    tiny._model.backbone.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    assert len(tiny.predict(PATHS * 10)) == 70
    full, rest = divmod(70, BATCH_SIZE)
    assert sizes == [BATCH_SIZE] * full + [rest]
    sizes.clear()
    list(tiny.stream([tmp_path / "nothing.jpg", *PATHS, tmp_path / "nothing.jpg"], batch_size=4))
    assert sizes == [3, 4]


def test_one_decoded_photograph_is_held_at_a_time(classifier):
    seen, held = [], []

    def read(path):
        held.append(sum(photograph() is not None for photograph in seen))
        photograph = open_image(path)
        seen.append(weakref.ref(photograph))
        return photograph

    assert len(list(classifier.stream(PATHS, read=read))) == len(PATHS)
    assert held == [0] * len(PATHS)


@pytest.mark.parametrize("size", [(60, 80), (333, 200), (1, 50)])
def test_the_overlay_has_the_size_of_the_photograph_and_the_photograph_stays(classifier, size):
    photograph = open_image(PATHS[0]).resize(size)
    before = photograph.tobytes()
    result = classifier.explain(photograph, "product_type")
    assert result.size == size
    assert result.mode == "RGB"
    assert photograph.tobytes() == before


def test_explain_takes_the_predicted_class_or_any_other(classifier):
    label = classifier.predict(PATHS[:1])[0].product_type.label
    other = next(x for x in classifier.encoders.labels["product_type"] if x != label)
    predicted = classifier.explain(PATHS[0], "product_type")
    assert ImageChops.difference(predicted, classifier.explain(PATHS[0], "product_type", label)).getbbox() is None
    assert ImageChops.difference(predicted, classifier.explain(PATHS[0], "product_type", other)).getbbox() is not None


@pytest.mark.parametrize("layers", [(-1,), (5,), (-1, 5)])
def test_what_comes_before_the_maps_runs_once_for_all_attributes(classifier, layers):
    model = classifier._model
    runs = [0] * len(model.backbone)

    def count(stage):
        def hook(module, arguments, output):
            runs[stage] += len(output)

        return hook

    handles = [stage.register_forward_hook(count(i)) for i, stage in enumerate(model.backbone)]
    classifier.predict_and_explain(PATHS[0], layers=layers)
    for handle in handles:
        handle.remove()
    first = min(layer % len(model.backbone) for layer in layers)
    views = 2 if classifier.config.mirrored else 1  # of one photograph
    assert runs[: first + 1] == [views] * (first + 1)
    assert runs[first + 1 :] == [views * (1 + len(NAMES))] * (len(runs) - first - 1)  # and then one for each attribute


@pytest.mark.parametrize("backbone", ["efficientnet_lite0", "vit_ti_8"])
@pytest.mark.parametrize("settings", [{}, {"layers": (-1,)}, {"layers": (4, -1), "method": "gradcam"}])
def test_a_photograph_and_its_mirror_image_get_the_same_answer_and_mirrored_maps(tiny_encoders, backbone, settings):
    torch.manual_seed(0)
    config = ModelConfig.for_backbone(backbone, tiny_encoders.num_classes, image_size=(64, 48), mirrored=True)
    classifier = FashionClassifier(Checkpoint(MultiTaskClassifier(config), tiny_encoders, "tiny"))
    photograph = open_image(PATHS[0]).resize((60, 80))
    answers, overlays = zip(
        *(classifier.predict_and_explain(p, ["color"], **settings) for p in (photograph, ImageOps.mirror(photograph))),
        strict=True,
    )
    (batched,) = classifier.predict([photograph])
    for name in NAMES:
        assert np.allclose(answers[0][name].probabilities, batched[name].probabilities, atol=1e-5)
        assert np.allclose(answers[0][name].probabilities, answers[1][name].probabilities, atol=1e-3)
    plain, mirrored = (np.asarray(o["color"]).astype(float) for o in overlays)
    assert np.abs(plain - mirrored[:, ::-1]).mean() < 0.1 * np.abs(plain - mirrored).mean()


def test_explain_takes_a_method_layers_and_an_opacity(classifier):
    plain = classifier.explain(PATHS[0], "color")
    for settings in ({"method": "layercam", "layers": (5,)}, {"layers": (-1, 5)}, {"opacity": 0.3}):
        assert ImageChops.difference(plain, classifier.explain(PATHS[0], "color", **settings)).getbbox() is not None
    with pytest.raises(ValueError, match="unknown method"):
        classifier.explain(PATHS[0], "color", method="lime")
    with pytest.raises(ValueError, match="layers must be"):
        classifier.predict_and_explain(PATHS[0], [], layers=(40,))


def test_predict_and_explain_says_what_predict_and_explain_say(classifier):
    prediction, overlays = classifier.predict_and_explain(PATHS[0])
    assert list(overlays) == list(NAMES)
    assert classifier.predict_and_explain(PATHS[0], [])[1] == {}
    alone = classifier.predict(PATHS[:1])[0]
    for name in NAMES:
        assert np.allclose(prediction[name].probabilities, alone[name].probabilities, atol=1e-5)
        assert ImageChops.difference(overlays[name], classifier.explain(PATHS[0], name)).getextrema()[0][1] <= 2


def test_unknown_attributes_and_labels_are_named(classifier):
    with pytest.raises(ValueError, match="unknown attribute 'price'"):
        classifier.explain(PATHS[0], "price")
    with pytest.raises(ValueError, match="unknown label 'Spoon' for product_type"):
        classifier.explain(PATHS[0], "product_type", "Spoon")
    with pytest.raises(ValueError, match="given for color"):
        classifier.predict_and_explain(PATHS[0], ["season"], {"color": "Red"})


def test_one_classifier_serves_threads(classifier):
    expected = [classifier.explain(path, "color").tobytes() for path in PATHS[:4]]
    results = [None] * 4

    def work(i):
        results[i] = classifier.explain(PATHS[i], "color").tobytes()

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == expected


def test_the_temperature_of_the_config_is_applied(tiny_model, tiny_encoders, tmp_path):
    save_checkpoint(tmp_path / "plain", tiny_model, tiny_encoders)
    config = tmp_path / "plain" / "config.json"
    document = json.loads(config.read_text())
    document["temperatures"]["color"] = 100.0
    config.write_text(json.dumps(document))
    prediction = FashionClassifier.from_pretrained(tmp_path / "plain").predict(PATHS[:1])[0]
    assert np.ptp(prediction.color.probabilities) < 0.01


@torch.no_grad()
def test_the_threshold_of_the_config_decides_what_is_a_fashion_product(tiny_model, tiny_encoders):
    torch.manual_seed(0)
    images = torch.stack([eval_transform(tiny_model.config)(open_image(path)) for path in PATHS])
    pooled = tiny_model.pool(tiny_model.features(images))
    tiny_model.fashion.weight.normal_().div_(pooled.std(dim=0).norm())  # random features hardly differ
    tiny_model.fashion.bias.fill_(3)
    expected = tiny_model.fashion_scores(pooled).tolist()
    low, _, _, middle, *_, high = sorted(expected)
    for threshold, accepted in ((low - 1, 7), (middle - 1e-3, 4), (middle + 1e-3, 3), (high + 1, 0)):
        tiny_model.config = dataclasses.replace(tiny_model.config, fashion_threshold=threshold)
        found = FashionClassifier(Checkpoint(tiny_model, tiny_encoders, "tiny")).predict(PATHS)
        assert sum(prediction.is_fashion for prediction in found) == accepted
        assert [prediction.is_fashion for prediction in found] == [score >= threshold for score in expected]
        assert np.allclose([prediction.fashion_score for prediction in found], expected, atol=5e-4)


def test_the_network_that_is_served_is_a_copy(tiny_model, tiny_encoders):
    """Evaluation and training go on with theirs, batch norms and all."""
    before = {key: tensor.clone() for key, tensor in tiny_model.state_dict().items()}
    tiny_model.train()
    classifier = FashionClassifier(Checkpoint(tiny_model, tiny_encoders, "tiny"))
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in classifier._model.modules())
    assert len(classifier._model.backbone) == len(tiny_model.backbone)
    assert all(torch.equal(tensor, before[key]) for key, tensor in tiny_model.state_dict().items())
    assert tiny_model.training
    assert all(parameter.requires_grad for parameter in tiny_model.parameters())


def test_attributes_have_the_names_that_others_rely_on():
    assert NAMES == ("color", "product_type", "season", "gender")
    assert [a.column for a in ATTRIBUTES] == ["baseColour", "articleType", "season", "gender"]
    with pytest.raises(ValueError, match="color, product_type, season, gender"):
        attribute_named("colour")


def test_encoders_count_their_labels_in_alphabetical_order():
    columns = {"baseColour": ["Red", "Blue", "Red"], "articleType": ["Ties"], "season": ["Fall"], "gender": ["Men"]}
    encoders = LabelEncoders.fit(columns)
    assert encoders.labels["color"] == ("Blue", "Red")
    assert encoders.num_classes == {"color": 2, "product_type": 1, "season": 1, "gender": 1}
