"""The page as a visitor sees it, in headless Chromium (Debian: chromium, chromium-driver)."""

import json
import os
import re
import shutil
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image
from selenium import webdriver
from selenium.common.exceptions import NoSuchElementException, StaleElementReferenceException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait
from selenium_axe_python import Axe

from fashion_model.app.answer import document_of, products_document, python_code, shown
from fashion_model.app.disk import folder
from fashion_model.app.sentences import caption_of
from fashion_model.app.uploads import MAX_BYTES, TOO_LARGE
from fashion_model.app.visit import EXAMPLES, FIRST
from fashion_model.images import open_image
from tests.conftest import NAMES, SEVERAL
from tests.corpus import saved
from tests.fashion_model.app.conftest import PATHS, SHOES, check_overlay
from tests.fashion_model.app.test_uploads import zipped

pytestmark = pytest.mark.slow

FLAGS = "headless no-sandbox disable-gpu disable-quic no-first-run disable-sync disable-background-networking"
FLAGS += " disable-component-update disable-dev-shm-usage hide-scrollbars window-size=1280,900"
FLAGS += " use-fake-device-for-media-stream use-fake-ui-for-media-stream"
PLAIN_HTTP = "fashion.test"  # a name of this machine that is no secure context, as in a local network
SECONDS = 60
PHONE_SIZE, DESKTOP_SIZE = (390, 844), (1280, 800)
BAR = (199, 210, 254)
LEAST_SURE = "#table [aria-colindex='3']:not(th)"
CAPTIONS = "#gallery .caption-label"
TABS = ("Photograph", "Many", "How good is it?", "Code")


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (chromium and driver):
        assert not os.environ.get("CI"), "CI has to install chromium and chromium-driver"
        pytest.skip("chromium and chromedriver are not installed (Debian: chromium, chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    profile = f"user-data-dir={tmp_path_factory.mktemp('chromium')}"
    for flag in (*FLAGS.split(), profile, f"host-resolver-rules=MAP {PLAIN_HTTP} 127.0.0.1"):
        options.add_argument(f"--{flag}")
    with webdriver.Chrome(options=options, service=Service(driver)) as browser:
        browser.set_script_timeout(SECONDS)
        for permission in ("clipboard-write", "clipboard-read"):
            browser.execute_cdp_cmd("Browser.setPermission", {"permission": {"name": permission}, "setting": "granted"})
        yield browser


@pytest.fixture
def browser(chromium):
    """At the end of each test: no error in the console, and no request has left the page's host."""
    chromium.get("about:blank")  # gradio complains of streams that end as its page is left
    for log in ("browser", "performance"):
        chromium.get_log(log)
    resize(chromium, DESKTOP_SIZE)
    yield chromium
    entries = chromium.get_log("browser")
    assert not [entry for entry in entries if entry["level"] == "SEVERE" and "favicon" not in entry["message"]]
    assert "Method not implemented" not in str(entries)
    hosts = {urlsplit(url).hostname for url in sent_by(chromium)}
    assert hosts <= {"127.0.0.1", PLAIN_HTTP, None}  # None: of data and blob URLs


def events(browser, method):
    """The parameters of Chromium's events of one method since the last call."""
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    return [message["params"] for message in messages if message["method"] == method]


def sent_by(browser):
    """The addresses of the requests since the last call."""
    return [event["request"]["url"] for event in events(browser, "Network.requestWillBeSent")]


def resize(browser, size):
    metrics = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": size == PHONE_SIZE}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def network(browser, **limits):
    """`limits` as of Chromium's network conditions; none without them."""
    conditions = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1} | limits
    browser.execute_cdp_cmd("Network.enable", {})
    browser.execute_cdp_cmd("Network.emulateNetworkConditions", conditions)


LOADED = "return [...document.images].filter(i => i.offsetParent).every(i => i.complete && i.naturalWidth > 0)"


def opened(browser, address):
    """The page with the answer that it opens with."""
    browser.get(address)
    wait_for(browser, lambda: find_all(browser, "#place #visit"))
    wait_for(browser, lambda: state(browser) == "answered" and browser.execute_script(LOADED))
    return browser


@pytest.fixture
def page(browser, served):
    return opened(browser, served)


def wait_for(browser, condition):
    # The page may be drawn anew between finding an element and reading it.
    ignored = [StaleElementReferenceException, NoSuchElementException]
    return WebDriverWait(browser, SECONDS, ignored_exceptions=ignored).until(lambda _: condition())


