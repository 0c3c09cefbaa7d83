"""Rule N-5: without authentication only loopback addresses are taken, and the message says why."""

from __future__ import annotations

import pytest

from zkembed.errors import ConfigError
from zkembed.transport.address import Address, check_loopback, parse_address
from zkembed.transport.tcp import TcpTransport


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:7101", Address("127.0.0.1", 7101)),
        ("127.8.9.10:1", Address("127.8.9.10", 1)),
        ("localhost:0", Address("localhost", 0)),
        ("LocalHost:65535", Address("LocalHost", 65535)),
        ("[::1]:7101", Address("::1", 7101)),
        ("[::ffff:127.0.0.1]:5", Address("::ffff:127.0.0.1", 5)),
    ],
)
def test_loopback_addresses_are_taken(text: str, address: Address) -> None:
    assert check_loopback(text) == address
    assert str(address) == text


@pytest.mark.parametrize(
    "text",
    ["0.0.0.0:7101", "10.0.0.1:7101", "192.168.1.2:1", "example.org:80", "[::]:1", "[2001:db8::1]:1", "[::ffff:10.0.0.1]:5", "127.1:5"],
)
def test_others_are_refused_with_the_reason(text: str) -> None:
    with pytest.raises(ConfigError, match="not authenticated yet") as caught:
        check_loopback(text)
    assert text in str(caught.value)


@pytest.mark.parametrize(
    "text",
    ["", "127.0.0.1", ":7101", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:65536", "127.0.0.1:-1", "::1:7101", "[localhost]:1", "127.0.0.1:٣"],
)
def test_malformed_addresses_are_refused_with_what_was_expected(text: str) -> None:
    with pytest.raises(ConfigError, match="expected"):
        parse_address(text)


def test_a_transport_names_every_wrong_address_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        TcpTransport("0.0.0.0:1", {1: "127.0.0.1:1", 2: "10.0.0.2:2", 3: "nonsense"})
    for part in ("listen: address '0.0.0.0:1'", "peers[2]: address '10.0.0.2:2'", "peers[3]: address 'nonsense'"):
        assert part in str(caught.value)
    assert "peers[1]" not in str(caught.value)
