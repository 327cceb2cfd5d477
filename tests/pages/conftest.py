"""The finished book, as `make book` leaves it, in a real browser: `make test-book PROFILE=smoke`."""

import pytest
from chromium import chromium
from finished import built_book


@pytest.fixture(scope="session")
def html():
    if (place := built_book()) is None:
        pytest.skip("no built book: `make test-book` names one in EARLYTIME_BOOK")
    return place


@pytest.fixture(scope="session")
def browser(html):
    with chromium() as browser:
        yield browser
