"""What holds on every page of the book: nothing is cut off, missing, foreign or unreachable."""

import gzip
import math
from html.parser import HTMLParser
from urllib.parse import unquote, urlparse

import pytest
from axe_playwright_python.sync_playwright import Axe
from chromium import go_to, watch
from finished import pages
from playwright.sync_api import expect

WIDTHS = (390, 768, 1280, 1440)
FIRST_SCREEN = 900  # pixels
FRONT_PAGE = 1_500_000  # bytes, as a static host sends them
SECONDS_TO_LOAD = 2.0  # of a machine that is not busy
TIMES_THE_LIGHTEST = 12  # on any other: of the page with least to draw, opened just after
LIGHTEST = "book/performance.html"
SMALLEST = 9  # pixels, of the text in a figure
TEXT_OF_FIGURES = 11 * 96 / 72  # pixels, before a figure is made to fit: `earlytime.plotting` has 11 points
CUT_OFF = """() => [...document.querySelectorAll("div.highlight pre, .bd-article table, .bd-article img")]
    .filter((each) => each.checkVisibility())
    .filter((each) => {
        const within = each.closest(".cell_output, .pst-scrollable-table-container, .claims-scroll, .map, figure");
        const scrolls = (box) => box && ["auto", "scroll"].includes(getComputedStyle(box).overflowX);
        const wide = each.scrollWidth > each.clientWidth + 1 && !(each.tagName === "PRE" && innerWidth < 1280);
        const edge = document.querySelector(".bd-article").getBoundingClientRect().right + 1;
        const right = each.getBoundingClientRect().right > edge;
        return (each.tagName === "PRE" && wide) || (right && !scrolls(within) && !scrolls(each.parentElement));
    })
    .map((each) => each.tagName + " " + each.textContent.slice(0, 60))"""
SMALLEST_TEXT = """(pixels) => [...document.querySelectorAll(".bd-article :is(.cell_output, .opening) img")]
    .filter((image) => image.checkVisibility())
    .map((image) => pixels * image.getBoundingClientRect().width / image.naturalWidth)"""
DRAWN = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(null))))"
LOADED = "performance.getEntriesByType('navigation')[0].loadEventEnd / 1000"
WITHOUT_TEXT = """() => [...document.querySelectorAll(".bd-article img")]
    .filter((image) => !(image.complete && image.naturalWidth && image.alt.trim()))
    .map((image) => image.src)"""

every_page = pytest.mark.parametrize("name", pages() or ["none"])


@every_page
def test_a_page_fits_every_screen_and_can_be_used_by_everybody(browser, html, name):
    context = browser.new_context(color_scheme="light", viewport={"width": 1280, "height": FIRST_SCREEN})
    page = context.new_page()
    page.set_default_timeout(60_000)
    troubles: list[str] = []
    watch(page, troubles)
    go_to(page, (html / name).as_uri())
    assert page.locator("[data-mml-node=merror]").count() == 0
    assert page.evaluate(WITHOUT_TEXT) == []
    if name.startswith("notebooks/"):
        first = page.locator(".opening img").first
        assert first.bounding_box()["y"] < FIRST_SCREEN * 0.75  # and not only its upper edge
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": FIRST_SCREEN})
        page.evaluate(DRAWN)
        assert all(pixels >= SMALLEST for pixels in page.evaluate(SMALLEST_TEXT, TEXT_OF_FIGURES)), width
        assert page.evaluate("document.documentElement.scrollWidth") <= width, width
        assert page.evaluate(CUT_OFF) == [], width
    assert troubles == []  # before axe reads the pages' styles in its own way
    page.set_viewport_size({"width": 1280, "height": FIRST_SCREEN})
    assert serious_faults(page) == {}
    page.emulate_media(color_scheme="dark")
    page.wait_for_function("document.documentElement.dataset.theme === 'dark'")
    assert serious_faults(page, runOnly=["color-contrast"]) == {}  # all else is as it was in the light
    context.close()


def serious_faults(page, **options):
    """What keeps people from using a page, as axe finds it: rule -> the first elements."""
    # Left out is what Sphinx writes itself: parameters inside of a signature, and the list of citations.
    context = {"include": [["#main-content"]], "exclude": [["dt.sig > dl"], [".citation-list"]]}
    return {
        rule["id"]: [node["html"][:120] for node in rule["nodes"][:3]]
        for rule in Axe().run(page, context=context, options=options).response["violations"]
        if rule["impact"] in ("serious", "critical")
    }


class _Links(HTMLParser):
    """The addresses that a page leads to, and the anchors that it has."""

    def __init__(self, text: str):
        super().__init__()
        self.links: set[str] = set()
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.anchors |= {found[key] for key in ("id", "name") if found.get(key)}
        if tag == "a" and found.get("href"):
            self.links.add(found["href"])


