"""The language of the comparison: what is asked, by which session, and where the two systems are meant to differ.

A story knows neither ZooKeeper nor zkembed. Paths begin with ``~``, the story's own znode, made before it begins; a path
without it is taken as it stands. Sessions are ``a``, ``b`` and ``c``: ``b`` may be closed or vanish in a story, the others stay.
"""

from __future__ import annotations

from typing import TypeAlias

from attrs import evolve, frozen


@frozen
class Create:
    path: str
    data: bytes | None = b""
    ephemeral: bool = False
    sequential: bool = False


@frozen
class Set:
    path: str
    data: bytes | None
    version: int | None = None


@frozen
class Delete:
    path: str
    version: int | None = None


@frozen
class Check:
    """Only in transactions."""

    path: str
    version: int | None = None


@frozen
class Get:
    path: str
    watch: bool = False


@frozen
class Exists:
    path: str
    watch: bool = False


@frozen
class Children:
    path: str
    watch: bool = False


@frozen
class Multi:
    ops: tuple[TransactionOp, ...]


@frozen
class Sync:
    """Also where a session that only watches says what it was told."""


@frozen
class Stream:
    """A persistent watch."""

    path: str
    recursive: bool = False


@frozen
class StopWatching:
    """Every watch this session has on the path, of any kind, is removed."""

    path: str


@frozen
class Close:
    """The session ends by its owner's wish."""


@frozen
class Vanish:
    """The session's process is gone without a word; the ensemble has noticed when the step is over."""


TransactionOp: TypeAlias = Create | Set | Delete | Check
Op: TypeAlias = Create | Set | Delete | Get | Exists | Children | Multi | Sync | Stream | StopWatching | Close | Vanish


@frozen
class Difference:
    """An intended one: the answers as the transcript prints them, and why they are not the same."""

    zookeeper: str
    zkembed: str
    because: str


@frozen
class Step:
    session: str
    op: Op
    difference: Difference | None = None

    def differs(self, *, zookeeper: str, zkembed: str, because: str) -> Step:
        return evolve(self, difference=Difference(zookeeper, zkembed, because))


@frozen
class Story:
    """rows: of the table of features that it is about.

    ordered: the order of events within one step is compared too; for stories in which each session has one stream at most.
    fresh: told to servers that nobody has talked to yet, without a znode of its own.
    """

    title: str
    rows: tuple[str, ...]
    steps: tuple[Step, ...]
    ordered: bool = False
    fresh: bool = False

    @property
    def sessions(self) -> tuple[str, ...]:
        return tuple(sorted({"a", *(step.session for step in self.steps)}))


def story(title: str, rows: str, *steps: Step, ordered: bool = False, fresh: bool = False) -> Story:
    """rows: names, separated by spaces."""
    return Story(title, tuple(rows.split()), steps, ordered, fresh)


class Speaker:
    """Makes the steps of one session."""

    def __init__(self, session: str) -> None:
        self._session = session

    def create(self, path: str, data: bytes | None = b"", *, ephemeral: bool = False, sequential: bool = False) -> Step:
        return Step(self._session, Create(path, data, ephemeral, sequential))

    def set(self, path: str, data: bytes | None, *, version: int | None = None) -> Step:
        return Step(self._session, Set(path, data, version))

    def delete(self, path: str, *, version: int | None = None) -> Step:
        return Step(self._session, Delete(path, version))

    def get(self, path: str, *, watch: bool = False) -> Step:
        return Step(self._session, Get(path, watch))

    def exists(self, path: str, *, watch: bool = False) -> Step:
        return Step(self._session, Exists(path, watch))

    def children(self, path: str, *, watch: bool = False) -> Step:
        return Step(self._session, Children(path, watch))

    def multi(self, *ops: TransactionOp) -> Step:
        return Step(self._session, Multi(ops))

    def sync(self) -> Step:
        return Step(self._session, Sync())

    def stream(self, path: str, *, recursive: bool = False) -> Step:
        return Step(self._session, Stream(path, recursive))

    def stop_watching(self, path: str) -> Step:
        return Step(self._session, StopWatching(path))

    def close(self) -> Step:
        return Step(self._session, Close())

    def vanish(self) -> Step:
        return Step(self._session, Vanish())


a = Speaker("a")
b = Speaker("b")
c = Speaker("c")
