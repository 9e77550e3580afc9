"""The page as a visitor sees it, in headless Chromium (Debian: chromium, chromium-driver)."""

import json
import os
import shutil
from urllib.parse import urlsplit

import pytest
from PIL import Image
from selenium import webdriver
from selenium.common.exceptions import NoSuchElementException, StaleElementReferenceException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait
from selenium_axe_python import Axe

from fashion_model.app.answer import NOT_FASHION, caption_of, document_of, python_code, shown
from fashion_model.app.uploads import MAX_BYTES, TOO_LARGE
from fashion_model.images import open_image
from tests.conftest import NAMES
from tests.corpus import heic
from tests.fashion_model.app.conftest import PATHS, SHOES, check_overlay

pytestmark = pytest.mark.slow

FLAGS = "headless no-sandbox disable-gpu disable-quic no-first-run disable-sync disable-background-networking"
FLAGS += " disable-component-update disable-dev-shm-usage hide-scrollbars window-size=1280,900"
SECONDS = 60
PHONE_SIZE, DESKTOP_SIZE = (390, 844), (1280, 800)
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
    for flag in (*FLAGS.split(), f"user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(f"--{flag}")
    with webdriver.Chrome(options=options, service=Service(driver)) as browser:
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


def upload(browser, path):
    find(browser, "#photo input[type=file]").send_keys(str(path))


def sentence(browser, within="#answer"):
    return "".join(element.text for element in find_all(browser, f"{within} .sentence"))


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


def download(browser, folder, buttons):
    """Click on each of `buttons`, a dictionary of selectors with the names of files; the files that appear."""
    browser.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(folder)})
    for button in buttons:
        find(browser, button).click()
    paths = [folder / name for name in buttons.values()]
    wait_for(browser, lambda: all(path.exists() for path in paths))
    return paths


def expected(classifier, path):
    """The prediction, and its document."""
    prediction = classifier.predict([path])[0]
    return prediction, document_of(path.name, classifier, prediction)


@pytest.mark.parametrize("size", [PHONE_SIZE, DESKTOP_SIZE], ids=["phone", "desktop"])
def test_a_visit(browser, served, classifier, tmp_path, size):
    resize(browser, size)
    page = opened(browser, served)
    assert box(page, ".examples")["bottom"] <= size[1]  # above the fold
    assert not find_all(page, "#answer .answer")

    upload(page, SHOES)
    prediction, document = expected(classifier, SHOES)
    wait_for(page, lambda: sentence(page) == document["sentence"])
    labels = [element.text for element in find_all(page, "#answer .label")]
    assert labels == [label for name in NAMES for label, _ in shown(prediction[name])]
    assert "A hint" in find(page, "#answer .doubtful .hint").text
    seen = "#answer .cards" if size == PHONE_SIZE else "#answer .sentence"
    assert box(page, seen)["bottom"] <= size[1], "the answer has to be scrolled to"
    assert page.execute_script("return [scrollY, document.documentElement.scrollWidth <= innerWidth]") == [0, True]

    # A runner-up, another attribute by the keyboard, and another opacity, all without a request.
    assert explained(page) == ("product_type", "Casual Shoes")
    sent_by(page)
    find(page, "#answer [data-map=product_type-1]").click()
    assert explained(page) == ("product_type", "Sports Shoes")
    page.execute_script("document.querySelector('#photo button').focus()")
    focused = []
    while len(focused) < 4 and "color-0" not in focused:
        page.switch_to.active_element.send_keys(Keys.TAB)
        focused.append(page.switch_to.active_element.get_attribute("data-map"))
    page.switch_to.active_element.send_keys(Keys.ENTER)
    assert explained(page) == ("color", "Black"), focused
    find(page, "#answer input[type=range]").send_keys(Keys.END)
    find(page, "#answer summary").click()
    assert f"Fashion score {prediction.fashion_score:.1f}." in find(page, "#answer .score").text
    assert not sent_by(page)

    stem = "phone-1-black-shoes"
    buttons = {"[data-take=overlay]": f"{stem}-color-Black.png", "[data-take=result]": f"{stem}.json"}
    image, saved = download(page, tmp_path, buttons)
    assert json.loads(saved.read_text(encoding="utf-8")) == document
    check_overlay(image, classifier.explain(SHOES, "color", opacity=1))
    code = python_code(SHOES.name).replace("ADDRESS", served.rstrip("/"))
    find(page, "#answer [data-copy=python]").click()
    wait_for(page, lambda: find(page, "#answer [data-copy=python]").text == "Copied")
    assert page.execute_async_script("navigator.clipboard.readText().then(arguments[0])") == code

    # Without its photograph the page is empty again.
    page.execute_script("scrollTo(0, 0)")
    find(page, "#photo button[aria-label='Remove Image']").click()
    wait_for(page, lambda: not find_all(page, "#answer .answer"))


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
    (tmp_path / "IMG_0001.HEIC").write_bytes(heic(Image.open(path)))
    upload(page, tmp_path / "IMG_0001.HEIC")


