"""What a session of a workload writes down is what it asked for and was told: each event once, in its moment, with its numbers."""

from __future__ import annotations

import pytest

from zkembed.errors import BadArgumentsError
from zkembed.testing.history import Invoke, Return, SessionSeen, WatchEnded, WatchFired, WatchSet, plain_stat
from zkembed.testing.workload.client import Client
from zkembed.testing.workload.options import KINDS, WorkloadOptions
from zkembed.testing.workload.watches import RecordedWatch
from zkembed.tree.ops import Create, Delete, SetData
from zkembed.tree.watches import WatchMode

from .worlds import WorkedWorld

TIMEOUT = 4.0


def opened(world: WorkedWorld, node: int, timeout: float = TIMEOUT) -> Client:
    client = world.workload.open(world.hosts[node], timeout)
    world.run_until(lambda: client.session.created)
    return client


def last(world: WorkedWorld, kind: type) -> tuple[object, ...]:
    """The newest event of that kind, from its client's number on."""
    event = world.seen(kind)[-1]
    return tuple(event)[4:]


def test_a_write_returns_what_the_tree_made_of_it_and_its_place_in_c() -> None:
    world = WorkedWorld()
    client = opened(world, 2)
    call = world.hosts[2].act(lambda _: client.write(Create("/a", b"1")))
    assert last(world, Invoke) == (client.number, ("create", "/a", b"1", False, False, False))
    world.run_until(lambda: call.over)
    zxid = world.judge.end
    stat = client.replica.tree.get("/a").stat()  # type: ignore[union-attr]
    assert last(world, Return) == (client.number, "ok", ("created", "/a", plain_stat(stat)), client.session.id, 1, zxid, 0)

    call = world.hosts[2].act(lambda _: client.write(SetData("/a", b"2", 7)))
    world.run_until(lambda: call.over)
    assert last(world, Return) == (client.number, "error", ("BadVersionError",), client.session.id, 2, world.judge.end, 0)


def test_a_read_tells_the_state_that_it_was_answered_from_and_waits_for_the_sessions_writes() -> None:
    """Rule Q-9: in the step of the call while nothing is under way, else behind the last write."""
    world = WorkedWorld()
    client = opened(world, 3)
    tree = client.replica.tree
    read = world.hosts[3].act(lambda _: client.read("children", "/"))
    assert read.over
    assert last(world, Return) == (client.number, "ok", ("zookeeper",), 0, 0, 0, tree.applied)
    write, read = world.hosts[3].act(lambda _: (client.write(Create("/a", b"1")), client.read("get", "/a")))
    assert not read.over
    world.run_until(lambda: read.over)
    value = (b"1", plain_stat(tree.get("/a").stat()))  # type: ignore[union-attr]
    assert write.over
    assert last(world, Return) == (client.number, "ok", value, 0, 0, 0, tree.applied)
    world.hosts[3].act(lambda _: client.read("get", "/b"))
    assert last(world, Return) == (client.number, "error", ("NoNodeError",), 0, 0, 0, tree.applied)


def test_a_sync_returns_the_barrier() -> None:
    world = WorkedWorld()
    one, two = opened(world, 1), opened(world, 2)
    write = world.hosts[1].act(lambda _: one.write(Create("/a")))
    world.run_until(lambda: write.over)
    answered = world.judge.end
    sync = world.hosts[2].act(lambda _: two.sync())
    world.run_until(lambda: sync.over)
    number, status, value, *_, applied = last(world, Return)
    assert (number, status, value) == (two.number, "ok", applied)
    assert isinstance(applied, int)
    assert applied >= answered


def test_what_is_refused_at_the_call_is_not_done() -> None:
    world = WorkedWorld()
    client = opened(world, 1)
    world.hosts[1].act(lambda _: client.write(Delete("/")))
    assert last(world, Return) == (client.number, "not done", ("BadArgumentsError",), 0, 0, 0, 0)
    world.hosts[1].act(lambda _: client.write(SetData("/a", b"x" * 1001)))
    assert last(world, Return) == (client.number, "not done", ("DataTooLargeError",), 0, 0, 0, 0)


def test_Q_2_what_only_the_leader_refuses_is_an_error_with_a_place() -> None:
    world = WorkedWorld()
    client = opened(world, 2)
    call = world.hosts[2].act(lambda _: client.write(SetData("/a", b"x" * 1001), unchecked=True))
    world.run_until(lambda: call.over)
    assert last(world, Return) == (client.number, "error", ("DataTooLargeError",), client.session.id, 1, world.judge.end, 0)


