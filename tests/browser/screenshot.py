"""Take the README's picture of the board: `make screenshot`."""

import sys
import tempfile
from pathlib import Path

from playwright.sync_api import expect

from tests.browser.chromium import launch_chromium
from tests.browser.site import Site, create_database, execute, order_for

ORDERS = [
    ("grace", "PAID"),
    ("ada", "PAID"),
    ("admin", "UNPAID"),
    ("ada", "PAID"),
    ("grace", "UNPAID"),
    ("grace", "PAID"),
    ("ada", "UNPAID"),
    ("admin", "PAID"),
    ("grace", "PAID"),
]


def take(picture: Path, folder: Path) -> None:
    database = folder / "db.sqlite3"
    create_database(database)
    for day, (username, state) in enumerate(ORDERS, 12):
        execute(database, order_for(username, state, f"2026-11-{day}"))
    with Site(database) as site, launch_chromium() as browser:
        page = browser.new_page(viewport={"width": 1200, "height": 760}, color_scheme="light")
        page.goto(site.origin)
        form = page.get_by_role("form")
        form.get_by_label("For").fill("ada")
        form.get_by_role("button").click()
        expect(page.locator(".newest")).to_contain_text("#11")
        page.get_by_role("heading", name="Newest order").click()
        page.evaluate("Promise.all(document.getAnimations().map(({ finished }) => finished))")
        page.screenshot(path=picture)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        take(Path(sys.argv[1]), Path(folder))
