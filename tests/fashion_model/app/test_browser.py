"""The page as a visitor sees it, in headless Chromium (Debian: chromium, chromium-driver)."""

import os
import re
import shutil
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import numpy as np
import pytest
from PIL import Image
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from fashion_model import FashionClassifier
from fashion_model.app.page import TITLE
from fashion_model.app.single import EXAMPLES
from fashion_model.checkpoint import DEFAULT_CHECKPOINT, REPORT, load_checkpoint
from fashion_model.images import open_image
from tests.conftest import NAMES, serving

pytestmark = pytest.mark.slow

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-sync",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-dev-shm-usage",
    "--window-size=1400,1100",
)
SECONDS = 60


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (chromium and driver):
        assert not os.environ.get("CI"), "CI has to install chromium and chromium-driver"
        pytest.skip("chromium and chromedriver are not installed (Debian: chromium, chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(flag)
    with webdriver.Chrome(options=options, service=Service(driver)) as browser:
        yield browser


@pytest.fixture
def page(browser, served):
    browser.get(served)
    wait_for(browser, lambda: browser.find_elements(By.CSS_SELECTOR, "#photo input[type=file]"))
    return browser


def wait_for(browser, condition):
    # The page may be drawn anew between finding an element and reading it.
    return WebDriverWait(browser, SECONDS, ignored_exceptions=[StaleElementReferenceException]).until(
        lambda _: condition()
    )


def text(browser, element_id):
    return browser.find_element(By.ID, element_id).text


def legend_colors(browser):
    """From little to most."""
    ramp = browser.find_element(By.CSS_SELECTOR, "#legend [style*=gradient]")
    return re.findall(r"rgb\([^)]*\)", ramp.value_of_css_property("background-image"))


def overlay_source(browser):
    images = browser.find_elements(By.CSS_SELECTOR, "#overlay img")
    return images[0].get_attribute("src") if images else None


def notice(browser):
    """Empty where the page shows none."""
    return "".join(element.text for element in browser.find_elements(By.ID, "notice")).strip()


def messages(browser):
    return " ".join(toast.text for toast in browser.find_elements(By.CSS_SELECTOR, "[data-testid='toast-body']"))


def labels_shown(browser, prediction):
    return [headline(browser, name) for name in NAMES] == [prediction[name].label for name in NAMES]


def headline(browser, name):
    """The label in large letters, or None."""
    found = browser.find_elements(By.CSS_SELECTOR, f"#{name} [data-testid='label-output-value']")
    return found[0].text.strip() if found else None


def test_a_photograph_dropped_on_the_page_gets_four_labels_and_an_overlay(page, classifier, tmp_path):
    page.find_element(By.CSS_SELECTOR, "#photo input[type=file]").send_keys(str(EXAMPLES[0]))
    prediction = classifier.predict([EXAMPLES[0]])[0]
    wait_for(page, lambda: labels_shown(page, prediction) and overlay_source(page))
    assert f"{round(100 * prediction.gender.confidence)}%" in text(page, "gender")
    size = page.execute_script(
        "const i = document.querySelector('#overlay img'); return [i.naturalWidth, i.naturalHeight]"
    )
    assert tuple(size) == open_image(EXAMPLES[0]).size
    page.save_screenshot(str(tmp_path / "page.png"))
    with Image.open(tmp_path / "page.png") as shot:
        assert np.asarray(shot.convert("RGB")).std() > 10  # not a blank page

    # Another attribute gets an overlay of its own.
    before = overlay_source(page)
    page.find_element(By.CSS_SELECTOR, "#attribute input[value=color]").click()
    wait_for(page, lambda: overlay_source(page) not in (None, before))

    # So does another opacity, and a legend says what the colors mean.
    before, colors = overlay_source(page), legend_colors(page)
    assert len(set(colors)) > 10
    number = page.find_element(By.CSS_SELECTOR, "#opacity input[type=number]")
    number.send_keys(Keys.CONTROL, "a")
    number.send_keys("0.3", Keys.ENTER)
    wait_for(page, lambda: overlay_source(page) not in (None, before))
    assert text(page, "legend").split() == ["little", "most", "of", "the", "evidence"]
    wait_for(page, lambda: legend_colors(page)[1:] != colors[1:])
    assert legend_colors(page)[0] == colors[0]  # gray, where there is no heat

    # Without its photograph the page is empty again.
    page.find_element(By.CSS_SELECTOR, "#photo button[aria-label='Remove Image']").click()
    wait_for(page, lambda: not any(headline(page, name) for name in NAMES) and not overlay_source(page))


def test_an_example_fills_the_page(page, classifier):
    wait_for(page, lambda: len(page.find_elements(By.CSS_SELECTOR, "#examples img")) == len(EXAMPLES))
    page.find_elements(By.CSS_SELECTOR, "#examples img")[1].click()
    prediction = classifier.predict([EXAMPLES[1]])[0]
    wait_for(page, lambda: labels_shown(page, prediction) and overlay_source(page))


def test_what_is_no_fashion_product_is_noticed_until_it_is_removed(page, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (400, 300, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    page.find_element(By.CSS_SELECTOR, "#photo input[type=file]").send_keys(str(tmp_path / "noise.png"))
    wait_for(page, lambda: "does not look like" in notice(page))
    assert headline(page, "color")
    page.find_element(By.CSS_SELECTOR, "#photo button[aria-label='Remove Image']").click()
    wait_for(page, lambda: not notice(page))


def test_the_page_names_its_checkpoint(page):
    assert "embedded default" in text(page, "checkpoint")


def test_what_is_no_photograph_is_said_on_the_page(page, tmp_path):
    path = tmp_path / "letter.jpg"
    path.write_text("Dear Sir")
    page.find_element(By.CSS_SELECTOR, "#photo input[type=file]").send_keys(str(path))
    wait_for(page, lambda: "not an image" in messages(page))


def test_the_button_without_a_photograph_asks_for_one(page):
    page.find_element(By.ID, "classify").click()
    wait_for(page, lambda: "choose a photograph" in messages(page))


def test_many_photographs_become_a_table_captions_and_a_download(page, classifier, tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_text("Dear Sir")
    files = [EXAMPLES[0], broken, EXAMPLES[1]]
    (tab,) = page.find_elements(By.XPATH, "//button[@role='tab'][contains(., 'Many photographs')]")
    tab.click()
    wait_for(page, lambda: page.find_element(By.ID, "classify-all").is_displayed())
    assert page.find_element(By.ID, "download").get_attribute("disabled")
    page.find_element(By.CSS_SELECTOR, "#files input[type=file]").send_keys("\n".join(map(str, files)))
    wait_for(page, lambda: len(page.find_elements(By.CSS_SELECTOR, "#files .file")) == 3)
    page.find_element(By.ID, "classify-all").click()
    wait_for(page, lambda: len(captions(page)) == 2)

    predictions = classifier.predict([EXAMPLES[0], EXAMPLES[1]])
    for element, prediction in zip(captions(page), predictions, strict=True):
        for name in NAMES:
            assert prediction[name].label in element.text
        assert element.get_property("scrollWidth") <= element.get_property("clientWidth")  # nothing of it is hidden
        assert element.get_property("scrollHeight") <= element.get_property("clientHeight")
    table = text(page, "table")
    assert all(path.name in table for path in files)
    assert "The file is not an image" in table
    assert predictions[0].product_type.label in table
    assert text(page, "summary") == "2 of 3 files could be read."

    page.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path / "down")})
    wait_for(page, lambda: page.find_element(By.ID, "download").is_enabled())
    page.find_element(By.ID, "download").click()
    wait_for(page, lambda: (tmp_path / "down" / "predictions.csv").exists())
    assert len((tmp_path / "down" / "predictions.csv").read_text(encoding="utf-8").splitlines()) == 4

    # Without its files the page is empty again.
    page.find_element(By.CSS_SELECTOR, "#files button[aria-label='Clear']").click()
    wait_for(page, lambda: not captions(page) and not page.find_element(By.ID, "download").is_enabled())


def captions(browser):
    return browser.find_elements(By.CSS_SELECTOR, "#gallery .caption-label")


def test_the_button_without_photographs_asks_for_some(page):
    (tab,) = page.find_elements(By.XPATH, "//button[@role='tab'][contains(., 'Many photographs')]")
    tab.click()
    wait_for(page, lambda: page.find_element(By.ID, "classify-all").is_displayed())
    page.find_element(By.ID, "classify-all").click()
    wait_for(page, lambda: "choose photographs" in messages(page))


LOADED = "return [...document.images].map(image => image.complete && image.naturalWidth > 0)"


def report_tab(browser):
    return browser.find_elements(By.XPATH, "//button[@role='tab'][contains(., 'Report')]")


def open_report(browser):
    """The frame with the report, once it is there."""
    report_tab(browser)[0].click()
    wait_for(browser, lambda: browser.find_elements(By.CSS_SELECTOR, "#report iframe"))
    return browser.find_element(By.CSS_SELECTOR, "#report iframe")


def test_the_report_shows_all_its_pictures(browser):
    browser.get((DEFAULT_CHECKPOINT / REPORT).as_uri())
    loaded = browser.execute_script(LOADED)
    assert len(loaded) > 40
    assert all(loaded)
    assert browser.execute_script("return document.compatMode") == "CSS1Compat"
    (details, *_) = browser.find_elements(By.TAG_NAME, "details")
    assert not details.find_element(By.TAG_NAME, "table").is_displayed()
    details.find_element(By.TAG_NAME, "summary").click()
    assert details.find_element(By.TAG_NAME, "table").is_displayed()


def test_the_page_sends_the_report_of_its_checkpoint_once_it_is_opened(page):
    assert not page.find_elements(By.CSS_SELECTOR, "#report iframe")
    page.switch_to.frame(open_report(page))
    wait_for(page, lambda: all(page.execute_script(LOADED)))
    assert len(page.execute_script(LOADED)) > 100
    page.find_elements(By.CSS_SELECTOR, "nav a")[2].click()  # within the frame, not away from it
    wait_for(page, lambda: page.execute_script("return window.scrollY") > 500)
    assert "Evaluation report" in page.find_element(By.TAG_NAME, "h1").text


@pytest.fixture
def home():
    """The address of a server, and the paths that it was asked for."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()


def test_a_report_that_means_ill_can_neither_act_nor_call_home(browser, tiny_checkpoint, tmp_path, home):
    """It comes with a checkpoint from anyone."""
    address, asked = home
    report = tmp_path / "report.html"
    report.write_text(
        f"<!doctype html><html><head><title>x</title><link rel=stylesheet href={address}/style><style>"
        f"@import '{address}/import'; body {{ background: url({address}/background) }}</style></head><body>"
        f'<p id=text>{{{{value}}}} ${{1+1}} </iframe> "&amp;</p><img id=outside src={address}/picture>'
        f"<script>parent.document.title = document.title = 'taken'; fetch('{address}/fetch')</script>"
        f"<img src=x onerror=\"document.title = 'taken'\"><iframe src={address}/frame></iframe>"
        f"<form action={address}/form><button id=send>send</button></form>"
    )
    with serving(FashionClassifier(replace(load_checkpoint(tiny_checkpoint), report=report))) as page:
        browser.get(page)
        wait_for(browser, lambda: report_tab(browser))
        browser.switch_to.frame(open_report(browser))
        assert browser.find_element(By.ID, "text").text == '{{value}} ${1+1} "&'
        browser.find_element(By.ID, "send").click()
        wait_for(browser, lambda: browser.execute_script("return document.getElementById('outside').complete"))
        assert browser.execute_script("return [document.URL, document.title]") == ["about:srcdoc", "x"]
        browser.switch_to.default_content()
        assert browser.title == TITLE
        assert not asked
    browser.get(report.as_uri())  # outside of the app's frame it acts and calls
    wait_for(browser, lambda: browser.title == "taken" and {"/picture", "/style", "/fetch"} <= set(asked))
