"""Spoilt frames in the middle of real conversations (V6, N-3, N-4): refused, they end their own link and change nothing; taken, they stop
nobody.

A simulated ensemble lives through founding, an election, syncs and writes. Every so often, right before a genuine message is received,
copies of the receiver get spoilt versions of it instead, in the very phase in which it was expected.
"""

from __future__ import annotations

import copy
from collections import Counter
from random import Random
from typing import Any

import cbor2
from attrs import evolve, frozen

from tests.replica.world import World, create, put
from zkembed.codec import encode
from zkembed.errors import DecodeError
from zkembed.replica.replica import Replica
from zkembed.testing.simulated.node import SimNode
from zkembed.testing.simulated.replica_app import ReplicaApp
from zkembed.zab.codec import decode_frame, encode_frame
from zkembed.zab.effects import CloseLink, Halt, Purpose, Role
from zkembed.zab.links import Link
from zkembed.zab.messages import Message

from .effort import ITERATIONS, SEED
from .mutation import spoil
from .test_schemas import reshaped

COPIES = 2
ATTEMPTS = 10
# Section 18, item 4: a leader that a quorum follows and that would cut what is committed stops this node, which then keeps its data.
BY_DESIGN = "would cut committed history"


@frozen
class Visible:
    """What a replica has decided, promised and applied: what bytes that were refused must leave as it is."""

    epochs: object
    durable: object
    last: object
    committed: object
    applied: object
    digest: object
    configuration: object
    sessions: tuple[int, ...]

    def without_role(self, now: Visible) -> Visible:
        """A learner has lost its leader's link: what was in memory only may be gone (X-3); notifications count again (E-3, I-4)."""
        last = now.last if now.last in (self.last, self.durable) else self.last
        return evolve(self, last=last, configuration=now.configuration)

    @classmethod
    def of(cls, replica: Replica) -> Visible:
        history = replica.peer.history
        return cls(
            replica.peer.epochs,
            history.durable,
            history.end,
            history.committed,
            replica.tree.applied,
            replica.tree.digest_now(),
            replica.peer.configuration,
            tuple(replica.tree.sessions),
        )


