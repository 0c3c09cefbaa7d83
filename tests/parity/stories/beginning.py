"""What a server that nobody has written to holds."""

from __future__ import annotations

from ..story import a, story

_ALSO_SESSIONS = "the open sessions are listed there too: one more child"

STORIES = (
    story(
        "a new tree has a root, and one reserved child of it",
        "A3 A29",
        a.children("/"),
        a.exists("/"),
        a.get("/"),
        a.children("/zookeeper").differs(zookeeper="names config, quota", zkembed="names config, quota, sessions", because=_ALSO_SESSIONS),
        a.create("/n-", sequential=True),
        a.exists("/"),
        a.delete("/n-0000000000"),
        a.exists("/"),
        fresh=True,
    ),
)