@pytest.mark.parametrize(
    ("way", "path"),
    [(paste, PATHS[1]), (choose_example, PATHS[5]), (take_with_a_phone, PATHS[2]), (upload_heic, SHOES)],
)
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


def test_fault_is_a_sentence_in_place_of_the_answer(page, tmp_path):
    choose_example(page, SHOES, tmp_path)
    wait_for(page, lambda: "Black" in sentence(page))
    find(page, "#address textarea, #address input").send_keys("http://127.0.0.1/x.jpg", Keys.ENTER)
    wait_for(page, lambda: "private network" in sentence(page))
    assert not find_all(page, "#answer .cards")
    (tmp_path / "letter.jpg").write_text("Dear Sir")
    upload(page, tmp_path / "letter.jpg")
    wait_for(page, lambda: "not an image" in sentence(page))

    (tmp_path / "large.jpg").write_bytes(SHOES.read_bytes().ljust(MAX_BYTES + 1))
    sent_by(page)
    upload(page, tmp_path / "large.jpg")
    wait_for(page, lambda: sentence(page) == TOO_LARGE)
    assert not [url for url in sent_by(page) if "upload" in url], "a file that is too large was uploaded"


def test_many_become_table_captions_and_files(page, classifier, tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_text("Dear Sir")
    open_tab(page, "Many")
    wait_for(page, lambda: find(page, "#csv").is_displayed())
    find(page, "#files input[type=file]").send_keys("\n".join(map(str, [PATHS[0], broken, PATHS[1]])))
    wait_for(page, lambda: len(find_all(page, CAPTIONS)) == 2 and find(page, "#csv").is_enabled())
    for element, prediction in zip(find_all(page, CAPTIONS), classifier.predict([PATHS[0], PATHS[1]]), strict=True):
        assert element.text == caption_of(prediction)
        assert element.get_property("scrollWidth") <= element.get_property("clientWidth")  # nothing of it is hidden
    assert "broken.jpg: The file is not an image" in find(page, "#summary").text
    assert "broken.jpg" in find(page, "#table").text

    # A thumbnail opens with its overlays.
    find_all(page, "#gallery button")[1].click()
    wait_for(page, lambda: sentence(page, "#opened") == expected(classifier, PATHS[1])[1]["sentence"])
    written = download(page, tmp_path, {"#csv": "predictions.csv", "#json-lines": "predictions.jsonl"})
    assert [len(path.read_text(encoding="utf-8").splitlines()) for path in written] == [4, 3]

    # Without its files the page is empty again.
    page.execute_script("scrollTo(0, 0)")
    find(page, "#files button[aria-label='Clear']").click()
    wait_for(page, lambda: not find_all(page, CAPTIONS) and not find(page, "#csv").is_enabled())


def test_other_tabs_have_figures_report_and_code(browser, served):
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
    page.close()
    page.switch_to.window(page.window_handles[0])

    open_tab(page, "Code")
    wait_for(page, lambda: find(page, "[data-code=javascript]").is_displayed())
    codes = {e.get_attribute("data-code"): e.get_attribute("textContent") for e in find_all(page, "[data-code]")}
    assert not [code for code in codes.values() if "ADDRESS" in code]
    assert codes["mcp"] == f"{served}gradio_api/mcp/"
    run = "const [url, done] = arguments; (async () => { const photograph = await (await fetch(url)).blob();"
    answer = page.execute_async_script(f"{run} {codes['javascript']}; done(answer) }})()", f"{served}examples/2315.jpg")
    assert answer["product_type"]["label"] == "Tshirts", "the JavaScript on the page does something else"


# In gradio's own components: captions as alternative texts, the upload button in a button.
GRADIO = {("Many", rule) for rule in ("image-redundant-alt", "nested-interactive")}


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing(browser, served, theme):
    page = opened(browser, f"{served}?__theme={theme}")
    faults = []
    for number, name in enumerate(TABS):
        open_tab(page, name)
        if number == 0:
            upload(page, SHOES)
            wait_for(page, lambda: sentence(page))
        elif number == 1:
            find(page, "#use-examples").click()
            wait_for(page, lambda: len(find_all(page, CAPTIONS)) == len(PATHS) and find(page, "#csv").is_enabled())
        wait_for(page, lambda: not find_all(page, ".pending"))  # fades
        axe = Axe(page)
        axe.inject()
        violations = [v for v in axe.run()["violations"] if (name, v["id"]) not in GRADIO]
        faults += [(name, v["id"], node["html"][:150]) for v in violations for node in v["nodes"]]
    assert not faults