def find(browser, selector):
    return browser.find_element(By.CSS_SELECTOR, selector)


def find_all(browser, selector):
    return browser.find_elements(By.CSS_SELECTOR, selector)


TEXTS = """
const all = [...document.querySelectorAll(arguments[0])];
return all.filter(each => each.checkVisibility()).map(each => each.innerText.trim());
"""


def texts(browser, selector):
    """Of the visible elements."""
    return browser.execute_script(TEXTS, selector)


def state(browser):
    return find(browser, "#visit").get_attribute("data-state")


def sentence(browser, within="#visit .result"):
    return "".join(texts(browser, f"{within} .sentence"))


def fault(browser):
    return "".join(texts(browser, "#visit .fault"))


def upload(browser, path):
    find(browser, "#visit .choose").send_keys(str(path))


def drop(browser, *paths):
    """As a hand drags files from another window onto the page."""
    data = {"items": [], "files": list(map(str, paths)), "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        if kind == "drop":
            assert "dropping" in find(browser, "body").get_attribute("class")
        browser.execute_cdp_cmd("Input.dispatchDragEvent", {"type": kind, "x": 600, "y": 400, "data": data})


def drag(browser, selector, start, end):
    """With the mouse, between two points of an element, in parts of its width and height."""
    frame = box(browser, selector)
    for kind, (x, y) in (("Pressed", start), ("Moved", start), ("Moved", end), ("Released", end)):
        at = {"x": frame["x"] + x * frame["width"], "y": frame["y"] + y * frame["height"], "button": "left"}
        browser.execute_cdp_cmd("Input.dispatchMouseEvent", {"type": f"mouse{kind}", "clickCount": 1, **at})


def explained(browser):
    """Attribute and label of the overlay that is visible, which the caption and the pressed button agree on."""
    (layer,) = [each for each in find_all(browser, "#visit [data-layer]") if each.is_displayed()]
    (button,) = find_all(browser, "#visit [data-map][aria-pressed=true]")
    assert button.get_attribute("data-map") == layer.get_attribute("data-layer")
    assert find(browser, "#visit .explained").text == button.get_attribute("data-label")
    return button.get_attribute("data-attribute"), button.get_attribute("data-label")


def box(browser, selector):
    script = "return document.querySelector(arguments[0]).getBoundingClientRect().toJSON()"
    return browser.execute_script(script, selector)


def open_tab(browser, name):
    tab = f"//button[@role='tab'][contains(., '{name}')]"
    if not browser.find_elements(By.XPATH, tab):  # on a phone
        find(browser, ".overflow-menu > button").click()
        tab = f"//*[contains(@class, 'overflow-dropdown')]//button[contains(., '{name}')]"
    browser.find_element(By.XPATH, tab).click()


def download(browser, folder, buttons):
    """Click on each of `buttons`, a dictionary of selectors with the names of files; the files that appear."""
    browser.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(folder)})
    for button in buttons:
        browser.execute_script("arguments[0].scrollIntoView({ block: 'center' })", find(browser, button))
        find(browser, button).click()
    paths = [folder / name for name in buttons.values()]
    wait_for(browser, lambda: all(path.exists() for path in paths))
    return paths


def expected(classifier, path):
    """The prediction for the first product, and the document."""
    products = [product for product, _, _ in classifier.find_and_map(classifier.open(path), 0)]
    prediction = products[0].prediction
    if len(products) > 1:
        return prediction, products_document(path.name, classifier, products)
    return prediction, document_of(path.name, classifier, prediction)


def has_all_ways(page):
    """No photograph, no answer, and all ways to a photograph."""
    ways = [find(page, f"#visit {way}").is_displayed() for way in (".zone", ".examples", ".address")]
    return state(page) == "empty" and all(ways) and not find_all(page, "#visit .answer")


def is_empty(page):
    return has_all_ways(page) and not fault(page)


def in_view(page, selector, size):
    frame = box(page, selector)
    return 0 <= frame["top"] < frame["bottom"] <= size[1]


