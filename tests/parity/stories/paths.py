"""Which paths are allowed. Asked with create, where ZooKeeper's server checks; its reads leave that to the Java client."""

from __future__ import annotations

from ..story import Step, Story, a, story

_READS_UNCHECKED = (
    "zkembed refuses a path that nothing can have, at the call; ZooKeeper leaves that to its Java client (which does refuse it), "
    "and its server only looks and finds nothing"
)
_PARENT_FIRST = (
    "zkembed refuses a path that nothing can have, at the call; ZooKeeper looks for its parent first, and an impossible one does not exist"
)
_STAT = "[czxid 1 mzxid 1 pzxid 1 version 0 cversion 0 aversion 0 owner nobody length 0 children 0]"


def _nowhere(path: str, *, sequential: bool = False) -> Step:
    return a.create(path, sequential=sequential).differs(zookeeper="NoNode", zkembed="BadArguments", because=_PARENT_FIRST)


def _allowed(title: str, *names: str) -> Story:
    return story(title, "A2", *(a.create(f"~/{name}") for name in names), a.children("~"))


STORIES = (
    story("a path is absolute", "A2", a.create("x"), _nowhere("x/y")),
    story("a path does not end in a slash", "A2", a.create("~/x"), a.create("~/"), a.create("~/x/"), _nowhere("~/y/"), a.children("~")),
    story(
        "no element is empty",
        "A2",
        a.create("//"),
        a.create("//x"),
        _nowhere("~//x"),
        _nowhere("~//", sequential=True),
        _nowhere("~/x//y"),
        a.children("~"),
    ),
    story(
        "no element is relative",
        "A2",
        a.create("~/x"),
        *(a.create(f"~/{tail}") for tail in (".", "..", "x/.", "x/..")),
        *(_nowhere(f"~/{tail}") for tail in ("./y", "../y", "x/./y", "x/../y")),
        a.children("~"),
    ),
    story(
        "no control characters",
        "A2",
        *(a.create(f"~/x{chr(code)}y") for code in (0x00, 0x01, 0x09, 0x0A, 0x1F, 0x7F, 0x80, 0x9F)),
        a.children("~"),
    ),
    story(
        "no private-use, special or astral characters",
        "A2",
        *(a.create(f"~/x{chr(code)}y") for code in (0xE000, 0xF8FF, 0xFFF0, 0xFFFD, 0xFFFF, 0x1F600, 0x10FFFF)),
        a.children("~"),
    ),
    _allowed("dots are allowed where they are not alone", "...", ".x", "x.", "..x", "x..", "x.y"),
    _allowed("what borders on the forbidden is allowed", " ", "~", "\xa0", "\ud7ff", "\uf900", "\uffef"),
    _allowed("other languages are allowed", "Käse", "日本", "x y", "ß", "\\", "%", "*"),
    story(
        "writes elsewhere are checked like creates",
        "A2",
        a.set("~/x/", b""),
        a.set("~//x", b""),
        a.set("x", b""),
        a.delete("x"),
    ),
    story(
        "a delete of a path that cannot be",
        "A2 A15",
        a.delete("~/x/").differs(zookeeper="NoNode", zkembed="BadArguments", because=_READS_UNCHECKED),
        a.delete("~//x").differs(zookeeper="NoNode", zkembed="BadArguments", because=_READS_UNCHECKED),
        a.delete("~/../x").differs(zookeeper="NoNode", zkembed="BadArguments", because=_READS_UNCHECKED),
    ),
    story(
        "a read of a path that cannot be",
        "A2 A17 A18 A21",
        a.get("~/x/").differs(zookeeper="NoNode", zkembed="BadArguments", because=_READS_UNCHECKED),
        a.exists("~//x").differs(zookeeper="absent", zkembed="BadArguments", because=_READS_UNCHECKED),
        a.children("~/./x").differs(zookeeper="NoNode", zkembed="BadArguments", because=_READS_UNCHECKED),
    ),
    story(
        "a path longer than 4,096 characters",
        "A2",
        a.create("~/" + "x" * 4000),
        a.create("~/" + "y" * 5000).differs(
            zookeeper="~/" + "y" * 5000 + " " + _STAT.replace("1", "2"),
            zkembed="BadArguments",
            because="create(parents=True) would else make a tree of quadratic size from one small request",
        ),
    ),
    story(
        "the root and the reserved subtree stay",
        "A3",
        a.delete("/"),
        a.delete("/zookeeper"),
    ),
    story(
        "what is below /zookeeper is not an application's",
        "A3",
        a.create("/zookeeper/story").differs(
            zookeeper=f"/zookeeper/story {_STAT}",
            zkembed="BadArguments",
            because="membership, sessions and quotas are shown there, read-only, and kept by the ensemble itself",
        ),
        a.delete("/zookeeper/story").differs(
            zookeeper="done", zkembed="BadArguments", because="membership, sessions and quotas are shown there, read-only"
        ),
    ),
    story("a name that only begins like the reserved one is free", "A3", a.create("/zookeeperish"), a.delete("/zookeeperish")),
)
