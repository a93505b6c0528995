"""The settings that turn the pages off, and what is left then."""

from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import StartSite, Visit
from tests.browser.site import Site

PRODUCTION = {"DEBUG": "false", "OPEN_ACCESS": "false", "SECRET_KEY": "a secret of the tests"}


def ask(url: str, accept: str = "text/html,*/*;q=0.8") -> tuple[int, str]:
    """Status and body, as a browser that opens the address gets them."""
    try:
        with urlopen(Request(url, headers={"Accept": accept})) as response:
            return response.status, response.read().decode()
    except HTTPError as error:
        return error.code, error.read().decode()


@pytest.mark.parametrize("environment", [PRODUCTION, {"BOARD": "false", "PLAYGROUND": "false"}])
def test_pages_are_off_in_production_or_when_told(
    environment: dict[str, str], start_site: StartSite
) -> None:
    site = start_site(**environment)
    assert "data-pages" not in ask(f"{site.origin}/")[1]
    status, body = ask(f"{site.origin}/graphql/")
    assert status in {200, 400}
    assert body.startswith('{"errors":')
    assert ask(f"{site.origin}/assets/board.js")[0] == 404


def test_playground_can_be_off_alone(start_site: StartSite, visit: Visit) -> None:
    site = start_site(PLAYGROUND="false")
    page = visit(site.origin)
    expect(page.get_by_role("link", name="Admin")).to_be_visible()
    expect(page.get_by_role("link", name="Playground")).to_have_count(0)
    assert ask(f"{site.origin}/graphql/")[1].startswith('{"errors":')


def test_board_can_be_off_alone(start_site: StartSite, visit: Visit) -> None:
    site = start_site(**PRODUCTION, PLAYGROUND="true")
    assert "data-pages" not in ask(f"{site.origin}/")[1]
    page = visit(f"{site.origin}/graphql/")
    expect(page.get_by_role("button", name="Execute query")).to_be_visible()
    expect(page.get_by_role("link", name="Live board")).to_have_count(0)


def test_other_clients_get_the_protocol(site: Site) -> None:
    for accept in ("*/*", "application/json", "application/graphql-response+json"):
        assert ask(f"{site.origin}/graphql/", accept)[1].startswith('{"errors":')
    status, body = ask(f"{site.origin}/graphql/?query={{__typename}}", "*/*")
    assert (status, body) == (200, '{"data":{"__typename":"Query"}}')