def test_every_link_inside_the_book_leads_somewhere(html):
    parsed = {path: _Links(path.read_text()) for path in html.rglob("*.html") if "_static" not in path.parts}
    dead = []
    for path, page in parsed.items():
        for link in page.links:
            address = urlparse(link)
            if address.scheme or address.netloc:
                continue
            target = (path.parent / unquote(address.path)).resolve() if address.path else path
            anchor = unquote(address.fragment)
            known = target not in parsed or not anchor or anchor in parsed[target].anchors
            if not target.exists() or not known:
                dead.append(f"{path.relative_to(html)}: {link}")
    assert dead == []


def test_no_citation_is_left_open(html):
    for name in pages():
        assert "[?]" not in (html / name).read_text(), name


def test_the_front_page_is_light_and_every_page_quick(browser, html):
    page = browser.new_page()
    sizes = {}
    page.on("response", lambda response: sizes.update({response.url: len(gzip.compress(response.body()))}))
    go_to(page, (html / "book/index.html").as_uri())
    assert sum(sizes.values()) <= FRONT_PAGE
    seconds = lambda name: (page.goto((html / name).as_uri()), page.evaluate(LOADED))[1]
    slow = {}
    for name in pages():
        times, limits = [], [SECONDS_TO_LOAD]
        while min(times, default=math.inf) > max(limits) and len(times) < 3:
            times.append(seconds(name))
            if times[-1] > SECONDS_TO_LOAD:
                limits.append(TIMES_THE_LIGHTEST * seconds(LIGHTEST))
        if min(times) > max(limits):
            slow[name] = times, limits
    page.close()
    assert slow == {}


@pytest.mark.parametrize("words", ["Theorem 3.2", "spectral norm"])
def test_search_finds(browser, html, words):
    page = browser.new_page()
    page.goto((html / "search.html").as_uri() + f"?q={words.replace(' ', '+')}")
    page.wait_for_selector("#search-results li a", timeout=60_000)
    assert page.locator("#search-results li a").count() >= 3
    page.close()


def test_all_claims_fit_two_screens_and_are_filtered(browser, html):
    page = browser.new_page(viewport={"width": 1280, "height": FIRST_SCREEN})
    page.goto((html / "book/claims.html").as_uri())
    page.wait_for_selector(".claims-filters")
    assert page.evaluate("document.documentElement.scrollHeight") <= 2 * FIRST_SCREEN
    rows = page.locator("table.claims > tbody > tr")
    everything = rows.count()
    page.get_by_label("Filter by paper").select_option("Liu et al. 2020")
    assert 0 < rows.count() < everything
    assert set(page.locator("table.claims .paper").all_inner_texts()) == {"Liu et al. 2020"}
    page.get_by_label("Filter by words").fill("bottleneck")
    assert 0 < rows.count() and "bottleneck" in rows.first.inner_text().lower()
    page.get_by_label("Filter by words").fill("")
    page.get_by_label("Filter by paper").select_option("every paper")
    assert rows.count() == everything
    first = rows.first.inner_text()
    page.get_by_role("columnheader", name="statement").click()
    expect(rows.first).not_to_have_text(first, use_inner_text=True)
    page.close()


def test_a_link_to_a_claim_opens_its_record(browser, html):
    page = browser.new_page(viewport={"width": 1280, "height": FIRST_SCREEN})
    page.goto((html / "notebooks/hu2020/figure_1.html").as_uri())
    page.locator(".opening .verdict a").first.click()
    page.wait_for_selector("table.claims details[open]")
    name = urlparse(page.url).fragment
    record = page.locator(f"[id='{name}'] details")
    assert record.get_attribute("open") is not None
    assert 0 <= page.locator(f"[id='{name}']").bounding_box()["y"] < FIRST_SCREEN
    page.close()


def test_without_scripts_the_claims_are_a_table(browser, html):
    context = browser.new_context(java_script_enabled=False, viewport={"width": 1280, "height": FIRST_SCREEN})
    page = context.new_page()
    page.goto((html / "book/claims.html").as_uri())
    assert page.locator("table.claims > tbody > tr").count() > 50
    assert page.locator("table.claims .forest").first.is_visible()
    page.locator("table.claims summary").first.click()
    assert page.locator("table.claims .run-with").first.is_visible()
    context.close()


def test_a_record_is_complete_when_it_is_opened(browser, html):
    page = browser.new_page()
    page.goto((html / "book/claims.html").as_uri())
    page.wait_for_selector(".claims-filters")
    page.get_by_label("Filter by words").fill("Marchenko")  # a word that only a record has
    assert 0 < page.locator("table.claims > tbody > tr").count() < 10
    record = page.locator("table.claims details").first
    assert record.locator(".run-with").count() == 0
    record.locator("summary").click()
    record.locator("mjx-container svg").first.wait_for()
    assert record.locator(".run-with").is_visible() and record.locator("noscript").count() == 0
    page.close()
