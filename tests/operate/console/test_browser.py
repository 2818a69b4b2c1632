"""The console in a real browser, on a running stack: an order that hangs is found, explained, pushed, seen to settle.

    SCREENSHOTS=1 .venv/bin/python -m pytest -m ci tests/operate/console/test_browser.py

writes the pictures of docs/console.md and the README.
"""

import html
import os
import re
import secrets
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlsplit

import aiohttp
import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, BrowserContext, Page, async_playwright, expect

from local.ports import Ports
from local.servers import services
from local.servers.parts import spawn
from local.servers.probe import answers
from local.stack import Stack
from operate.console.app import PAGES
from tests.operate.conftest import Customer, poison
from tests.support.stack_fixtures import eventually

CHROMIUM: Final = shutil.which("chromium-headless-shell")
QUIET: Final = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
]
PICTURES: Final = Path(__file__).parents[3] / "docs" / "console"
# A page asks for itself anew every few seconds, and a busy machine may take several turns until billing has decided.
expect.set_options(timeout=60_000)
HOSTILE: Final = "Павел <script>document.title='no'</script>"

pytestmark = [
    pytest.mark.skipif(
        CHROMIUM is None,
        reason="Chromium is not installed: apt-get install chromium-headless-shell fonts-dejavu-core fonts-noto-core",
    ),
    pytest.mark.timeout(300),
    pytest.mark.ci,
]


@pytest.fixture(scope="module")
async def console(stack: Stack) -> AsyncIterator[str]:
    """Run the console beside the stack, and return its address."""
    port = Ports().free()
    told = {"HOST": "127.0.0.1", "PORT": str(port), "FUNCTION_TARGET": "console", "MONGODB_URI": stack.mongodb_uri}
    environment = {**services.base_environment(), **told, "LOCAL_DIR": str(stack.folder), "CONSOLE_PUSH": "anybody"}
    process = await spawn([sys.executable, "-m", "shop.serve", "console"], stack.log_file("console"), environment)

    async def ready() -> bool:
        return await answers(port, "/healthz")

    await eventually(ready, 60)
    yield f"http://127.0.0.1:{port}"
    process.terminate()
    await process.wait()


