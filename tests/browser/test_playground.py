"""The playground, in a browser that reaches nothing but our server."""

import json
from pathlib import Path

from playwright.sync_api import Page, WebSocket, expect

from tests.browser.conftest import Visit
from tests.browser.site import Site


def run(page: Page) -> None:
    page.get_by_role("button", name="Execute query").click()


def response(page: Page, *texts: str) -> None:
    for text in texts:
        expect(page.get_by_role("region", name="Result Window")).to_contain_text(text)


def test_subscription_of_the_article_receives_two_results(site: Site, visit: Visit) -> None:
    page = visit(f"{site.origin}/graphql/")
    results: list[object] = []

    def keep(frame: str | bytes) -> None:
        message = json.loads(frame)
        if message["type"] == "next":
            results.append(message["payload"])

    def listen(socket: WebSocket) -> None:
        socket.on("framereceived", keep)

    page.on("websocket", listen)
    run(page)
    response(page, "UNPAID", "2026-11-01")
    site.sql("UPDATE orders_order SET state = 'PAID', date = '2026-11-02'")
    response(page, '"PAID"', "2026-11-02")
    assert results == [
        {"data": {"getOrder": {"state": "UNPAID", "date": "2026-11-01"}}},
        {"data": {"getOrder": {"state": "PAID", "date": "2026-11-02"}}},
    ]


def test_examples_stand_in_tabs_and_run(site: Site, visit: Visit) -> None:
    page = visit(f"{site.origin}/graphql/")
    tabs = page.get_by_role("tab")
    names = ["getLastOrder", "getLastOrderWithUser", "orders", "createOrder", "liveOrders"]
    expect(tabs).to_have_text(names)
    expected = ["UNPAID", "alice@example.com", '"id"', '"id"', '"id"']
    for name, text in zip(names, expected, strict=True):
        tabs.get_by_text(name, exact=True).click()
        run(page)
        response(page, text)
        if (stop := page.get_by_role("button", name="Stop query")).count():
            stop.click()


def test_schema_is_described(site: Site, visit: Visit) -> None:
    page = visit(f"{site.origin}/graphql/")
    page.get_by_role("button", name="Show Documentation Explorer").click()
    docs = page.get_by_role("region", name="Documentation Explorer")
    docs.get_by_text("Mutation", exact=True).click()
    expect(docs).to_contain_text("Set whether an order has been paid for.")


def test_subscription_carries_the_session(database: Path, visit: Visit) -> None:
    with Site(database, OPEN_ACCESS="false") as site:
        page = visit(f"{site.origin}/graphql/")
        run(page)
        response(page, "UNAUTHENTICATED")

        page.goto(f"{site.origin}/admin/login/?next=/graphql/")
        page.get_by_label("Username").fill("admin")
        page.get_by_label("Password").fill("admin")
        page.get_by_role("button", name="Log in").click()
        run(page)
        response(page, "UNPAID")
