"""The live board: the page at / that shows the orders."""

from typing import Final

from app.web.pages import Page

BOARD: Final = Page("board", "/")