@pytest.mark.parametrize("size", [PHONE_SIZE, DESKTOP_SIZE], ids=["phone", "desktop"])
def test_a_visit(browser, served, classifier, tmp_path, size):
    resize(browser, size)
    page = opened(browser, served)
    assert texts(page, ".label-of-example") == ["An example:"]
    assert sentence(page) == expected(classifier, PATHS[0].with_name(FIRST))[1]["sentence"]
    assert box(page, ".examples")["bottom"] <= size[1] or size == DESKTOP_SIZE  # above the fold
    page.execute_script("scrollTo(0, 700)")
    assert in_view(page, "#visit .again .button", size) == (size == PHONE_SIZE)
    page.execute_script("scrollTo(0, 0)")

    upload(page, SHOES)
    prediction, document = expected(classifier, SHOES)
    wait_for(page, lambda: sentence(page) == document["sentence"])
    assert find(page, "#visit .base").get_attribute("alt") == document["sentence"]
    folded = find(page, "#visit .hint summary")
    assert folded.text == "Season of use"
    page.execute_script("arguments[0].scrollIntoView({ block: 'center' })", folded)
    folded.click()
    page.execute_script("scrollTo(0, 0)")
    labels = [label for name in ("color", "product_type", "gender", "season") for label, _ in shown(prediction[name])]
    assert texts(page, "#visit .label") == labels
    assert "A guess" in texts(page, "#visit .hint .note")[0]
    assert page.execute_script("return [scrollY, document.documentElement.scrollWidth <= innerWidth]") == [0, True]
    seen = ("#visit .base", "#visit .sentence", "#visit .card", "#visit .again")
    assert all(in_view(page, each, size) for each in seen), "below the fold"
    page.execute_script("scrollTo(0, 250)")
    if size == PHONE_SIZE:  # wherever it is scrolled to, a tap changes what is seen, and the next photograph is near
        assert page.execute_script("return scrollY") > 100
        assert in_view(page, "#visit .base", size)
        assert in_view(page, "#visit .again", size)
    page.execute_script("scrollTo(0, 0)")

    assert all(each.size["height"] >= 44 for each in find_all(page, "#visit .again .button") if each.is_displayed())
    runner_up = find(page, "#visit [data-map='0-product_type-1']").get_attribute("aria-label")
    assert re.fullmatch(r"Product type: Sports Shoes, \d+ percent", runner_up)

    # A runner-up, another attribute by the keyboard, another opacity, without the overlay: all without a request.
    assert explained(page) == ("product_type", "Casual Shoes")
    sent_by(page)
    find(page, "#visit [data-map='0-product_type-1']").click()
    assert explained(page) == ("product_type", "Sports Shoes")
    page.execute_script("document.querySelector('#visit .switch input').focus()")
    focused = []
    while len(focused) < 4 and "0-color-0" not in focused:
        page.switch_to.active_element.send_keys(Keys.TAB)
        focused.append(page.switch_to.active_element.get_attribute("data-map"))
    page.switch_to.active_element.send_keys(Keys.ENTER)
    assert explained(page) == ("color", "Black"), focused
    find(page, "#visit [data-overlay]").click()
    assert not [layer for layer in find_all(page, "#visit [data-layer]") if layer.is_displayed()]
    find(page, "#visit [data-overlay]").click()
    assert f"Fashion score {prediction.fashion_score:.1f};" in find(page, "#visit .score").text
    assert not sent_by(page)

    stem = "phone-1-black-shoes"
    names = {"overlay": f"{stem}-color-Black.png", "document": f"{stem}.json", "share": f"{stem}-answer.png"}
    files = download(page, tmp_path, {f"[data-take={what}]": name for what, name in names.items()})
    assert json.loads(files[1].read_text(encoding="utf-8")) == document
    check_overlay(files[0], classifier.explain(SHOES, "color"))
    find(page, "#visit [data-overlay]").click()
    (without,) = download(page, tmp_path / "plain", {"[data-take=share]": names["share"]})
    find(page, "#visit [data-overlay]").click()
    shared, plain = (np.asarray(open_image(path), np.int16) for path in (files[2], without))
    photograph = round(800 * open_image(SHOES).height / open_image(SHOES).width)
    assert shared.shape == plain.shape == (shared.shape[0], 800, 3)
    assert np.abs(shared - plain)[:photograph].mean() > 10, "the overlay is not in the picture"
    assert np.array_equal(shared[photograph:], plain[photograph:])
    bars = (shared[photograph:] == BAR).all(axis=2).any(axis=1)
    assert (np.diff(bars.astype(int)) == 1).sum() == len(NAMES), "bars of the attributes"
    shared = "window.shared = [data.text, data.files[0].name]"
    page.execute_script(f"navigator.canShare = () => true; navigator.share = async data => {{ {shared} }}")
    find(page, "[data-take=share]").click()
    wait_for(page, lambda: page.execute_script("return window.shared") == [document["sentence"], names["share"]])
    find(page, "#visit [data-copy=python]").click()
    wait_for(page, lambda: find(page, "#visit [data-copy=python]").text == "Copied")
    code = python_code(SHOES.name).replace("ADDRESS", served.rstrip("/"))
    assert page.execute_async_script("navigator.clipboard.readText().then(arguments[0])") == code


