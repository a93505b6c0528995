"""The playground, in a browser that reaches nothing but our server."""

import json

from playwright.sync_api import Page, Route, WebSocket, expect

from tests.browser.conftest import StartSite, Visit, Watch
from tests.browser.site import Site


def run(page: Page, operation: str) -> None:
    """Open the operation's tab and run it."""
    page.get_by_role("tab").get_by_text(operation, exact=True).click()
    editor = page.get_by_role("region", name="Operation Editor")
    expect(editor).to_contain_text(f"{operation}")
    # The editor looks for the operation's name a moment after a change.
    page.clock.run_for(1_000)
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
    run(page, "getLastOrder")
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
    expect(tabs).to_contain_text(names)
    expected = ["UNPAID", "ada@example.com", '"id"', '"id"', '"id"']
    for name, text in zip(names, expected, strict=True):
        run(page, name)
        response(page, text)
        if (stop := page.get_by_role("button", name="Stop query")).count():
            stop.click()


def test_tab_that_is_clicked_at_once_shows_its_own_operation(site: Site, visit: Visit) -> None:
    """GraphiQL shows the first tab's in all that are clicked before its editor is loaded."""
    page = visit(site.origin)
    editors: list[Route] = []

    def hold(route: Route) -> None:
        editors.append(route)

    page.route("**/monaco-editor-*.js", hold)
    page.add_init_script(CLICK_AT_ONCE)
    page.goto(f"{site.origin}/graphql/")
    page.wait_for_timeout(1_000)  # a slow network
    assert len(editors) == 1
    editors[0].continue_()

    editor = page.get_by_role("region", name="Operation Editor")
    expect(editor).to_contain_text("query orders")
    run(page, "orders")
    response(page, '"getOrders"')


CLICK_AT_ONCE = """new MutationObserver((_, observer) => {
    const tabs = [...document.querySelectorAll("[role=tab] button")];
    const tab = tabs.find(({ textContent }) => textContent.trim() === "orders");
    if (!tab) return;
    observer.disconnect();
    // In the frame after the one that first shows the tabs.
    requestAnimationFrame(() => requestAnimationFrame(() => tab.click()));
}).observe(document, { childList: true, subtree: true });"""


def test_schema_is_described(site: Site, visit: Visit) -> None:
    page = visit(f"{site.origin}/graphql/")
    page.get_by_role("button", name="Show Documentation Explorer").click()
    docs = page.get_by_role("region", name="Documentation Explorer")
    docs.get_by_text("Mutation", exact=True).click()
    expect(docs).to_contain_text("Set whether an order has been paid for.")


def test_subscription_carries_the_session(
    start_site: StartSite, visit: Visit, watch: Watch
) -> None:
    watch.expected.append(r"Array\(1\)")  # GraphiQL prints GraphQL's errors, too.
    site = start_site(OPEN_ACCESS="false")
    page = visit(f"{site.origin}/graphql/")
    run(page, "getLastOrder")
    response(page, "UNAUTHENTICATED")

    page.goto(f"{site.origin}/login/?next=/graphql/")
    page.get_by_label("Username").fill("admin")
    page.get_by_label("Password").fill("admin")
    page.get_by_role("button", name="Log in").click()
    run(page, "getLastOrder")
    response(page, "UNPAID")
