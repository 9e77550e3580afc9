"""The page as a visitor sees it, in headless Chromium (Debian: chromium, chromium-driver)."""

import json
import os
import shutil
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image
from pillow_heif import from_pillow
from selenium import webdriver
from selenium.common.exceptions import NoSuchElementException, StaleElementReferenceException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait
from selenium_axe_python import Axe

from fashion_model import FashionClassifier
from fashion_model.app.answer import NOT_FASHION, caption_of, document_of, python_code, shown
from fashion_model.app.uploads import MAX_BYTES, TOO_LARGE
from fashion_model.checkpoint import REPORT, load_checkpoint
from fashion_model.images import open_image
from tests.conftest import NAMES, serving
from tests.fashion_model.app.conftest import PATHS, SHOES

pytestmark = pytest.mark.slow

FLAGS = "headless no-sandbox disable-gpu disable-quic no-first-run disable-sync disable-background-networking"
FLAGS += " disable-component-update disable-dev-shm-usage hide-scrollbars window-size=1280,900"
SECONDS = 60
PHONE_SIZE, DESKTOP_SIZE = (390, 844), (1280, 800)
TABS = ("Photograph", "Many", "How good is it?", "Code")
# Layout shifts of the whole visit. Chromium leaves out those within half a second of an input.
SHIFTS = """
window.shift = 0;
new PerformanceObserver(list => { for (const e of list.getEntries()) if (!e.hadRecentInput) window.shift += e.value; })
  .observe({ type: 'layout-shift', buffered: true });
"""


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (chromium and driver):
        assert not os.environ.get("CI"), "CI has to install chromium and chromium-driver"
        pytest.skip("chromium and chromedriver are not installed (Debian: chromium, chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    for flag in (*FLAGS.split(), f"user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(f"--{flag}")
    with webdriver.Chrome(options=options, service=Service(driver)) as browser:
        browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": SHIFTS})
        for permission in ("clipboard-write", "clipboard-read"):
            browser.execute_cdp_cmd("Browser.setPermission", {"permission": {"name": permission}, "setting": "granted"})
        yield browser


@pytest.fixture
def browser(chromium):
    """At the end of each test: no error in the console, and no request has left the page's host."""
    for log in ("browser", "performance"):
        chromium.get_log(log)
    resize(chromium, DESKTOP_SIZE)
    yield chromium
    errors = [entry["message"] for entry in chromium.get_log("browser") if entry["level"] == "SEVERE"]
    assert not [error for error in errors if "favicon" not in error]
    hosts = {urlsplit(url).hostname for url in sent_by(chromium)}
    assert hosts <= {"127.0.0.1", None}  # None: of data and blob URLs


def sent_by(browser):
    """The addresses of the requests since the last call."""
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    return [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]


def resize(browser, size):
    metrics = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": size == PHONE_SIZE}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


LOADED = "return [...document.images].map(image => image.complete && image.naturalWidth > 0)"


def opened(browser, address):
    browser.get(address)
    wait_for(browser, lambda: find_all(browser, "#photo input[type=file]"))
    wait_for(browser, lambda: len(loaded := browser.execute_script(LOADED)) >= len(PATHS) and all(loaded))
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


def texts(browser, selector):
    return [element.text for element in find_all(browser, selector)]


def upload(browser, path):
    find(browser, "#photo input[type=file]").send_keys(str(path))


def sentence(browser, within="#answer"):
    return "".join(texts(browser, f"{within} .sentence"))


def explained(browser):
    """Attribute and label of the overlay that is visible, which the caption and the pressed button agree on."""
    (layer,) = find_all(browser, "#answer [data-layer]:not([hidden])")
    (button,) = find_all(browser, "#answer [aria-pressed=true]")
    assert button.get_attribute("data-map") == layer.get_attribute("data-layer")
    assert find(browser, "#answer .explained").text == button.get_attribute("data-label")
    return button.get_attribute("data-attribute"), button.get_attribute("data-label")


def box(browser, selector):
    script = "return document.querySelector(arguments[0]).getBoundingClientRect().toJSON()"
    return browser.execute_script(script, selector)


def open_tab(browser, name):
    browser.find_element(By.XPATH, f"//button[@role='tab'][contains(., '{name}')]").click()


def download(browser, folder, buttons, names):
    """Click on `buttons`, and wait for the files."""
    browser.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(folder)})
    for button in buttons:
        find(browser, button).click()
    paths = [folder / name for name in names]
    wait_for(browser, lambda: all(path.exists() for path in paths))
    return paths