PASTE = """
const [url, done] = arguments;
fetch(url).then(answer => answer.blob()).then(blob => {
  const data = new DataTransfer();
  data.items.add(new File([blob], 'pasted.jpg', { type: 'image/jpeg' }));
  document.dispatchEvent(new ClipboardEvent('paste', { clipboardData: data, bubbles: true }));
  done();
});
"""


def paste(page, path, tmp_path):
    page.execute_async_script(PASTE, f"{page.current_url}examples/{path.name}")


def choose_example(page, path, tmp_path):
    find(page, f"[data-example='{path.name}']").click()


def choose_two_examples(page, path, tmp_path):
    """The second before the first is answered."""
    choose_example(page, PATHS[0], tmp_path)
    choose_example(page, path, tmp_path)


def drop_on_another(page, path, tmp_path):
    upload(page, SHOES)
    wait_for(page, lambda: "shoes" in sentence(page))
    drop(page, path)


def take_with_a_phone(page, path, tmp_path):
    page.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": True})
    for size in ((768, 1024), PHONE_SIZE):
        resize(page, size)
        assert all(each.rect["width"] <= 1 for each in find_all(page, "#visit [type=file]")), "the browser's own input"
    wait_for(page, lambda: find(page, "#visit .zone .camera").is_displayed())
    camera = find(page, "#visit .zone .camera input")
    assert camera.get_attribute("capture") == "environment"
    camera.send_keys(str(path))
    page.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": False})


def upload_heic(page, path, tmp_path):
    (tmp_path / "IMG_0001.HEIC").write_bytes(saved(Image.open(path), "HEIF"))
    upload(page, tmp_path / "IMG_0001.HEIC")


NAMES_OF = {paste: "pasted.jpg", upload_heic: "IMG_0001.HEIC"}


@pytest.mark.parametrize(
    ("way", "path"),
    [
        *((paste, PATHS[1]), (choose_example, PATHS[5]), (choose_two_examples, PATHS[3])),
        *((drop_on_another, PATHS[1]), (take_with_a_phone, PATHS[2]), (upload_heic, SHOES)),
    ],
)
def test_each_way_to_a_photograph_is_answered_and_cleared(page, classifier, tmp_path, way, path):
    way(page, path, tmp_path)
    prediction, document = expected(classifier, path)
    wait_for(
        page, lambda: sentence(page) == document["sentence"] and not find(page, ".label-of-example").is_displayed()
    )
    assert NAMES_OF.get(way, path.name) in find(page, "#visit .answer").get_attribute("data-python")
    assert page.execute_script(LOADED)
    # What is refused folds its cards and its overlay away.
    assert find(page, "#visit .cards").is_displayed() == prediction.is_fashion == (path != PATHS[5])
    assert find(page, "#visit .look figcaption").is_displayed() == prediction.is_fashion
    if not prediction.is_fashion:
        find(page, "#visit .anyway summary").click()
        assert explained(page) == ("product_type", prediction.product_type.label)
    find(page, "#visit [data-clear]").click()
    assert is_empty(page)


def test_camera_of_a_computer_takes_a_photograph(page):
    find(page, "#visit .webcam").click()
    wait_for(page, lambda: page.execute_script("return document.querySelector('.camera-view video')?.videoWidth > 0"))
    find(page, ".camera-view [value=take]").click()
    wait_for(page, lambda: "camera.jpg" in find(page, "#visit .answer").get_attribute("data-python"))
    find(page, "#visit [data-clear]").click()
    assert is_empty(page)


def large_photograph(folder):
    """The path of more than 3 MB, turned by a quarter."""
    noise = Image.effect_noise((3000, 2000), 60).convert("RGB")
    noise.paste(Image.open(SHOES).resize((1500, 2000)), (0, 0))
    exif = Image.Exif()
    exif[0x0112] = 6
    noise.save(folder / "large.jpg", quality=97, exif=exif)
    assert (folder / "large.jpg").stat().st_size > 3_000_000
    return folder / "large.jpg"