@pytest.fixture(scope="module")
async def chromium() -> AsyncIterator[Browser]:
    """Start the browser."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield browser
        await browser.close()


@asynccontextmanager
async def opened(chromium: Browser, console: str, expected: str = "", **how: Any) -> AsyncIterator[Page]:
    """Open a window in which every request goes to the console, and nothing is ever wrong but what is expected."""
    context: BrowserContext = await chromium.new_context(base_url=console, **how)
    context.set_default_timeout(60_000)
    page = await context.new_page()
    wrong: list[str] = []
    page.on("console", lambda message: wrong.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda sent: None if sent.url.startswith(f"{console}/") else wrong.append(sent.url))
    yield page
    await context.close()
    assert [said for said in wrong if not (expected and expected in said)] == []


async def picture(page: Page, name: str) -> None:
    """Keep a picture of a page for the documents, when it is asked for."""
    if os.environ.get("SCREENSHOTS"):
        PICTURES.mkdir(exist_ok=True)
        await page.screenshot(path=PICTURES / f"{name}.png", full_page=True)


async def tab_to(page: Page, name: str) -> None:
    """Press Tab until what is called so has the focus."""
    for _ in range(60):
        await page.keyboard.press("Tab")
        said: str = await page.evaluate(
            "() => { const e = document.activeElement;"
            " return e.getAttribute('aria-label') || e.labels?.[0]?.textContent || e.textContent || '' }"
        )
        if said.strip().startswith(name):
            return
    raise AssertionError(f"no Tab leads to {name}")


@asynccontextmanager
async def frozen(stack: Stack, function: str) -> AsyncIterator[None]:
    """Freeze a function; it goes on afterwards."""
    pid = stack.pid(function)
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


async def hung(customer: Customer) -> str:
    """Order a basket that nobody decides, and return it."""
    await customer.deposit(100)
    basket = await customer.call("GET", "/GetBasket")
    await customer.call("POST", "/Order", sum=10, basket=basket["basket"], attempt=basket["attempt"])
    return str(basket["basket"])


async def test_a_hung_order_is_found_explained_pushed_and_seen_to_settle_by_keyboard_alone(
    stack: Stack, console: str, chromium: Browser, customer: Customer
) -> None:
    """Without a mouse, and without loading the page again: it tells by itself that it is paid."""
    customer.user = "Павел"
    size = {"width": 1000, "height": 760}
    async with opened(chromium, console, viewport=size) as page:
        async with frozen(stack, "billing-handler"):
            basket = await hung(customer)
            await page.goto("/orders?show=undecided")
            await expect(page.get_by_role("link", name=basket)).to_be_visible()
            await picture(page, "undecided")
            await tab_to(page, "Basket, event, trace or customer")
            await page.keyboard.type(basket)
            await page.keyboard.press("Enter")
            sentence = page.locator("#sentence")
            await expect(sentence).to_contain_text("billing-handler has not decided: billing-handler does not answer")
            await expect(sentence).to_contain_text("resend_orders asks again in")
            await expect(page.get_by_text("in which nothing happened, until now")).to_be_visible()
            await picture(page, "hung")
            await tab_to(page, "Ask for its payment again")
            await page.keyboard.press("Enter")
            await expect(page.get_by_label("Why")).to_be_visible()
            await tab_to(page, "Why")
            await page.keyboard.type("he waits at the counter")
            await page.keyboard.press("Enter")
            await expect(page.get_by_text("ask for payment again (he waits at the counter)")).to_be_visible()
            await page.evaluate("() => { window.before = true }")
        await expect(sentence).to_contain_text("Paid")
        await expect(page.get_by_role("status")).to_have_text("It is paid now.")
        assert await page.evaluate("() => window.before") is True
        assert await page.get_by_role("link", name="Ask for its payment again").count() == 0
        await picture(page, "paid")
    assert (await customer.call("GET", "/GetUser"))["balance"] == 90


async def pages(stack: Stack, customer: Customer) -> list[str]:
    """Fill the shop with what every page shows, and return their addresses."""
    await customer.deposit(100)
    trace = f"{secrets.randbits(128) or 1:032x}"
    customer.headers = {"traceparent": f"00-{trace}-00f067aa0ba902b7-00"}
    paid = await customer.order(10)
    await customer.order(10_000)
    await poison(stack, customer.user)
    lists = [f"/orders?show={which}" for which in ("stuck", "undecided", "declined", "paid")]
    found = [f"/find?q={trace}", f"/order?basket={paid}", f"/customer?user={quote(customer.user)}"]
    letters = ["/letters", "/letters?consumer=billing-handler", "/redrive?consumer=billing-handler", "/park"]
    return ["/", *lists, *found, *letters, "/health", "/actions", "/verify", "/nope"]


async def letter_of(console: str) -> str:
    """Wait until a consumer has refused what it was sent, and return the address of its dead letter."""
    found: list[str] = []

    async def refused() -> bool:
        async with aiohttp.ClientSession() as http, http.get(f"{console}/letters?consumer=billing-handler") as answer:
            found[:] = re.findall(r'href="(/letter\?[^"]+)"', await answer.text())
        return bool(found)

    await eventually(refused)
    return html.unescape(found[0])


async def show(page: Page, address: str) -> None:
    """Open a page; one that is not there is none that goes wrong."""
    answer = await page.goto(address)
    assert answer is not None
    assert answer.status == (404 if address == "/nope" else 200), address


async def test_axe_finds_nothing_on_any_page_light_or_dark_and_none_is_wider_than_a_telephone(
    stack: Stack, console: str, chromium: Browser, customer: Customer
) -> None:
    """What keeps somebody from using a page: contrast, names, order, regions, or scrolling in two directions."""
    customer.user = HOSTILE
    addresses = [*await pages(stack, customer), await letter_of(console)]
    size = {"width": 1000, "height": 760}
    async with opened(chromium, console, viewport=size) as page:
        for name in ("customer", "redrive"):
            await show(page, next(address for address in addresses if address.startswith(f"/{name}?")))
            await picture(page, name)
    async with frozen(stack, "billing-handler"):
        basket = await hung(customer)
        addresses += [f"/order?basket={basket}", f"/ask?basket={basket}"]
        assert {urlsplit(address).path for address in addresses} >= PAGES.keys()
        await look_at(addresses, console, chromium)


async def look_at(addresses: list[str], console: str, chromium: Browser) -> None:
    """Hold pages to what axe knows, light and dark, and to the width of a telephone."""
    for scheme in ("light", "dark"):
        how: dict[str, Any] = {"color_scheme": scheme, "viewport": {"width": 320, "height": 640}}
        # A page that is not there is an error in the browser's console, and meant to be.
        async with opened(chromium, console, "responded with a status of 404", **how) as page:
            for address in addresses:
                await show(page, address)
                found = await Axe().run(page)
                assert found.violations_count == 0, f"{address} {scheme}: {found.generate_report()}"
                wide = await page.evaluate("() => document.documentElement.scrollWidth")
                assert wide <= 320, (address, wide)
                assert await page.title() != "no"


async def test_a_page_outlasts_an_outage_of_what_it_asks(
    stack: Stack, console: str, chromium: Browser, customer: Customer
) -> None:
    """It keeps what it shows, says that this is no longer up to date, and goes on by itself."""
    customer.user = "Eva"
    expected = "the server responded with a status of 503"
    async with opened(chromium, console, expected) as page:
        async with frozen(stack, "billing-handler"):
            basket = await hung(customer)
            await page.goto(f"/order?basket={basket}")
            await page.route("**/order?*live=1", lambda asked: asked.fulfill(status=503, body="<h1>Not possible</h1>"))
            await expect(page.get_by_role("status")).to_contain_text("no longer up to date")
            await expect(page.locator("#sentence")).to_contain_text("billing-handler has not decided")
            await page.unroute("**/order?*live=1")
            await expect(page.get_by_role("status")).to_be_empty()
        await expect(page.locator("#sentence")).to_contain_text("Paid")


async def test_it_works_without_javascript(stack: Stack, console: str, chromium: Browser, customer: Customer) -> None:
    """The page asks for itself anew while an order is on its way; forms are forms."""
    customer.user = "Ann"
    async with opened(chromium, console, java_script_enabled=False) as page:
        async with frozen(stack, "order-handler"):
            basket = await hung(customer)
            await page.goto(f"/order?basket={basket}")
            await expect(page.locator("#sentence")).to_contain_text("order-handler has not settled it")
            await page.get_by_role("link", name="Ask for its payment again").click()
            await page.get_by_label("Why").fill("no scripts here")
            await page.get_by_role("button", name="Ask for payment again").click()
            await expect(page.get_by_text("ask for payment again (no scripts here)")).to_be_visible()
        await expect(page.locator("#sentence")).to_contain_text("Paid")
