"""An address stands for one client, whatever version of IP it is of."""

import pytest

from app.addresses import network_of

pytestmark = pytest.mark.once


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("2001:db8:1:2::", "2001:db8:1:2::"),
        ("fe80::1%lo", "fe80::"),
        ("", None),
        ("?", None),
        ("/run/server.sock", None),
        ("192.0.2.1:80", None),
    ],
)
def test_one_network_is_one_client(address: str, network: str | None) -> None:
    assert network_of(address) == network