def test_large_photograph_is_shrunk_before_it_is_sent(page, classifier, tmp_path):
    """Upright, whatever its orientation; and the visitor sees how far it is."""
    large = large_photograph(tmp_path)
    network(page, uploadThroughput=94_000)
    sent_by(page)
    upload(page, large)
    wait_for(page, lambda: "Sending" in texts(page, "#visit .wait p")[0])
    wait_for(page, lambda: 0 < float(find(page, "#visit .wait progress").get_attribute("value")) < 1)
    wait_for(page, lambda: state(page) == "answered")
    network(page)
    base = find(page, "#visit .base")
    size = int(base.get_attribute("naturalWidth")), int(base.get_attribute("naturalHeight"))
    assert size[0] / size[1] == pytest.approx(2 / 3, abs=0.01)
    assert find(page, "#visit .answer").get_attribute("data-size").split() == ["1067", "1600"]
    assert len([url for url in sent_by(page) if url.endswith("/answer")]) == 1


@pytest.mark.parametrize("size", [PHONE_SIZE, DESKTOP_SIZE], ids=["phone", "desktop"])
def test_after_a_fault_the_page_is_as_before(browser, served, classifier, tmp_path, size):
    resize(browser, size)
    page = opened(browser, served)
    (tmp_path / "letter.jpg").write_bytes(b"%PDF-1.4")
    (tmp_path / "large.heic").write_bytes(bytes(MAX_BYTES + 1))
    find(page, f"[data-example='{SHOES.name}']").click()
    wait_for(page, lambda: "shoes" in sentence(page))
    before = sentence(page)
    for answered in (True, False):
        if not answered:
            find(page, "#visit [data-clear]").click()
        upload(page, tmp_path / "letter.jpg")
        wait_for(page, lambda: "not an image" in fault(page))
        assert 0 <= box(page, "#visit .fault")["top"] <= box(page, "#visit .fault")["bottom"] <= size[1]
        sent_by(page)
        upload(page, tmp_path / "large.heic")
        wait_for(page, lambda: fault(page) == TOO_LARGE)
        assert not [url for url in sent_by(page) if "answer" in url], "a file that is too large was sent"
        assert (state(page) == "answered" and page.execute_script(LOADED)) if answered else has_all_ways(page)
        assert sentence(page) == (before if answered else "")
    find(page, "#visit .address input").send_keys("http://127.0.0.1/x.jpg", Keys.ENTER)
    wait_for(page, lambda: "private network" in fault(page))
    find(page, f"[data-example='{FIRST}']").click()
    wait_for(page, lambda: sentence(page) == expected(classifier, PATHS[0].with_name(FIRST))[1]["sentence"])
    assert not fault(page)
    network(page, offline=True)
    upload(page, PATHS[1])
    wait_for(page, lambda: "cannot be reached" in fault(page))
    network(page)
    assert (state(page), sentence(page)) == ("answered", expected(classifier, PATHS[0].with_name(FIRST))[1]["sentence"])
    page.get_log("browser")  # of the request that failed


BEFORE_PAINT = """
const painted = performance.getEntriesByName("first-contentful-paint")[0]?.startTime;
const page = performance.getEntriesByType("navigation"), others = performance.getEntriesByType("resource");
const files = [...page, ...others.filter(file => file.responseEnd <= painted)];
return painted && files.map(file => [file.name, file.transferSize]);
"""


def test_first_paint_needs_few_bytes(browser, served):
    """No more than three seconds of 200 kB each."""
    network(browser, downloadThroughput=200_000)
    browser.execute_cdp_cmd("Network.setCacheDisabled", {"cacheDisabled": True})
    try:
        browser.get(served)
        loaded = wait_for(browser, lambda: browser.execute_script(BEFORE_PAINT))
    finally:
        network(browser)
        browser.execute_cdp_cmd("Network.setCacheDisabled", {"cacheDisabled": False})
    assert served in dict(loaded)
    assert 0 < sum(size for _, size in loaded) < 3 * 200_000, loaded


