"""What of an address tells one client from another."""

from ipaddress import IPv6Address, IPv6Network, ip_address

NETWORK_BITS = 64


def network_of(address: str) -> str | None:
    """Return what one client has; None for what is no address, as the path of a Unix socket.

    That is an address of IPv4. IPv6 gives every household 2^64 of them, so there it is the network.
    """
    try:
        parsed = ip_address(address)
    except ValueError:
        return None
    if isinstance(parsed, IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(IPv6Network((parsed, NETWORK_BITS), strict=False).network_address)
    return str(parsed)