def test_Q_8_a_write_given_up_before_it_was_handed_over_is_not_done_and_one_after_is_unknown() -> None:
    world = WorkedWorld()
    client = opened(world, 2)
    handed = world.hosts[2].act(lambda _: client.write(Create("/handed")))
    world.hosts[2].act(lambda _: handed.abandon())
    assert last(world, Return) == (client.number, "unknown", None, client.session.id, 1, 0, 0)

    def change_of_mind() -> None:
        client.write(Create("/withdrawn")).abandon()

    world.hosts[2].act(lambda _: change_of_mind())
    assert last(world, Return) == (client.number, "not done", None, 0, 0, 0, 0)
    world.settle()
    returns = len(world.seen(Return))
    world.run(2.0)
    assert len(world.seen(Return)) == returns, "a call returns once, whatever comes of it"
    assert client.replica.tree.get("/handed") is not None
    assert client.replica.tree.get("/withdrawn") is None


def test_reads_and_barriers_that_were_given_up_are_not_done() -> None:
    world = WorkedWorld()
    client = opened(world, 2)

    def ask_and_go() -> None:
        client.write(Create("/a"))
        watch = RecordedWatch(client, "/a", WatchMode.DATA)
        for call in (client.read("get", "/a", watch), client.sync()):
            call.abandon()

    world.hosts[2].act(lambda _: ask_and_go())
    assert [event.status for event in world.seen(Return)[-2:]] == ["not done", "not done"]
    world.settle()
    assert not world.seen(WatchSet), "a read that nobody waits for sets no watch"


def test_an_expired_session_ends_its_calls_by_what_can_be_known() -> None:
    """Rules Q-8, S-7: handed over, unknown; queued behind, not done; reads and barriers, an error."""
    world = WorkedWorld()
    node = next(id for id in (1, 2, 3) if id != world.leader())
    client = opened(world, node)
    world.partition({node}, {1, 2, 3} - {node})
    handed = world.hosts[node].act(lambda _: client.write(Create("/handed")))
    world.run_until(lambda: not client.replica.serving)
    queued, read, sync = world.hosts[node].act(lambda _: (client.write(Create("/queued")), client.read("get", "/"), client.sync()))
    world.run(20.0)
    assert [event.state for event in world.seen(SessionSeen)] == ["created", "connected", "suspended"]
    world.heal_all()
    world.run_until(lambda: client.session.gone)
    assert [event.state for event in world.seen(SessionSeen)][3:] == ["expired"]
    ends = {event.id: (event.status, event.value, event.cseq) for event in world.seen(Return)}
    expired = ("SessionExpiredError",)
    assert ends[handed.id] == ("unknown", expired, 1)
    assert ends[queued.id] == ("not done", expired, 0)
    assert ends[read.id] == ends[sync.id] == ("error", expired, 0)
    assert client.over
    world.hosts[node].act(lambda _: client.write(Create("/late")))
    assert last(world, Return) == (client.number, "not done", expired, 0, 0, 0, 0)


def test_a_session_that_is_closed_is_closed_for_its_owner_at_the_call() -> None:
    """Rule S-7. Its end is done when its entry is applied; told once."""
    world = WorkedWorld()
    client = opened(world, 1)
    assert last(world, Return)[1:4] == ("ok", client.session.id, client.session.id), "the opening has returned"
    call = world.hosts[1].act(lambda _: client.close())
    assert [event.state for event in world.seen(SessionSeen)] == ["created", "connected", "closed"]
    assert not call.over
    world.run_until(lambda: call.over)
    assert last(world, Return)[1:5] == ("ok", None, client.session.id, 1)
    assert len(world.seen(SessionSeen)) == 3


def test_a_watch_stands_in_the_history_before_the_answer_of_its_read_and_its_event_before_the_state() -> None:
    """Invariant W3, of the record itself."""
    world = WorkedWorld()
    client = opened(world, 2)
    watch = RecordedWatch(client, "/a", WatchMode.EXISTS)
    before = len(world.history)
    world.hosts[2].act(lambda _: client.read("exists", "/a", watch))
    applied = client.replica.tree.applied
    assert [type(event) for event in world.history.events[before:]] == [Invoke, WatchSet, Return]
    assert last(world, WatchSet) == (client.number, "/a", "EXISTS", applied)
    write = world.hosts[2].act(lambda _: client.write(Create("/a", b"new")))
    world.run_until(lambda: write.over)
    kinds = [type(event) for event in world.history if type(event) in (WatchFired, Return)]
    assert kinds[-2:] == [WatchFired, Return]
    stat = plain_stat(client.replica.tree.get("/a").stat())  # type: ignore[union-attr]
    assert tuple(world.seen(WatchFired)[-1])[3:] == (watch.number, "CREATED", "/a", world.judge.end, b"new", stat)
    assert not client.watches