def test_part_that_is_drawn_is_one_more_product(page, classifier):
    upload(page, SHOES)
    wait_for(page, lambda: "shoes" in sentence(page))
    assert not texts(page, "#visit .chip") + texts(page, "#visit .box")
    drag(page, "#visit .base", (0.1, 0.2), (0.6, 0.9))
    wait_for(page, lambda: len(texts(page, "#visit .chip")) == 2)
    (shape,) = find_all(page, "#visit .box")
    base = box(page, "#visit .base")
    assert shape.rect["width"] == pytest.approx(base["width"] / 2, abs=3)
    assert find_all(page, "#visit .chip")[1].get_attribute("aria-pressed") == "true"
    find_all(page, "#visit .chip")[0].click()
    assert explained(page) == ("product_type", "Casual Shoes")


def test_every_chip_shows_its_product(page, classifier):
    upload(page, SEVERAL)
    wait_for(page, lambda: sentence(page) == expected(classifier, SEVERAL)[1]["sentence"])
    products = classifier.find(SEVERAL)
    assert len(products) > 2
    chips, boxes = find_all(page, "#visit .chip"), find_all(page, "#visit .box")
    assert len(chips) == len(boxes) == len(products)
    sent_by(page)
    for number, (chip, product) in enumerate(zip(chips, products, strict=True)):
        chip.click()
        assert [each.get_attribute("aria-pressed") == "true" for each in boxes].index(True) == number
        assert explained(page) == ("product_type", product.prediction.product_type.label)
    boxes[0].send_keys(Keys.ENTER)
    assert chips[0].get_attribute("aria-pressed") == "true"
    assert not sent_by(page)


def test_tabs_and_examples_have_addresses(page, served, classifier):
    find(page, f"[data-example='{PATHS[4].name}']").click()
    wait_for(page, lambda: page.current_url == f"{served}#/example={PATHS[4].name}")
    open_tab(page, "Code")
    wait_for(page, lambda: page.current_url == f"{served}#/code")
    page.back()
    answer = expected(classifier, PATHS[4])[1]["sentence"]
    wait_for(page, lambda: sentence(page) == answer)
    page.refresh()
    wait_for(page, lambda: find_all(page, "#place #visit") and sentence(page) == answer)
    page.back()
    wait_for(page, lambda: page.current_url == served and texts(page, ".label-of-example"))
    # So has each answer, until the page is loaded anew.
    upload(page, PATHS[1])
    wait_for(page, lambda: sentence(page) == expected(classifier, PATHS[1])[1]["sentence"])
    find(page, f"[data-example='{PATHS[4].name}']").click()
    wait_for(page, lambda: sentence(page) == answer)
    find(page, "#visit [data-clear]").click()
    page.back()
    wait_for(page, lambda: sentence(page) == answer)
    page.back()
    wait_for(page, lambda: sentence(page) == expected(classifier, PATHS[1])[1]["sentence"])
    page.forward()
    page.forward()
    wait_for(page, lambda: is_empty(page))
    page.get(f"{served}#/good")
    page.refresh()
    wait_for(page, lambda: find_all(page, "#quality") and find(page, "#quality").is_displayed())


def test_code_is_copied_without_https(browser, served):
    page = opened(browser, served.replace("127.0.0.1", PLAIN_HTTP))
    assert page.execute_script("return isSecureContext") is False
    assert not find(page, "#visit .webcam").is_displayed()
    find(page, "#visit [data-copy=curl]").click()
    wait_for(page, lambda: find(page, "#visit [data-copy=curl]").text == "Copied")
    address = find(page, "#visit .address input")
    address.send_keys(Keys.CONTROL, "v")
    assert address.get_property("value").startswith(f"curl -F file=@{FIRST}")


NAMES_ON_PAGE = """
const all = [...document.querySelectorAll("*")];
return all.flatMap(e => [e.ariaLabel, e.title, e.placeholder, e.alt]).join("\\n") + document.body.innerText;
"""