def copied(browser, button):
    find(browser, button).click()
    wait_for(browser, lambda: find(browser, button).text == "Copied")
    return browser.execute_async_script("navigator.clipboard.readText().then(arguments[0])")


def expected(classifier, path):
    """The prediction, and its document."""
    prediction = classifier.predict([path])[0]
    return prediction, document_of(path.name, classifier, prediction)


@pytest.mark.parametrize("size", [PHONE_SIZE, DESKTOP_SIZE], ids=["phone", "desktop"])
def test_a_visit(browser, served, classifier, tmp_path, size):
    resize(browser, size)
    page = opened(browser, served)
    assert len(f"{find(page, 'h1').text} {find(page, '#photo').text}".split()) <= 15
    assert box(page, ".examples")["bottom"] <= size[1]  # above the fold
    assert not find_all(page, "#answer .answer")
    assert "embedded default (tf_efficientnet_lite2, 224×224); right on phone" in find(page, "#checkpoint").text

    upload(page, SHOES)
    prediction, document = expected(classifier, SHOES)
    wait_for(page, lambda: sentence(page) == document["sentence"])
    labels = {name: texts(page, f"#answer [data-attribute={name}] .label") for name in NAMES}
    assert labels == {name: [label for label, _ in shown(prediction[name])] for name in NAMES}
    assert "A hint" in find(page, "#answer").text
    answer, photo = box(page, "#answer .sentence"), box(page, "#photo img")
    assert answer["bottom"] <= size[1]
    if size == PHONE_SIZE:
        assert 0 <= answer["top"] - photo["bottom"] < 100
        assert box(page, "#answer .cards")["bottom"] <= size[1]
    still = "return [scrollY, document.documentElement.scrollWidth <= innerWidth, window.shift <= 0.02]"
    assert page.execute_script(still) == [0, True, True]

    # A runner-up, another attribute's card and another opacity, all without a request.
    assert explained(page) == ("product_type", "Casual Shoes")
    sent_by(page)
    find(page, "#answer [data-map=product_type-1]").click()
    assert explained(page) == ("product_type", "Sports Shoes")
    find(page, "#answer .card").click()
    assert explained(page) == ("color", "Black")
    slider, layer = find(page, "#answer input[type=range]"), find(page, "#answer [data-layer]:not([hidden])")
    for key, opacity in ((Keys.HOME, "0"), (Keys.END, "1")):
        slider.send_keys(key)
        assert layer.value_of_css_property("opacity") == opacity
    find(page, "#answer summary").click()
    assert f"Fashion score {prediction.fashion_score:.1f}." in find(page, "#answer .score").text
    assert not sent_by(page)

    buttons = [f"#answer [data-take={name}]" for name in ("overlay", "result")]
    names = ["phone-1-black-shoes-color-Black.png", "phone-1-black-shoes.json"]
    image, saved = download(page, tmp_path, buttons, names)
    assert json.loads(saved.read_text(encoding="utf-8")) == document
    assert open_image(image).size == open_image(SHOES).size
    code = python_code(SHOES.name).replace("ADDRESS", served.rstrip("/"))
    assert copied(page, "#answer [data-copy=python]") == code

    # Without its photograph the page is empty again.
    page.execute_script("scrollTo(0, 0)")
    find(page, "#photo button[aria-label='Remove Image']").click()
    wait_for(page, lambda: not find_all(page, "#answer .answer"))


def test_keyboard_reaches_the_first_label_soon(page):
    upload(page, SHOES)
    wait_for(page, lambda: sentence(page))
    page.execute_script("document.querySelector('#photo button').focus()")
    focused = []
    while len(focused) < 4 and "color-0" not in focused:
        page.switch_to.active_element.send_keys(Keys.TAB)
        focused.append(page.switch_to.active_element.get_attribute("data-map"))
    assert focused[-1] == "color-0"
    page.switch_to.active_element.send_keys(Keys.ENTER)
    assert explained(page) == ("color", "Black")


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


def take_with_a_phone(page, path, tmp_path):
    resize(page, PHONE_SIZE)
    wait_for(page, lambda: find(page, ".camera").is_displayed())
    camera = find(page, ".camera input")
    assert camera.get_attribute("capture") == "environment"
    camera.send_keys(str(path))


