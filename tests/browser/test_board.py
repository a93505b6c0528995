"""The live board, as people use it."""

import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import StartSite, Visit, Watch
from tests.browser.site import Site, order_for

# What the browser says of a server that was killed, also in the middle of an answer.
CUT_OFF = "CONNECTION_REFUSED|CONNECTION_RESET|EMPTY_RESPONSE|CONTENT_LENGTH_MISMATCH"
LOST = f"WebSocket connection to|ERR_({CUT_OFF})"


def connection(page: Page, state: str, timeout: float = 5_000) -> None:
    expect(page.locator(".connection")).to_have_attribute("data-state", state, timeout=timeout)


def newest(page: Page, *texts: str) -> None:
    for text in texts:
        expect(page.locator(".newest")).to_contain_text(text)


class Row:
    """An order in the list."""

    def __init__(self, page: Page, number: int) -> None:
        self.element = page.locator(f'.orders li[data-key="{number}"]')

    def shows(self, text: str) -> None:
        expect(self.element).to_contain_text(text)

    def is_gone(self) -> None:
        expect(self.element).to_have_count(0)

    def press(self, name: str) -> None:
        self.element.get_by_role("button", name=re.compile(f"^{name}")).click()


def choose(page: Page, state: str) -> None:
    page.get_by_role("group", name="Show orders by state").get_by_text(state, exact=True).click()


def create_order(page: Page, username: str) -> None:
    form = page.get_by_role("form", name="New order")
    form.get_by_label("For").fill(username)
    form.get_by_role("button", name="Create order").click()


def test_change_in_one_window_appears_in_the_other(site: Site, visit: Visit) -> None:
    one, other = visit(site.origin), visit(site.origin)
    for page in (one, other):
        connection(page, "live")
        newest(page, "#1", "ada", "Unpaid", "Nov 1, 2026")

    create_order(one, "grace")
    newest(other, "#2", "grace", "Unpaid")
    Row(other, 2).shows("grace")

    Row(other, 2).press("Mark paid")
    newest(one, "#2", "Paid")
    Row(one, 2).shows("Mark unpaid")
    Row(one, 2).press("Mark unpaid")
    Row(other, 2).shows("Unpaid")

    Row(one, 2).press("Delete")
    Row(one, 2).press("Delete #2")
    Row(other, 2).is_gone()
    newest(other, "#1", "ada")


def test_change_by_sql_in_another_process_appears(site: Site, visit: Visit) -> None:
    page = visit(site.origin)
    newest(page, "#1", "ada", "Unpaid")

    site.sql("UPDATE orders_order SET state = 'PAID' WHERE id = 1")
    newest(page, "Paid")
    site.sql(order_for("grace"))
    newest(page, "#2", "grace")
    site.sql("UPDATE auth_user SET username = 'hopper' WHERE username = 'grace'")
    newest(page, "hopper")
    Row(page, 2).shows("hopper")
    site.sql("DELETE FROM orders_order")
    newest(page, "No order yet")
    expect(page.locator(".orders")).to_contain_text("No orders.")


def test_board_recovers_from_a_restart_and_shows_the_truth(
    site: Site, visit: Visit, watch: Watch
) -> None:
    watch.expected.append(LOST)
    page = visit(site.origin)
    newest(page, "#1", "Unpaid")
    connection(page, "live")

    site.stop()
    connection(page, "reconnecting")
    site.sql(order_for("grace", "PAID"))
    site.sql("DELETE FROM orders_order WHERE id = 1")
    site.start()

    connection(page, "live", timeout=20_000)
    newest(page, "#2", "grace", "Paid")
    Row(page, 1).is_gone()
    site.sql("UPDATE orders_order SET state = 'UNPAID'")
    Row(page, 2).shows("Unpaid")


def test_board_says_since_when_it_is_offline(site: Site, visit: Visit, watch: Watch) -> None:
    watch.expected.append(LOST)
    page = visit(site.origin)
    newest(page, "#1")
    connection(page, "live")

    site.kill()
    connection(page, "reconnecting")
    page.clock.fast_forward(15_000)
    connection(page, "offline", timeout=20_000)
    expect(page.locator(".connection")).to_have_text(re.compile(r"^Offline as of \d+:\d\d"))
    newest(page, "#1")
    site.start()
    connection(page, "live", timeout=20_000)


def test_board_notices_a_server_that_has_fallen_silent(
    site: Site, visit: Visit, watch: Watch
) -> None:
    watch.expected.append(LOST)
    page = visit(site.origin)
    connection(page, "live")

    site.freeze()
    page.clock.fast_forward(10_000)  # A ping goes out,
    page.clock.fast_forward(5_000)  # and nothing comes back.
    connection(page, "reconnecting")
    site.thaw()
    connection(page, "live", timeout=30_000)
    site.sql("UPDATE orders_order SET state = 'PAID'")
    Row(page, 1).shows("Mark unpaid")


