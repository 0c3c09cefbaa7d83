"""Addresses "host:port" and "[host]:port", and which of them may be used before there is authentication (rule N-5)."""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address

from attrs import frozen

from ..errors import ConfigError

PORT_MAX = 65535


@frozen
class Address:
    """host: a name or a numeric address, without brackets.  port: 0 to 65535; 0 lets the machine choose where one listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str) -> Address:
    """Raises ConfigError."""
    host, colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    host = host[1:-1] if bracketed else host
    if not colon or not host or (":" in host) is not bracketed:
        raise ConfigError(f'address {text!r}: expected "host:port", or "[host]:port" for IPv6')
    if not (port.isascii() and port.isdigit() and int(port) <= PORT_MAX):
        raise ConfigError(f"address {text!r}: the port is {port!r}, expected a number from 0 to {PORT_MAX}")
    return Address(host, int(port))


def is_loopback(host: str) -> bool:
    """Whether ``host`` can only mean this machine: "localhost", 127.0.0.0/8, ::1. Other names could mean anything by tomorrow."""
    try:
        address = ip_address(host)
    except ValueError:
        return host.lower() == "localhost"
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped.is_loopback
    return address.is_loopback


def check_loopback(address: str) -> Address:
    """The parsed address. Raises ConfigError if it is malformed or does not stay on this machine."""
    parsed = parse_address(address)
    if not is_loopback(parsed.host):
        raise ConfigError(
            f"address {address!r} is not on the loopback interface: links between peers are not authenticated yet, so anybody who "
            "reaches the port could vote and read; use localhost, 127.0.0.0/8 or [::1]"
        )
    return parsed
