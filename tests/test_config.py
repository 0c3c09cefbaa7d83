"""Settings: every mistake is named at once, with its value and what is allowed, before anything is written (api: Config)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import zkembed
from zkembed.transport.memory import Fabric

PEERS = {1: "127.0.0.1:7101", 2: "127.0.0.1:7102", 3: "localhost:7103"}


def good(**overrides: Any) -> dict[str, Any]:
    return {"node_id": 1, "peers": PEERS, "data_dir": "somewhere", **overrides}


def test_a_good_configuration_is_frozen_and_says_where_it_listens() -> None:
    config = zkembed.Config(**good())
    assert config.address == "127.0.0.1:7101"
    with pytest.raises(AttributeError):
        config.node_id = 2  # type: ignore[misc]


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"node_id": 0}, ["node_id=0", "1 to 255"]),
        ({"node_id": 256}, ["node_id=256"]),
        ({"node_id": True}, ["node_id=True"]),
        ({"node_id": 4}, ["node_id=4 is not among peers (1, 2, 3)"]),
        ({"peers": {}}, ["peers={}"]),
        ({"peers": "1=127.0.0.1:7101"}, ["peers='1=127.0.0.1:7101'"]),
        ({"peers": {1: "127.0.0.1:7101", 2: "127.0.0.1:7101"}}, ["peers[2]", "node 1 has this address already"]),
        ({"peers": {1: "127.0.0.1"}}, ["peers[1]"]),
        ({"peers": {1: "127.0.0.1:99999"}}, ["peers[1]"]),
        ({"peers": {1: "10.0.0.1:7101"}}, ["peers[1]", "loopback"]),
        ({"peers": {1: "example.org:7101"}}, ["peers[1]", "loopback"]),
        ({"cluster": ""}, ["cluster=''"]),
        ({"cluster": "\ud800"}, ["cluster="]),
        ({"peers": {1: 7101}}, ["peers[1]=7101", "host:port"]),
        ({"peers": {1: None}}, ["peers[1]=None"]),
        ({"peers": {1: "127.0.0.1:0"}}, ["peers[1]", "port 0"]),
        ({"peers": {1: "127.0.0.1:7101", 2: "localhost:07101"}}, ["peers[2]", "node 1 has this address already"]),
        ({"data_dir": 5}, ["data_dir=5"]),
        ({"data_dir": ""}, ["data_dir=''"]),
        ({"fsync": "false"}, ["fsync='false'", "True or False"]),
        ({"bootstrap": 1}, ["bootstrap=1"]),
        ({"wall_clock": 5}, ["wall_clock=5"]),
        ({"transport": 5}, ["transport=5", "zkembed.abc.Transport"]),
        ({"log": "x"}, ["log='x'", "zkembed.abc.Log"]),
        ({"storage": "tape"}, ["storage='tape'", "files, memory"]),
        ({"data_dir": None}, ["data_dir=None", "storage='memory'"]),
        ({"storage": "memory"}, ["data_dir='somewhere'", "storage='memory' uses none"]),
        ({"tick": 0}, ["tick=0"]),
        ({"tick": float("nan")}, ["tick=nan"]),
        ({"tick": 0.5}, ["sync_limit=1.6", "at least 8 ticks (4)"]),
        ({"init_limit": 2.0}, ["init_limit=2.0", "at least 3 sync_limit"]),
        ({"session_timeout": 3.0}, ["session_timeout=3.0", "3.2"]),
        ({"session_timeout": 61.0}, ["session_timeout=61.0", "60"]),
        ({"start_timeout": -1}, ["start_timeout=-1"]),
        ({"close_timeout": 0}, ["close_timeout=0"]),
        ({"snapshot_every": 0}, ["snapshot_every=0"]),
        ({"data_bytes_max": 2**23}, ["txn_bytes_max", "at least data_bytes_max"]),
        ({"txn_bytes_max": 2**24}, ["txn_bytes_max", "one frame"]),
    ],
)
def test_a_mistake_is_named_with_its_value_and_what_is_allowed(overrides: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(zkembed.ConfigError) as caught:
        zkembed.Config(**good(**overrides))
    for word in words:
        assert word in str(caught.value)


def test_all_mistakes_are_named_at_once() -> None:
    with pytest.raises(zkembed.ConfigError) as caught:
        zkembed.Config(node_id=9, peers={1: "10.1.1.1:1", 2: "10.1.1.1:1"}, tick=-1, storage="tape", snapshot_every=0)
    for word in ("node_id=9", "peers[1]", "peers[2]", "tick=-1", "storage='tape'", "snapshot_every=0"):
        assert word in str(caught.value)
    assert isinstance(caught.value, ValueError)


def test_addresses_mean_nothing_to_a_transport_of_the_applications_own() -> None:
    fabric = Fabric()
    config = zkembed.Config(**good(peers={1: "one", 2: "two"}, transport=fabric.transport(1)))
    assert config.address == "one"


def test_from_toml_takes_the_same_names_and_a_directory_beside_the_file(tmp_path: Path) -> None:
    file = tmp_path / "node.toml"
    file.write_text('node_id = 2\ndata_dir = "var"\nfsync = false\ntick = 0.1\n[peers]\n1 = "127.0.0.1:7101"\n2 = "127.0.0.1:7102"\n')
    config = zkembed.Config.from_toml(file)
    assert (config.node_id, config.fsync, config.tick, dict(config.peers)) == (2, False, 0.1, {1: PEERS[1], 2: PEERS[2]})
    assert config.data_dir == tmp_path / "var"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("node_id = 1", ["peers must be given"]),
        ('node_id = 1\nspeed = 3\nfsync = "no"\npeers = { 1 = "127.0.0.1:1" }', ["unknown settings speed", "fsync='no'"]),
        ("node_id = ", ["node.toml"]),
        ('node_id = 1\ndata_dir = "x"\n[peers]\none = "127.0.0.1:1"', ["'one'"]),
    ],
)
def test_from_toml_names_what_is_wrong(tmp_path: Path, text: str, words: list[str]) -> None:
    file = tmp_path / "node.toml"
    file.write_text(text)
    with pytest.raises(zkembed.ConfigError) as caught:
        zkembed.Config.from_toml(file)
    for word in words:
        assert word in str(caught.value)
    with pytest.raises(zkembed.ConfigError, match="missing"):
        zkembed.Config.from_toml(tmp_path / "missing.toml")


def test_from_env_reads_each_setting_as_what_it_is() -> None:
    config = zkembed.Config.from_env(
        {
            "ZKEMBED_NODE_ID": "2",
            "ZKEMBED_PEERS": "1=127.0.0.1:7101,2=127.0.0.1:7102",
            "ZKEMBED_DATA_DIR": "var/2",
            "ZKEMBED_FSYNC": "false",
            "ZKEMBED_SESSION_TIMEOUT": "7.5",
            "HOME": "/",
        }
    )
    assert (config.node_id, config.peers[1], config.data_dir, config.fsync, config.session_timeout) == (2, PEERS[1], "var/2", False, 7.5)


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"ZKEMBED_NODE_ID": "one", "ZKEMBED_FSYNC": "maybe", "ZKEMBED_PEERS": "x"}, ["'one'", "'maybe'", "true or false", "1=host:port"]),
        ({"ZKEMBED_PEERS": "1=a:1,1=b:1", "ZKEMBED_NODE_ID": "1"}, ["each id once"]),
        ({"ZKEMBED_SPEED": "3"}, ["there is no such setting"]),
        ({}, ["node_id and peers must be given"]),
    ],
)
def test_from_env_names_what_is_wrong(environ: dict[str, str], words: list[str]) -> None:
    with pytest.raises(zkembed.ConfigError) as caught:
        zkembed.Config.from_env(environ)
    for word in words:
        assert word in str(caught.value)
