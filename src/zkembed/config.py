"""What an application decides about its node: one frozen value, checked as a whole.

Every mistake is found before anything is written or opened, and all of them are named at once. Limits that apply on
every replica alike (the size of a recursive delete) are not here: apply must not differ between nodes.
"""

from __future__ import annotations

import os
import time
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from attrs import field, frozen

from .errors import ConfigError
from .log.base import Log
from .transport.address import check_loopback
from .transport.base import Transport
from .zab.settings import Settings

NODE_ID_MAX = 255
SESSION_TIMEOUT_MAX = 60.0
STORAGES = ("files", "memory")
ENVIRONMENT_PREFIX = "ZKEMBED_"


def _freeze(peers: Mapping[int, str]) -> dict[int, str]:
    """Sorted by id; what is no such mapping is left for the checks to name."""
    known: Any = peers
    return dict(sorted(known.items())) if isinstance(known, Mapping) and all(type(key) is int for key in known) else known


@frozen(kw_only=True)
class Config:
    """Settings of one node. Times in seconds, sizes in bytes. Raises ConfigError naming every field that is wrong.

    node_id: 1..255, one of ``peers``.
    peers: node id to "host:port" of the founding voters, this one included. After founding, membership comes from the log and
        ``peers`` only says where to dial.
    data_dir: where log and snapshots live; made if missing. None only with ``storage="memory"`` or ``log``.
    cluster: a name; nodes of different ensembles refuse each other.
    bootstrap: False: an empty data directory never helps to found an ensemble, it only joins one.
    storage: "files", or "memory": every start is an empty node, which has no vote once the ensemble is founded.
    fsync: False: answers do not wait for the disk; a machine that loses power loses answered writes, and the node its vote.
    session_timeout: after this long without a sign of life a session's ephemerals go; 2 sync_limit .. 60.
    tick, sync_limit, init_limit: heartbeat; silence after which a leader or follower is given up; silence allowed while joining.
    start_timeout: how long entering may take before NodeStartError; None: without bound.
    close_timeout: how long leaving may take before it is cut short.
    snapshot_every: entries between own snapshots, give or take a quarter.
    data_bytes_max, txn_bytes_max: of one znode; of one transaction.
    wall_clock: seconds since 1970 for ctime and mtime, asked while leading.
    transport, log: other ports (``zkembed.abc``), as the tests' in-memory ones.
    """

    node_id: int
    peers: Mapping[int, str] = field(converter=_freeze)
    data_dir: str | os.PathLike[str] | None = None
    cluster: str = "zkembed"
    bootstrap: bool = True
    storage: str = "files"
    fsync: bool = True
    session_timeout: float = 6.0
    tick: float = 0.2
    sync_limit: float = 1.6
    init_limit: float = 10.0
    start_timeout: float | None = None
    close_timeout: float = 2.0
    snapshot_every: int = 100_000
    data_bytes_max: int = 2**20
    txn_bytes_max: int = 2**22
    wall_clock: Callable[[], float] = time.time
    transport: Transport | None = None
    log: Log | None = None

    def __attrs_post_init__(self) -> None:
        problems = [
            *self._identity_problems(),
            *self._address_problems(),
            *self._storage_problems(),
            *self._limit_problems(),
            *self._kind_problems(),
        ]
        if problems:
            raise ConfigError("; ".join(problems))

    @property
    def address(self) -> str:
        """Where this node listens."""
        return self.peers[self.node_id]

    def settings(self) -> Settings:
        """Timers and limits of the protocol that follow from this configuration."""
        return Settings(tick=self.tick, sync_limit=self.sync_limit, init_limit=self.init_limit)

    @classmethod
    def from_toml(cls, path: str | os.PathLike[str]) -> Config:
        """The same names as keys of a TOML file; ``peers`` a table of node id to address. A relative data_dir is relative to the file."""
        try:
            with open(path, "rb") as file:
                values = tomllib.load(file)
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise ConfigError(f"{os.fspath(path)}: {error}") from error
        peers = values.get("peers")
        if isinstance(peers, dict):
            values["peers"] = {int(key) if key.isascii() and key.isdigit() else key: address for key, address in peers.items()}
        if isinstance(values.get("data_dir"), str):
            values["data_dir"] = Path(path).parent / values["data_dir"]
        return cls._from_values(values, os.fspath(path))

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> Config:
        """``ZKEMBED_NODE_ID``, ``ZKEMBED_PEERS`` ("1=host:port,2=host:port"), ``ZKEMBED_DATA_DIR``, ... ; booleans as true/false."""
        values: dict[str, Any] = {}
        problems: list[str] = []
        for name, text in environ.items():
            if not name.startswith(ENVIRONMENT_PREFIX):
                continue
            key = name.removeprefix(ENVIRONMENT_PREFIX).lower()
            parse = _PARSERS.get(key)
            if parse is None:
                problems.append(f"{name}: there is no such setting; there are {', '.join(_PARSERS)}")
                continue
            try:
                values[key] = parse(text)
            except ValueError:
                problems.append(f"{name}={text!r}: expected {_EXPECTED[parse]}")
        if problems:
            raise ConfigError("; ".join(problems))
        return cls._from_values(values, "the environment")

    @classmethod
    def _from_values(cls, values: dict[str, Any], source: str) -> Config:
        problems = []
        unknown = [key for key in values if key not in _PARSERS]
        if unknown:
            problems.append(f"{source}: unknown settings {', '.join(unknown)}; there are {', '.join(_PARSERS)}")
        missing = [key for key in ("node_id", "peers") if key not in values]
        if missing:
            problems.append(f"{source}: {' and '.join(missing)} must be given")
        try:
            # What is missing is named above; the others are looked at all the same.
            config = cls(**{"node_id": 1, "peers": {1: "127.0.0.1:1"}, **{key: values[key] for key in values if key not in unknown}})
        except ConfigError as error:
            if not missing:
                problems.append(str(error))
        if problems:
            raise ConfigError("; ".join(problems))
        return config

    def _identity_problems(self) -> list[str]:
        problems = []
        if not _is_int(self.node_id, 1, NODE_ID_MAX):
            problems.append(f"node_id={self.node_id!r}: expected an integer from 1 to {NODE_ID_MAX}")
        if not isinstance(self.peers, Mapping) or not self.peers:
            return [*problems, f"peers={self.peers!r}: expected a mapping of node id to 'host:port'"]
        problems.extend(
            f"peers: node id {id!r} is not an integer from 1 to {NODE_ID_MAX}" for id in self.peers if not _is_int(id, 1, NODE_ID_MAX)
        )
        if self.node_id not in self.peers:
            known = ", ".join(map(str, self.peers))
            problems.append(f"node_id={self.node_id!r} is not among peers ({known}): add its own address there, others dial it")
        if not isinstance(self.cluster, str) or not 1 <= len(self.cluster.encode(errors="replace")) <= 255 or not _encodable(self.cluster):
            problems.append(f"cluster={self.cluster!r}: expected a name of 1 to 255 bytes")
        return problems

    def _address_problems(self) -> list[str]:
        peers: Any = self.peers
        if not isinstance(peers, Mapping):
            return []  # Named already.
        problems = []
        owner: dict[object, int] = {}
        for id, address in peers.items():
            if not isinstance(address, str):
                problems.append(f"peers[{id}]={address!r}: expected a text, 'host:port'")
                continue
            known: object = address
            if self.transport is None:
                try:
                    parsed = check_loopback(address)
                except ConfigError as error:
                    problems.append(f"peers[{id}]: {error}")
                    continue
                if parsed.port == 0:
                    problems.append(f"peers[{id}]={address!r}: port 0 means any port, and the others could not dial it")
                    continue
                known = (_SAME_HOST.get(parsed.host, parsed.host), parsed.port)
            if known in owner:
                problems.append(f"peers[{id}]={address!r}: node {owner[known]} has this address already")
            owner.setdefault(known, id)
        return problems

    def _storage_problems(self) -> list[str]:
        problems = []
        if self.storage not in STORAGES:
            problems.append(f"storage={self.storage!r}: expected one of {', '.join(STORAGES)}")
        if self.data_dir is None and self.storage == "files" and self.log is None:
            problems.append("data_dir=None: expected a directory; without one say storage='memory', and nothing survives the process")
        directory: Any = self.data_dir
        if directory is not None and (not isinstance(directory, str | os.PathLike) or os.fspath(directory) in ("", b"")):
            problems.append(f"data_dir={directory!r}: expected a directory's path, as text or pathlib.Path")
        elif directory is not None and self.storage == "memory":
            problems.append(f"data_dir={os.fspath(directory)!r}: storage='memory' uses none")
        return problems

    def _kind_problems(self) -> list[str]:
        """Of settings whose kind is all that can be wrong with them."""
        problems = [
            f"{name}={getattr(self, name)!r}: expected True or False"
            for name in ("bootstrap", "fsync")
            if type(getattr(self, name)) is not bool
        ]
        wall_clock: Any = self.wall_clock
        if not callable(wall_clock):
            problems.append(f"wall_clock={wall_clock!r}: expected a function that gives seconds since 1970")
        ports: tuple[tuple[str, type], ...] = (("transport", Transport), ("log", Log))
        for name, kind in ports:
            value = getattr(self, name)
            if value is not None and not isinstance(value, kind):
                problems.append(f"{name}={value!r}: expected a zkembed.abc.{kind.__name__}, or None")
        return problems

    def _limit_problems(self) -> list[str]:
        problems = [
            f"{name}={getattr(self, name)!r}: expected a positive number of seconds"
            for name in ("tick", "sync_limit", "init_limit", "close_timeout", "session_timeout")
            if not _is_positive(getattr(self, name))
        ]
        if self.start_timeout is not None and not _is_positive(self.start_timeout):
            problems.append(f"start_timeout={self.start_timeout!r}: expected a positive number of seconds, or None")
        if not problems:
            problems.extend(self._timer_problems())
        for name, least in (("snapshot_every", 1), ("data_bytes_max", 1), ("txn_bytes_max", 1)):
            if not _is_int(getattr(self, name), least, 2**40):
                problems.append(f"{name}={getattr(self, name)!r}: expected an integer of at least {least}")
        if not problems and self.txn_bytes_max < self.data_bytes_max:
            problems.append(f"txn_bytes_max={self.txn_bytes_max}: expected at least data_bytes_max ({self.data_bytes_max})")
        if not problems and self.txn_bytes_max > 8 * 2**20:
            problems.append(f"txn_bytes_max={self.txn_bytes_max}: expected at most {8 * 2**20}, what one frame can carry")
        return problems

    def _timer_problems(self) -> list[str]:
        problems = []
        if self.sync_limit < 8 * self.tick - 1e-9:
            problems.append(f"sync_limit={self.sync_limit}: expected at least 8 ticks ({8 * self.tick:g})")
        if self.init_limit < 3 * self.sync_limit - 1e-9:
            problems.append(f"init_limit={self.init_limit}: expected at least 3 sync_limit ({3 * self.sync_limit:g})")
        if not 2 * self.sync_limit - 1e-9 <= self.session_timeout <= SESSION_TIMEOUT_MAX:
            problems.append(
                f"session_timeout={self.session_timeout}: expected 2 sync_limit ({2 * self.sync_limit:g}) to {SESSION_TIMEOUT_MAX:g}"
            )
        return problems