class Siege:
    """Stands before every node's receiver. seen: what became of the frames, and in which phases they came."""

    def __init__(self, world: World, seed: int, every: int) -> None:
        self._world = world
        self._random = Random(seed)
        self._every = every
        self.seen: Counter[str] = Counter()
        self.phases: set[tuple[str, str]] = set()
        self.recent: list[Message] = []

    def surround(self, node: SimNode) -> None:
        app = node.app
        assert isinstance(app, ReplicaApp)
        genuine = app.receive

        def receive(link: int, message: Message) -> None:
            self.recent = [*self.recent[-20:], message]
            if self._random.randrange(self._every) == 0:
                for _ in range(COPIES):
                    self._try(node, link, message)
            genuine(link, message)

        app.receive = receive  # type: ignore[method-assign]

    def _try(self, node: SimNode, link: int, message: Message) -> None:
        frame, messages = self._readable(message)
        if not messages:
            return
        victim = copy.deepcopy(node.app)
        assert isinstance(victim, ReplicaApp)
        victim.peer.drain = victim._drain_core  # type: ignore[method-assign]
        try:
            self._give(victim, link, messages)
        except Exception as error:
            raise AssertionError(f"seed {SEED}, {node}, link {link}: {messages!r:.1000}; frame {frame.hex():.2000}") from error

    def _readable(self, message: Message) -> tuple[bytes, tuple[Message, ...]]:
        """A spoilt frame that still is one: the others never reach the core."""
        for _ in range(ATTEMPTS):
            frame = self._spoilt(message)
            try:
                if (messages := decode_frame(frame)) and messages != (message,):
                    return frame, messages
            except DecodeError:
                self.seen["no message"] += 1
        return b"", ()

    def _spoilt(self, message: Message) -> bytes:
        """Of this message, or of another one heard lately: bytes changed, or one value."""
        other = self._random.choice(self.recent)
        source = message if self._random.random() < 0.7 else other
        if self._random.random() < 0.3:
            return spoil(encode_frame([source]), encode_frame([other]), self._random)
        return encode([reshaped(cbor2.loads(encode_frame([source]))[0], self._random)])

    def _give(self, victim: ReplicaApp, id: int, messages: tuple[Message, ...]) -> None:
        replica = victim.replica
        core = replica.peer._core
        link = core.links.get(id)
        if link is None:
            self.seen["link gone"] += 1
            return
        replica.drain()
        before, role, serving = Visible.of(replica), replica.peer.role, replica.peer.serving
        others = {each.id for each in core.links} - {id}
        self.phases.add((role.value, replica.peer.phase))
        for message in messages:
            replica.receive(id, message)
            if core.links.get(id) is None:
                break
        refused = core.links.get(id) is None
        between = Visible.of(replica)
        effects = replica.drain()
        self._judge(link, refused, replica, serving, role, others, effects)
        if refused and len(messages) == 1:
            assert between == (before.without_role(between) if link.purpose is Purpose.ZAB and link.outbound else before)
        self.seen["refused" if refused else "taken"] += 1
        # And it lives on: what was taken does not come back as a surprise.
        replica.tick(core.now + 0.05, 10**15)
        replica.drain()

    def _judge(self, link: Link, refused: bool, replica: Replica, serving: bool, role: Role, others: set[int], effects: list[Any]) -> None:
        halted = [effect for effect in effects if isinstance(effect, Halt) and BY_DESIGN not in str(effect.error)]
        assert not halted, halted
        if refused and not self._leads_or_follows_by(link, serving):
            closed = {effect.link for effect in effects if isinstance(effect, CloseLink)}
            assert not closed & others, "another link was closed"
            assert replica.peer.role is role

    @staticmethod
    def _leads_or_follows_by(link: Link, serving: bool) -> bool:
        """A link whose end may end the role, whoever ended it: a learner's to its leader, a leader's to one that its quorum needs; any one
        before there is a leader that serves."""
        return not serving or link.purpose is Purpose.ZAB


def test_spoilt_frames_in_every_phase_end_their_own_link_and_nothing_else() -> None:
    world = World(3, seed=SEED, start=False)
    siege = Siege(world, SEED, every=max(1, 750 // ITERATIONS))
    started = world.started

    def start_surrounded(node: SimNode) -> None:
        started(node)
        siege.surround(node)

    world.started = start_surrounded  # type: ignore[method-assign]
    for node_id in world.nodes:
        world.start(node_id)
    rounds = max(1, ITERATIONS // 1000)
    for round in range(rounds):
        live_through(world, round)
    print(f"seed {SEED}: {dict(siege.seen)}; phases {sorted(siege.phases)}")
    assert siege.seen["refused"] > 20
    assert siege.seen["taken"] > 20
    assert {role for role, _ in siege.phases} == {"looking", "following", "leading"}


def live_through(world: World, round: int) -> None:
    """Leaders come and go, a node falls behind and is brought back by its log and by a snapshot."""
    world.run_until(lambda: all(node.up and node.peer.serving for node in world))
    session = world.open(2)
    path = f"/round-{round}"
    world.write(2, session, create(path, b"1"))
    world.sync(2, session)
    leader = next(node.id for node in world if node.peer.role is Role.LEADING)
    behind = next(node.id for node in world if node.id not in (leader, 2))
    world.crash(behind)
    for number in range(5):
        world.write(2, session, put(path, b"%d" % number)) if world.nodes[2].up else None
    world.start(behind)
    world.run_until(lambda: world.nodes[behind].peer.serving)
    world.crash(leader)
    world.run_until(lambda: any(node.up and node.peer.role is Role.LEADING and node.peer.serving for node in world))
    world.start(leader)
    world.run_until(lambda: all(node.up and node.peer.serving for node in world))
