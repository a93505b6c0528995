"""Django's admin and its sign-in, under the pages' strict Content-Security-Policy.

What that stops, the fixture `watch` finds in the console.
"""

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import StartSite, Visit, Watch
from tests.browser.site import Site

PRODUCTION = {"DEBUG": "false", "OPEN_ACCESS": "false", "SECRET_KEY": "a secret of the tests"}


@pytest.fixture
def site(start_site: StartSite) -> Site:
    """As in production, whatever that means for error pages."""
    return start_site(**PRODUCTION)


def sign_in(page: Page, password: str = "admin") -> None:
    page.get_by_label("Username").fill("admin")
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Log in").click()


@pytest.fixture
def admin(site: Site, visit: Visit) -> Page:
    page = visit(f"{site.origin}/admin/login/?next=/admin/orders/order/")
    sign_in(page)
    expect(page.get_by_role("link", name="Add order")).to_be_visible()
    return page


def rows(page: Page, count: int) -> None:
    expect(page.locator("#result_list tbody tr")).to_have_count(count)


def test_orders_are_listed_filtered_and_searched(admin: Page) -> None:
    rows(admin, 1)
    admin.locator("#changelist-filter").get_by_role("link", name="Paid", exact=True).click()
    rows(admin, 0)
    admin.locator("#changelist-filter").get_by_role("link", name="Unpaid", exact=True).click()
    rows(admin, 1)
    admin.locator("#searchbar").fill("ada@example.com")
    admin.get_by_role("button", name="Search").click()
    rows(admin, 1)
    admin.locator("#action-toggle").check()
    admin.locator("select[name=action]").select_option("mark_paid")
    admin.get_by_role("button", name="Run").or_(admin.get_by_role("button", name="Go")).click()
    expect(admin.locator(".messagelist")).to_contain_text("1 orders are paid.")
    admin.locator(".theme-toggle:visible").first.click()


def test_order_is_added_changed_and_deleted(admin: Page) -> None:
    admin.get_by_role("link", name="Add order").click()
    month = admin.locator("#id_date").input_value()[:7]
    admin.locator("#calendarlink0").click()
    expect(admin.locator("#calendarbox0")).to_be_visible()
    admin.locator("#calendarbox0").get_by_text("15", exact=True).click()
    expect(admin.locator("#id_date")).to_have_value(f"{month}-15")
    admin.locator(".select2-selection").click()
    admin.locator(".select2-search__field").fill("gra")
    admin.get_by_role("option", name="grace").click()
    admin.get_by_role("button", name="Save", exact=True).click()
    expect(admin.locator(".messagelist")).to_contain_text("was added successfully")
    rows(admin, 2)

    admin.locator("#result_list tbody th a").first.click()
    expect(admin.locator(".select2-selection")).to_contain_text("grace")
    admin.locator("#id_state").select_option("PAID")
    admin.locator(".datetimeshortcuts").get_by_text("Today").click()
    admin.get_by_role("button", name="Save and continue editing").click()
    expect(admin.locator(".messagelist")).to_contain_text("was changed successfully")
    expect(admin.locator("#id_state")).to_have_value("PAID")

    admin.get_by_role("link", name="History").click()
    admin.go_back()
    admin.locator(".deletelink").click()
    admin.get_by_role("button", name="Yes").click()
    rows(admin, 1)


def test_user_is_added_in_a_window_of_its_own(admin: Page, site: Site, watch: Watch) -> None:
    admin.get_by_role("link", name="Add order").click()
    with admin.expect_popup() as opened:
        admin.locator("#add_id_user").click()
    popup = opened.value
    watch.over(popup, site.origin)
    popup.get_by_label("Username").fill("mary")
    for field in ("#id_password1", "#id_password2"):
        popup.locator(field).fill("s3cret-enough")
    popup.get_by_role("button", name="Save", exact=True).click()
    expect(admin.locator(".select2-selection")).to_contain_text("mary")

    admin.goto(f"{site.origin}/admin/auth/user/1/change/")
    admin.locator("#id_user_permissions_from option").first.dblclick()
    expect(admin.locator("#id_user_permissions_to option")).to_have_count(1)


def test_signing_in_leads_to_a_front_end_elsewhere(
    start_site: StartSite, visit: Visit, watch: Watch
) -> None:
    """Chromium holds a policy's form-action against redirects, too."""
    elsewhere = start_site(BOARD="true").origin.replace("127.0.0.1", "localhost")
    page = visit(f"{start_site(LOGIN_REDIRECT_URL=f'{elsewhere}/').origin}/login/")
    sign_in(page)
    expect(page).to_have_url(f"{elsewhere}/")
    assert all(url.startswith(elsewhere) for url in watch.foreign)
    watch.foreign.clear()


def test_who_fails_too_often_is_told_to_wait(site: Site, visit: Visit, watch: Watch) -> None:
    watch.expected.append("429")
    page = visit(f"{site.origin}/login/")
    for _ in range(4):
        sign_in(page, "wrong")
        expect(page.get_by_text("Please enter a correct username and password")).to_be_visible()
    sign_in(page, "wrong")
    expect(page.get_by_role("heading", name="Too many tries")).to_be_visible()
    expect(page.get_by_text("Try again in 15 minutes")).to_be_visible()