# One machine under several names, so that one port there is not given twice.
_SAME_HOST = {"localhost": "127.0.0.1"}


def _encodable(text: str) -> bool:
    return text.encode(errors="replace").decode() == text


def _is_int(value: object, least: int, most: int) -> bool:
    return type(value) is int and least <= value <= most


def _is_positive(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < float("inf")


def _parse_bool(text: str) -> bool:
    if text.lower() in ("true", "1", "yes", "on"):
        return True
    if text.lower() in ("false", "0", "no", "off"):
        return False
    raise ValueError(text)


def _parse_peers(text: str) -> dict[int, str]:
    peers: dict[int, str] = {}
    for part in text.split(","):
        id, equals, address = part.strip().partition("=")
        if not equals or int(id) in peers:
            raise ValueError(text)
        peers[int(id)] = address
    return peers


_EXPECTED: dict[Callable[[str], Any], str] = {
    int: "an integer",
    float: "a number of seconds",
    _parse_bool: "true or false",
    _parse_peers: "1=host:port,2=host:port, each id once",
}

_PARSERS: dict[str, Callable[[str], Any]] = {
    "node_id": int,
    "peers": _parse_peers,
    "data_dir": str,
    "cluster": str,
    "bootstrap": _parse_bool,
    "storage": str,
    "fsync": _parse_bool,
    "session_timeout": float,
    "tick": float,
    "sync_limit": float,
    "init_limit": float,
    "start_timeout": float,
    "close_timeout": float,
    "snapshot_every": int,
    "data_bytes_max": int,
    "txn_bytes_max": int,
}
