from html.parser import HTMLParser

from fashion_model.app import report


def elements(html):
    found = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attributes: found.append((tag, dict(attributes)))
    parser.feed(html)
    return found


def test_a_report_is_inside_a_sandboxed_frame_whatever_it_says(tmp_path):
    text = "<p title='\"'>&amp; </iframe>\"><script>alert(1)</script>"
    page = tmp_path / "report.html"
    page.write_bytes(text.encode() + b"\xff")
    ((tag, attributes),) = elements(report.framed(page))
    assert (tag, attributes["sandbox"]) == ("iframe", "")
    assert attributes["srcdoc"] == f"{report.HEAD}{text}\N{REPLACEMENT CHARACTER}"


def test_a_report_beyond_the_limit_is_named_and_not_shown(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "MAX_BYTES", 3)
    page = tmp_path / "<b>report.html"
    page.write_text("long")
    frame = report.framed(page)
    assert "larger than 3 bytes" in frame
    assert "<b>" not in frame
    assert "iframe" not in frame