def test_a_watch_that_is_set_and_fires_in_one_step_is_written_down_when_it_is_set() -> None:
    """A write fires one watch; the read behind it sets another; the write behind that fires it. Events are told at the end of the step."""
    world = WorkedWorld()
    client = opened(world, 2)
    first, second = RecordedWatch(client, "/a", WatchMode.EXISTS), RecordedWatch(client, "/a", WatchMode.DATA)
    world.hosts[2].act(lambda _: client.read("exists", "/a", first))

    def burst() -> None:
        client.write(Create("/a"))
        client.read("get", "/a", second)
        client.write(SetData("/a", b"2"))

    world.hosts[2].act(lambda _: burst())
    world.settle()
    told = [(type(event), event.watch) for event in world.seen(WatchSet, WatchFired)]
    one, two = first.number, second.number
    assert told == [(WatchSet, one), (WatchSet, two), (WatchFired, one), (WatchFired, two)]
    assert [event.zxid for event in world.seen(WatchFired)] == [world.judge.end - 1, world.judge.end]
    assert world.seen(WatchSet)[1].zxid == world.judge.end - 1


def test_a_watch_may_be_set_in_the_state_before_the_first_entry() -> None:
    world = WorkedWorld()
    client = opened(world, 1)
    watch = RecordedWatch(client, "/a", WatchMode.EXISTS)

    def change_of_mind() -> None:
        watch.set(0)
        watch.remove()
        watch.remove()

    world.hosts[1].act(lambda _: change_of_mind())
    assert last(world, WatchSet) == (client.number, "/a", "EXISTS", 0)
    assert [event.how for event in world.seen(WatchEnded)] == ["removed"]


def test_watches_end_by_their_owner_with_their_session_and_with_their_node() -> None:
    world = WorkedWorld()
    client, other = opened(world, 1), opened(world, 2)
    removed, session, node = (RecordedWatch(each, "/", WatchMode.CHILDREN) for each in (client, client, other))
    world.hosts[1].act(lambda _: (client.read("children", "/", removed), client.read("children", "/", session)))
    world.hosts[2].act(lambda _: other.read("children", "/", node))
    world.hosts[1].act(lambda _: removed.remove())
    call = world.hosts[1].act(lambda _: client.close())
    world.run_until(lambda: call.over)
    world.kill(2)
    ended = [(event.watch, event.how) for event in world.seen(WatchEnded)]
    assert ended == [(removed.number, "removed"), (session.number, "ended"), (node.number, "ended")]


def test_a_stream_belongs_to_the_node_and_tells_every_change() -> None:
    world = WorkedWorld()
    client = opened(world, 2)
    stream = world.hosts[2].act(lambda _: client.stream("/a", WatchMode.RECURSIVE))
    assert last(world, WatchSet) == (0, "/a", "RECURSIVE", client.replica.tree.applied)
    world.hosts[2].act(lambda _: [client.write(op) for op in (Create("/a"), SetData("/a", b"2"), Create("/a/b"), Delete("/a", None, True))])
    world.settle()
    told = [(event.kind, event.path) for event in world.seen(WatchFired)]
    assert told == [("CREATED", "/a"), ("DATA_CHANGED", "/a"), ("CREATED", "/a/b"), ("DELETED", "/a/b"), ("DELETED", "/a")]
    assert stream in client.watches


def test_calls_of_a_process_that_died_never_return() -> None:
    world = WorkedWorld()
    client = opened(world, 2)
    call = world.hosts[2].act(lambda _: client.write(Create("/a")))
    world.kill(2)
    assert world.workload.idle
    world.start(2)
    world.run(10.0)
    assert call.id not in {event.id for event in world.seen(Return)}
    assert not client.alive


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"weights": (("fly", 1.0),)}, "fly"),
        ({"weights": (("get", -1.0),)}, "get"),
        ({"weights": (("get", 0.0),)}, "all are 0"),
        ({"sessions": 0}, "sessions=0"),
        ({"rush": 1.0}, "rush=1.0"),
        ({"operations": -1}, "operations=-1"),
    ],
)
def test_options_that_make_no_sense_are_refused_and_say_what_is_allowed(wrong: dict[str, object], named: str) -> None:
    with pytest.raises(BadArgumentsError, match=named):
        WorkloadOptions(**wrong)  # type: ignore[arg-type]
    assert {kind for kind, _ in WorkloadOptions().weights} == set(KINDS)