def test_many_become_table_captions_and_files(page, classifier, tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_text("Dear Sir")
    drop(page, PATHS[0], broken, PATHS[1])
    find(page, "#visit [data-many]").click()
    wait_for(page, lambda: len(find_all(page, CAPTIONS)) == 2 and find(page, "#csv").is_enabled())
    assert page.current_url.endswith("#/many")
    for element, path in zip(find_all(page, CAPTIONS), PATHS[:2], strict=True):
        assert element.text == caption_of(expected(classifier, path)[0])
        assert element.get_property("scrollWidth") <= element.get_property("clientWidth")  # nothing of it is hidden
    assert "broken.jpg: The file is not an image" in find(page, "#summary").text
    assert "broken.jpg" in find(page, "#table").text

    # Another photograph that is dropped is made smaller and added; one that is removed leaves the results as well.
    drop(page, large_photograph(tmp_path))
    wait_for(page, lambda: "3 of 4 files could be read" in find(page, "#summary").text)
    assert {path.stat().st_size < 1_500_000 for path in folder().rglob("large.jpg")} == {True}
    find_all(page, "#files [aria-label='Remove this file']")[3].click()
    wait_for(page, lambda: len(find_all(page, CAPTIONS)) == 2 and find(page, "#csv").is_enabled())

    # So is what is chosen with the button.
    page.execute_cdp_cmd("Page.setInterceptFileChooserDialog", {"enabled": True})
    page.get_log("performance")
    find(page, "#files button[aria-label=Upload]").click()
    chosen = wait_for(page, lambda: events(page, "Page.fileChooserOpened"))[0]["backendNodeId"]
    page.execute_cdp_cmd("DOM.setFileInputFiles", {"files": [str(PATHS[2])], "backendNodeId": chosen})
    page.execute_cdp_cmd("Page.setInterceptFileChooserDialog", {"enabled": False})
    wait_for(page, lambda: len(find_all(page, CAPTIONS)) == 3 and find(page, "#csv").is_enabled())

    assert "common." not in page.execute_script(NAMES_ON_PAGE)
    names = [button.get_attribute("aria-label") for button in find_all(page, "#gallery button")]
    assert names == texts(page, CAPTIONS)

    # The least sure come first, if the visitor wants it.
    find(page, "#table th[data-heading='2'] .cell-menu-button").click()
    page.find_element(By.XPATH, "//button[@role='menuitem'][contains(., 'Sort ascending')]").click()
    wait_for(page, lambda: (sure := texts(page, LEAST_SURE)) == sorted(sure) and len(set(sure)) > 2)
    # A thumbnail opens with its overlays.
    find_all(page, "#gallery button")[1].click()
    wait_for(page, lambda: sentence(page, "#opened") == expected(classifier, PATHS[1])[1]["sentence"])
    written = download(page, tmp_path, {"#csv": "predictions.csv", "#json-lines": "predictions.jsonl"})
    assert [len(path.read_text(encoding="utf-8").splitlines()) for path in written] == [5, 4]

    # Without its files the page is empty again.
    page.execute_script("scrollTo(0, 0)")
    find(page, "#files button[aria-label='Clear']").click()
    wait_for(page, lambda: not find_all(page, CAPTIONS) and not find(page, "#csv").is_enabled())


def test_zip_is_offered_to_many(page, tmp_path):
    archive = zipped(tmp_path / "photographs.zip", {"shoes.jpg": SHOES.read_bytes()})
    drop(page, archive)
    assert texts(page, ".many-offer p") == ["This is a zip."]
    page.execute_script("scrollTo(0, 700)")
    drop(page, SHOES, PATHS[1])
    assert texts(page, ".many-offer p") == ["These are 2 files."]
    assert in_view(page, ".many-offer", DESKTOP_SIZE)
    drop(page, archive)
    find(page, "#visit [data-many]").click()
    wait_for(page, lambda: find(page, "#summary").text == "1 of 1 files could be read. Casual Shoes 1.")


def test_each_change_of_the_files_ends_a_batch(page, tmp_path):
    """However soon one follows another: one batch is labelled at a time."""
    open_tab(page, "Many")
    archive = zipped(tmp_path / "many.zip", {f"{number}.jpg": SHOES.read_bytes() for number in range(300)})
    wait_for(page, lambda: find_all(page, "#files input[type=file]"))
    find(page, "#files input[type=file]").send_keys(str(archive))
    wait_for(page, lambda: "seconds left" in find(page, "#summary").text)
    find(page, "#files button[aria-label='Clear']").click()
    wait_for(page, lambda: not find(page, "#summary").text and not find_all(page, CAPTIONS))
    find(page, "#files input[type=file]").send_keys(f"{archive}\n{SHOES}\n{PATHS[1]}")
    wait_for(page, lambda: "seconds left" in find(page, "#summary").text)
    for _ in range(2):
        page.execute_script("document.querySelector('#files [aria-label=\"Remove this file\"]').click()")
    wait_for(page, lambda: find(page, "#summary").text == "1 of 1 files could be read. Dresses 1.")


def test_other_tabs_have_figures_report_and_code(browser, served):
    resize(browser, PHONE_SIZE)
    page = opened(browser, served)
    open_tab(page, "How good")
    wait_for(page, lambda: "taken with phones at home" in find(page, "#quality").text)
    find(page, "#search-classes").send_keys("kurta")
    assert texts(page, "#classes tbody td:first-child") == ["Kurtas", "Kurta Sets"]
    find(page, "#search-classes").send_keys(Keys.ENTER)
    assert texts(page, "#classes tbody td:first-child") == ["Kurtas"]
    for typed, found in (("t-shirt", ["Tshirts"]), ("zzz", [])):
        find(page, "#search-classes").send_keys(Keys.CONTROL, "a", Keys.BACKSPACE)
        find(page, "#search-classes").send_keys(typed, Keys.ENTER)
        assert texts(page, "#classes tbody td:first-child") == found
        assert bool(texts(page, "#no-class")[0]) == (not found)
    find(page, "#search-classes").send_keys(Keys.CONTROL, "a", Keys.BACKSPACE)
    names = texts(page, "#classes tbody td:first-child")
    for expected_names in (sorted(names, key=str.casefold), sorted(names, key=str.casefold, reverse=True)):
        page.execute_script("document.querySelector('#classes th button').click()")
        assert texts(page, "#classes tbody td:first-child") == expected_names
    assert page.execute_script("return document.documentElement.scrollWidth") <= PHONE_SIZE[0]

    find(page, "#good a[href=report]").click()
    wait_for(page, lambda: len(page.window_handles) == 2)
    page.switch_to.window(page.window_handles[1])
    wait_for(page, lambda: "Evaluation report" in find(page, "h1").text and page.execute_script(LOADED))
    page.close()
    page.switch_to.window(page.window_handles[0])

    open_tab(page, "Code")
    wait_for(page, lambda: find(page, "[data-code=javascript]").is_displayed())
    codes = {e.get_attribute("data-code"): e.get_attribute("textContent") for e in find_all(page, "[data-code]")}
    assert not [code for code in codes.values() if "ADDRESS" in code]
    assert codes["mcp"] == f"{served}gradio_api/mcp/"
    run = "const [url, done] = arguments; (async () => { const photograph = await (await fetch(url)).blob();"
    photograph = f"{served}examples/2250.jpg"
    answer = page.execute_async_script(f"{run} {codes['javascript']}; done(answer) }})()", photograph)
    assert answer["product_type"]["label"] == "Flip Flops", "the JavaScript on the page does something else"
    find(page, "[data-endpoints]").click()
    wait_for(page, lambda: "find_products" in find(page, ".api-docs").text)
    assert page.current_url == f"{served}#/code"


@pytest.mark.parametrize(("theme", "size"), [("light", DESKTOP_SIZE), ("dark", PHONE_SIZE)])
def test_axe_finds_nothing(browser, served, classifier, theme, size):
    resize(browser, size)
    page = opened(browser, f"{served}?__theme={theme}")
    faults = []

    def check(state):
        wait_for(page, lambda: not find_all(page, ".pending"))  # fades
        axe = Axe(page)
        axe.inject()
        faults.extend((state, v["id"], node["html"][:150]) for v in axe.run()["violations"] for node in v["nodes"])

    check("as it opens")
    for path in (SHOES, PATHS[5]):  # one product, none
        upload(page, path)
        wait_for(page, lambda path=path: sentence(page) == expected(classifier, path)[1]["sentence"])
        check(path.name)
    find(page, "#visit [data-clear]").click()
    find(page, "#visit .address input").send_keys("http://127.0.0.1/x.jpg", Keys.ENTER)
    wait_for(page, lambda: fault(page))
    check("empty, with a fault")
    open_tab(page, "Many")
    find(page, "#use-examples").click()
    files = len(EXAMPLES)
    wait_for(page, lambda: f"{files} of {files}" in find(page, "#summary").text and find(page, "#csv").is_enabled())
    check("Many")
    find_all(page, "#gallery button")[1].click()
    wait_for(page, lambda: sentence(page, "#opened"))
    check("opened")
    good, code = TABS[2:]
    open_tab(page, good)
    find(page, "#search-classes").send_keys("shoe")  # axe looks at every cell that is visible
    check(good)
    open_tab(page, code)
    check(code)
    assert not faults