def test_filter_shows_one_state_and_follows_it(site: Site, visit: Visit) -> None:
    site.sql(order_for("grace", "PAID"))
    page = visit(site.origin)
    Row(page, 1).shows("ada")

    choose(page, "Unpaid")
    Row(page, 2).is_gone()
    site.sql("UPDATE orders_order SET state = 'UNPAID' WHERE id = 2")
    Row(page, 2).shows("grace")
    choose(page, "Paid")
    expect(page.locator(".orders")).to_contain_text("No paid orders.")
    choose(page, "All")
    Row(page, 1).shows("ada")


def test_anonymous_viewer_is_asked_whose_order_it_is(site: Site, visit: Visit) -> None:
    page = visit(site.origin)
    newest(page, "#1")
    create_order(page, "")

    problem = page.get_by_role("form").get_by_role("alert")
    expect(problem).to_contain_text("Say whose order it is.")
    expect(page.locator("datalist option")).to_have_attribute("value", "ada")
    create_order(page, "nobody-knows")
    expect(problem).to_contain_text("nobody-knows")
    create_order(page, "ada")
    expect(problem).to_have_count(0)
    newest(page, "#2")


def test_signing_in_leads_back_to_the_board(site: Site, visit: Visit) -> None:
    page = visit(site.origin)
    create_order(page, "")
    page.get_by_role("form").get_by_role("link", name="Sign in").click()
    page.get_by_label("Username").fill("admin")
    page.get_by_label("Password").fill("admin")
    page.get_by_role("button", name="Log in").click()

    expect(page).to_have_url(f"{site.origin}/")
    create_order(page, "")
    newest(page, "#2", "admin")


def test_closed_board_asks_to_sign_in(start_site: StartSite, visit: Visit, watch: Watch) -> None:
    site = start_site(OPEN_ACCESS="false")
    page = visit(site.origin)
    main = page.get_by_role("main")
    expect(main).to_contain_text("Sign in to see orders.")
    expect(main.get_by_role("link")).to_have_attribute("href", "/login/?next=/")
    expect(page.get_by_role("form")).to_have_count(0)
    connection(page, "unused")

    for _ in range(5):  # It waits, and does not ask again and again.
        page.clock.run_for(4_000)
        page.wait_for_timeout(200)
    assert watch.sockets == 1
    expect(page.locator(".connection")).to_have_text("Signed out")


def test_closed_board_opens_after_signing_in_in_another_tab(
    start_site: StartSite, visit: Visit
) -> None:
    site = start_site(OPEN_ACCESS="false")
    page = visit(site.origin)
    expect(page.get_by_role("main")).to_contain_text("Sign in to see orders.")

    tab = page.context.new_page()
    tab.goto(f"{site.origin}/login/?next=/")
    tab.get_by_label("Username").fill("admin")
    tab.get_by_label("Password").fill("admin")
    tab.get_by_role("button", name="Log in").click()
    newest(tab, "#1", "ada")
    # No window, so no tab is ever hidden: say what Chromium says when one is looked at again.
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    newest(page, "#1", "ada")
    connection(page, "live")


def test_mutation_that_gets_no_answer_is_told_where_it_was_asked(
    site: Site, visit: Visit, watch: Watch
) -> None:
    watch.expected.append(LOST)
    page = visit(site.origin)
    Row(page, 1).shows("ada")
    site.kill()
    Row(page, 1).press("Mark paid")
    expect(Row(page, 1).element.get_by_role("alert")).to_contain_text("did not answer")


def test_board_works_by_keyboard(site: Site, visit: Visit) -> None:
    site.sql(order_for("grace"))
    page = visit(site.origin)
    Row(page, 2).shows("grace")

    ask = Row(page, 2).element.get_by_role("button", name="Delete")
    ask.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Delete #2")).to_be_focused()
    page.keyboard.press("Escape")
    expect(ask).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    Row(page, 2).is_gone()
    expect(page.get_by_role("heading", name="Orders", exact=True)).to_be_focused()


def test_listeners_hear_the_newest_order_and_the_connection(site: Site, visit: Visit) -> None:
    page = visit(site.origin)
    spoken = page.locator(".newest [role=status]")
    expect(spoken).to_have_text("Newest order: 1 for ada, Unpaid.")
    site.sql("UPDATE orders_order SET state = 'PAID'")
    expect(spoken).to_have_text("Newest order: 1 for ada, Paid.")
    expect(page.locator(".connection")).to_have_role("status")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_board_fits_a_phone(scheme: str, site: Site, visit: Visit) -> None:
    page = visit(site.origin, viewport={"width": 360, "height": 780}, color_scheme=scheme)
    Row(page, 1).shows("ada")
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    brightness = int(re.findall(r"\d+", background)[0])
    assert (brightness < 128) == (scheme == "dark")