def upload_heic(page, path, tmp_path):
    with Image.open(path) as photograph:
        from_pillow(photograph).save(tmp_path / "IMG_0001.HEIC", quality=90)
    upload(page, tmp_path / "IMG_0001.HEIC")


@pytest.mark.parametrize(
    ("way", "path"),
    [(paste, PATHS[1]), (choose_example, PATHS[1]), (choose_example, PATHS[5]), (take_with_a_phone, PATHS[2]),
     (upload_heic, SHOES)],
)  # fmt: skip
def test_each_way_to_a_photograph_is_answered(page, classifier, tmp_path, way, path):
    way(page, path, tmp_path)
    prediction, document = expected(classifier, path)
    wait_for(page, lambda: sentence(page) == document["sentence"])
    complete = "const i = document.querySelector('#photo img'); return i && i.complete && i.naturalWidth"
    wait_for(page, lambda: page.execute_script(complete) == open_image(path).width)
    name = {paste: "pasted.jpg", upload_heic: "IMG_0001.HEIC"}.get(way, path.name)
    assert name in find(page, "#answer .answer").get_attribute("data-python")
    muted = "grayscale" in find(page, "#answer .cards").value_of_css_property("filter")
    assert muted == (not prediction.is_fashion) == (sentence(page) == NOT_FASHION) == (path == PATHS[5])


