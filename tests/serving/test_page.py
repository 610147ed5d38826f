"""The page at /, in a real browser against the real application."""

import base64
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope
from starlette.types import Send as ASGISend

from lib.config.serving import ServeConfig
from serving.gateway import Gateway
from serving.page import policy
from serving.routes import create_app
from tests.browser import Browser, needs_browser
from tests.listening import listening

Picture = Callable[..., bytes]
ANSWERED = "document.getElementById('answer').offsetParent !== null"
PROBLEM = "document.getElementById('problem').offsetParent !== null"
HEAT = "document.getElementById('picture').src.startsWith('data:image/png')"
BARS = "[...document.querySelectorAll('#bars button')]"
CARD = "document.title != 'Manta'"
# A picture from the clipboard, or from the user's hand.
TRANSFER = """
(() => {
  const bytes = Uint8Array.from(atob("BYTES"), (each) => each.charCodeAt(0));
  const data = new DataTransfer();
  data.items.add(new File([bytes], "moved.png", { type: "image/png" }));
  document.getElementById("answer").hidden = true;
  document.dispatchEvent(EVENT);
})()
"""


def text(selector: str) -> str:
    return f"document.querySelector({selector!r}).innerText"


@pytest.fixture(scope="module")
def app(bundle_path: Path) -> Iterator[ASGIApp]:
    gateway = Gateway(ServeConfig(bundle=str(bundle_path)))
    yield create_app(lambda: gateway)
    gateway.close()


@pytest.fixture(scope="module")
def url(app: ASGIApp) -> Iterator[str]:
    with listening(app) as url:
        yield url


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser() as browser:
        yield browser


def test_the_page_runs_its_own_script_alone(url: str) -> None:
    answer = httpx.get(url, trust_env=False)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")
    rules = answer.headers["content-security-policy"]
    assert rules == policy(answer.text)
    assert "default-src 'none'" in rules
    assert "unsafe" not in rules
    assert "http" not in rules
    assert "/" not in httpx.get(f"{url}openapi.json", trust_env=False).json()["paths"]


@needs_browser
@pytest.mark.integration
def test_a_picture_is_chosen_explained_pasted_and_dropped(
    url: str, browser: Browser, picture: Picture, tmp_path: Path
) -> None:
    file = tmp_path / "noise.png"
    file.write_bytes(picture(1))
    expected = httpx.post(f"{url}predict", content=picture(1), trust_env=False).json()["predictions"]
    browser.resize(1100, 800)
    browser.complaints.clear()
    browser.requests.clear()
    browser.open(url)
    browser.until(CARD)
    assert browser.run("document.title") == "my-run · Manta"
    assert browser.run(text("#about")) == "lenet5 · 10 classes"

    browser.choose("#file", file)
    browser.until(ANSWERED)
    spans = f"{BARS}.map((bar) => [...bar.querySelectorAll('span')].map((span) => span.innerText))"
    shown = browser.run(spans)
    assert shown == [[each["label"], f"{100 * each['probability']:.1f} %"] for each in expected]
    widths = browser.run("[...document.querySelectorAll('#bars i')].map((bar) => bar.dataset.width)")
    likely = [100 * each["probability"] for each in expected]
    assert [float(width[:-1]) for width in widths] == pytest.approx(likely)
    browser.until("document.querySelector('#bars i').getBoundingClientRect().width > 5")
    assert browser.run(text("#members")) == "1 of 1"
    assert browser.run(text("#used")) == "none"

    browser.run("document.getElementById('explain').click()")
    browser.until(HEAT)
    assert expected[0]["label"] in browser.run(text("#caption"))
    browser.run("document.querySelectorAll('#bars button')[2].click()")
    browser.until(f"{text('#caption')}.includes({expected[2]['label']!r})")
    pressed = browser.run(f"{BARS}.map((bar) => bar.ariaPressed)")
    assert pressed == ["false", "false", "true", "false", "false"]
    browser.run("document.getElementById('explain').click()")
    browser.until(f"!({HEAT})")

    for event in (
        "new ClipboardEvent('paste', { clipboardData: data, bubbles: true })",
        "new DragEvent('drop', { dataTransfer: data, bubbles: true, cancelable: true })",
    ):
        bytes_of = base64.b64encode(picture(1)).decode()
        browser.run(TRANSFER.replace("BYTES", bytes_of).replace("EVENT", event))
        browser.until(ANSWERED)
        assert browser.run(text("#caption")) == "moved.png"
    assert browser.complaints == []
    assert all(request.startswith((url, "blob:", "data:")) for request in browser.requests)


