"""Chromium, and pages opened in it."""

import shutil

import pytest


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("no Chromium on the path")
    with sync_api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture
def open_page(browser):
    """Opens a page as a double click does; an error on the page fails the test."""
    contexts, complaints = [], []

    def open_it(address, *, may_complain=False, **given):
        context = browser.new_context(**{"viewport": {"width": 1200, "height": 800}, **given})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(10_000)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        if not may_complain:
            page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.goto(address)
        page.locator("html.ready").wait_for()
        return page

    yield open_it
    for context in contexts:
        context.close()
    assert complaints == []