def test_too_large_a_file_is_not_uploaded(page, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (2000, 2000, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "noise.png")
    assert (tmp_path / "noise.png").stat().st_size > MAX_BYTES
    page.get_log("performance")
    upload(page, tmp_path / "noise.png")
    wait_for(page, lambda: sentence(page) == TOO_LARGE)
    assert not find_all(page, "#photo img")
    sent = sent_by(page)
    assert sent
    assert not [url for url in sent if "upload" in url]


def test_fault_is_a_sentence_in_place_of_the_answer(page, tmp_path):
    choose_example(page, SHOES, tmp_path)
    wait_for(page, lambda: "Black" in sentence(page))
    find(page, "#address textarea, #address input").send_keys("http://127.0.0.1/x.jpg", Keys.ENTER)
    wait_for(page, lambda: "private network" in sentence(page))
    assert not find_all(page, "#answer .cards")
    (tmp_path / "letter.jpg").write_text("Dear Sir")
    upload(page, tmp_path / "letter.jpg")
    wait_for(page, lambda: "not an image" in sentence(page))


def test_many_become_table_captions_and_files(page, classifier, tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_text("Dear Sir")
    open_tab(page, "Many")
    wait_for(page, lambda: find(page, "#csv").is_displayed())
    assert find(page, "#csv").get_attribute("disabled")
    find(page, "#files input[type=file]").send_keys("\n".join(map(str, [PATHS[0], broken, PATHS[1]])))
    wait_for(page, lambda: len(captions(page)) == 2 and find(page, "#csv").is_enabled())
    for element, prediction in zip(captions(page), classifier.predict([PATHS[0], PATHS[1]]), strict=True):
        assert element.text == caption_of(prediction)
        assert element.get_property("scrollWidth") <= element.get_property("clientWidth")  # nothing of it is hidden
        assert element.get_property("scrollHeight") <= element.get_property("clientHeight")
    assert "broken.jpg: The file is not an image" in find(page, "#summary").text
    assert "broken.jpg" in find(page, "#table").text

    # A thumbnail opens with its overlays.
    find_all(page, "#gallery button")[1].click()
    wait_for(page, lambda: sentence(page, "#opened") == expected(classifier, PATHS[1])[1]["sentence"])
    assert find_all(page, "#opened [data-layer]")
    written = download(page, tmp_path, ["#csv", "#json-lines"], ["predictions.csv", "predictions.jsonl"])
    assert [len(path.read_text(encoding="utf-8").splitlines()) for path in written] == [4, 3]
    find(page, "#table input").send_keys("green")  # which filters
    wait_for(page, lambda: PATHS[0].name not in find(page, "#table").text)
    assert PATHS[1].name in find(page, "#table").text

    # Without its files the page is empty again.
    page.execute_script("scrollTo(0, 0)")
    find(page, "#files button[aria-label='Clear']").click()
    wait_for(page, lambda: not captions(page) and not find(page, "#csv").is_enabled())


def captions(browser):
    return find_all(browser, "#gallery .caption-label")


def test_table_finds_a_class_and_report_opens(browser, served):
    resize(browser, PHONE_SIZE)
    page = opened(browser, served)
    open_tab(page, "How good")
    wait_for(page, lambda: "photographs taken with phones" in find(page, "#quality").text)
    find(page, "#classes input").send_keys("kurtas")
    wait_for(page, lambda: "Red" not in find(page, "#classes").text)
    assert "Kurtas" in find(page, "#classes").text
    assert page.execute_script("return document.documentElement.scrollWidth") <= PHONE_SIZE[0]

    find(page, "#good a[href=report]").click()
    wait_for(page, lambda: len(page.window_handles) == 2)
    page.switch_to.window(page.window_handles[1])
    wait_for(page, lambda: "Evaluation report" in find(page, "h1").text and all(page.execute_script(LOADED)))
    assert len(page.execute_script(LOADED)) > 100
    (details, *_) = find_all(page, "details")
    details.find_element(By.TAG_NAME, "summary").click()
    assert details.find_element(By.TAG_NAME, "table").is_displayed()
    page.close()
    page.switch_to.window(page.window_handles[0])


def test_code_has_the_apps_address_and_runs(page, served):
    open_tab(page, "Code")
    wait_for(page, lambda: find(page, "[data-code=javascript]").is_displayed())
    codes = {e.get_attribute("data-code"): e.get_attribute("textContent") for e in find_all(page, "[data-code]")}
    assert not [code for code in codes.values() if "ADDRESS" in code]
    assert codes["mcp"] == f"{served}gradio_api/mcp/"
    run = "const [url, done] = arguments; (async () => { const photograph = await (await fetch(url)).blob();"
    answer = page.execute_async_script(f"{run} {codes['javascript']}; done(answer) }})()", f"{served}examples/2315.jpg")
    assert answer["product_type"]["label"] == "Tshirts"
    assert copied(page, "[data-copy-code=curl]") == codes["curl"]


# In gradio's own components: captions as alternative texts, the upload button in a button.
GRADIO = {("Many", rule) for rule in ("image-redundant-alt", "nested-interactive")}


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing(browser, served, theme):
    page = opened(browser, f"{served}?__theme={theme}")
    assert page.execute_script("return document.body.classList.contains('dark')") == (theme == "dark")
    faults = []
    for number, name in enumerate(TABS):
        open_tab(page, name)
        if number == 0:
            upload(page, SHOES)
            wait_for(page, lambda: sentence(page))
        elif number == 1:
            find(page, "#use-examples").click()
            wait_for(page, lambda: len(captions(page)) == len(PATHS) and find(page, "#csv").is_enabled())
        elif number == 2:
            wait_for(page, lambda: find_all(page, "#classes td"))
        wait_for(page, lambda: not find_all(page, ".pending"))  # fades
        axe = Axe(page)
        axe.inject()
        violations = [v for v in axe.run()["violations"] if (name, v["id"]) not in GRADIO]
        faults += [(name, v["id"], node["html"][:150]) for v in violations for node in v["nodes"]]
    assert not faults


def test_hostile_report_can_do_nothing(chromium, tiny_checkpoint):
    """It comes with a checkpoint from anyone."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_error(404)

    home = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=home.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{home.server_port}"
    report = tiny_checkpoint / REPORT
    report.parent.mkdir(exist_ok=True)
    report.write_text(
        f"<!doctype html><html><head><title>x</title><link rel=stylesheet href={address}/style><style>"
        f"@import '{address}/import'; body {{ background: url({address}/background) }}</style></head><body>"
        f"<img id=outside src={address}/picture>"
        f"<script>document.title = 'taken'; fetch('{address}/fetch')</script>"
        f"<img src=x onerror=\"document.title = 'taken'\"><iframe src={address}/frame></iframe>"
        f"<form action={address}/form><button id=send>send</button></form>"
    )
    with serving(FashionClassifier(load_checkpoint(tiny_checkpoint))) as page:
        chromium.get(f"{page}report")
        find(chromium, "#send").click()
        wait_for(chromium, lambda: chromium.execute_script("return document.getElementById('outside').complete"))
        assert chromium.execute_script("return [document.URL, document.title]") == [f"{page}report", "x"]
        assert not asked
    chromium.get(report.as_uri())  # without the app's policy it acts and calls
    wait_for(chromium, lambda: chromium.title == "taken" and {"/picture", "/style", "/fetch"} <= set(asked))
    home.shutdown()