@needs_browser
@pytest.mark.integration
def test_the_keyboard_is_enough_and_everything_has_a_name(
    url: str, browser: Browser, picture: Picture, tmp_path: Path
) -> None:
    (tmp_path / "noise.png").write_bytes(picture(1))
    browser.open(url)
    browser.choose("#file", tmp_path / "noise.png")
    browser.until(ANSWERED)
    reached = []
    for _ in range(9):
        browser.press("Tab", 9)
        reached.append(browser.run("document.activeElement.id || document.activeElement.dataset.label"))
    assert reached[:2] == ["file", "explain"]
    assert len(set(reached[2:7])) == 5
    browser.run("document.getElementById('explain').focus()")
    browser.press("Enter", 13, "\r")
    browser.until(HEAT)

    nodes = browser.call("Accessibility.getFullAXTree")["nodes"]
    seen = [
        (node["role"]["value"], node.get("name", {}).get("value")) for node in nodes if not node["ignored"]
    ]
    for role in ("button", "link", "image", "heading", "list"):
        assert all(name for kind, name in seen if kind == role), role
    assert ("image", "The picture that was asked about") not in seen
    assert any(role == "status" for role, _ in seen)
    assert any(name == "Choose a picture" for _, name in seen)


@needs_browser
@pytest.mark.integration
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_telephone_shows_mistakes_in_words_and_needs_no_scrolling_sideways(
    url: str, browser: Browser, tmp_path: Path, scheme: str
) -> None:
    (tmp_path / "page.jpg").write_bytes(b"<html>not found</html>" * 5)
    browser.resize(360, 740, scheme)
    browser.open(url)
    browser.choose("#file", tmp_path / "page.jpg")
    browser.until(PROBLEM)
    refused = httpx.post(f"{url}predict", content=b"<html>not found</html>" * 5, trust_env=False).json()
    assert browser.run(text("#error")) == refused["error"]
    assert browser.run(text("#what")) == refused["hint"]
    assert browser.run("document.documentElement.scrollWidth <= innerWidth")
    assert browser.run(f"!({ANSWERED})")
    background = browser.run("getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(246, 247, 249)") == (scheme == "light")


@needs_browser
@pytest.mark.integration
def test_a_token_is_asked_for_and_kept_in_memory(
    app: ASGIApp, browser: Browser, picture: Picture, tmp_path: Path
) -> None:
    async def guarded(scope: Scope, receive: Receive, send: ASGISend) -> None:
        headers: dict[bytes, bytes] = dict(scope["headers"])
        if scope["path"] == "/" or headers.get(b"authorization") == b"Bearer s3cret":
            await app(scope, receive, send)
        else:
            body = {"error": "this endpoint asks for a token", "hint": "send one"}
            challenge = {"WWW-Authenticate": 'Bearer realm="manta", Basic realm="manta"'}
            await JSONResponse(body, 401, challenge)(scope, receive, send)

    def give(token: str) -> None:
        browser.run(f"document.getElementById('token').value = {token!r}")
        browser.run("document.querySelector('#unlock button').click()")

    (tmp_path / "noise.png").write_bytes(picture(1))
    with listening(guarded) as url:
        browser.open(url)
        browser.until("document.activeElement.id == 'token'")
        browser.choose("#file", tmp_path / "noise.png")
        give("wrong")
        browser.until(PROBLEM)
        give("s3cret")
        browser.until(ANSWERED)
        assert browser.run(text("#name")) == "my-run"
        kept = "[localStorage.length, sessionStorage.length, document.cookie, location.href]"
        assert browser.run(kept) == [0, 0, "", url]
        browser.open(url)
        browser.until("document.activeElement.id == 'token'")
