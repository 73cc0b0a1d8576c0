"""The network addresses of a host, every one of them checked before any is connected to."""

from __future__ import annotations

import ipaddress
import socket

from labelloop.errors import MediaError

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


def _carried(address: _Address) -> list[_Address]:
    """The addresses behind an address: those of IPv4 that an IPv6 address carries, as traffic may end up there, or itself."""
    if not isinstance(address, ipaddress.IPv6Address):
        return [address]
    if address.ipv4_mapped:
        return [address.ipv4_mapped]
    if address in _NAT64:
        return [ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)]
    return [address, *(inner for inner in (address.sixtofour, *(address.teredo or ())) if inner)]


def is_public(address: _Address) -> bool:
    """Whether an address is one of the internet's, and nothing of this machine or its networks."""
    return all(
        each.is_global
        and not (each.is_multicast or each.is_reserved or each.is_private)
        and not (isinstance(each, ipaddress.IPv6Address) and each.is_site_local)
        for each in _carried(address)
    )


def may_be_named(address: _Address) -> bool:
    """Whether an operator can mean such an address: public, private or loopback, but no cloud's metadata service."""
    return all(
        each.is_loopback or not (each.is_link_local or each.is_multicast or each.is_unspecified or each.is_reserved)
        for each in _carried(address)
    )


def checked_addresses(host: str, *, private_allowed: bool) -> tuple[str, ...]:
    """The addresses of a host, as one look-up gives them; MediaError "not_found" when any of them is refused."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise MediaError("not_found", f"the host {host!r} is not known") from error
    texts = tuple(dict.fromkeys(str(info[4][0]) for info in found))
    for text in texts:
        address = ipaddress.ip_address(text.partition("%")[0])
        if not (is_public(address) or (private_allowed and may_be_named(address))):
            raise MediaError("not_found", f"the host {host!r} is refused: {address} is not a public address")
    return texts
