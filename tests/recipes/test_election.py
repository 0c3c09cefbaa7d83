"""Election: terms, standbys in their order, and a leader whose body ends with its term."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from zkembed import BadArgumentsError, Election, Held, LockLostError, NodeFailedError, SessionExpiredError, SessionState
from zkembed.testing import open_ensemble

from .helpers import Steps, follower, hold, queue, quiet

PATH = "/leader"


async def test_H17_the_leader_has_a_name_and_standbys_an_order(autojump_clock: MockClock) -> None:
    async with open_ensemble(3) as ensemble, trio.open_nursery() as nursery:
        election = Election(ensemble.zk(1), PATH)
        assert (await election.leader(), await election.contenders()) == (None, ())
        terms = {}
        for id, name in ((2, "w2"), (1, "w1"), (2, "w2b"), (3, "w3")):
            terms[name] = hold(nursery, Election(ensemble.zk(id), PATH, name=name))
            await quiet()
        tokens = []
        for name in ("w2", "w1", "w2b", "w3"):
            assert await election.leader() == name
            assert (await election.contenders())[0] == name
            held = terms[name].held
            assert held is not None
            tokens.append(held.token)
            terms[name].let_go.set()
            await quiet()
        assert await election.leader() is None
        assert tokens == sorted(set(tokens))


async def test_H2_the_end_of_a_term_wakes_one_candidate_and_no_herd(autojump_clock: MockClock) -> None:
    """Of twenty who wait, on three nodes, one task takes a step for each end of a term, and each watches one znode beside its own."""
    async with open_ensemble(3) as ensemble, trio.open_nursery() as nursery:
        waiting = []
        for number in range(20):
            waiting.append(hold(nursery, Election(ensemble.zk(number % 3 + 1), PATH, name=f"c{number}"), name=f"candidate-{number}"))
            await quiet()
        assert sum(ensemble.zk(id).node.statistics().watches for id in (1, 2, 3)) == 20 + 19
        for number in range(19):
            steps = Steps()
            trio.lowlevel.add_instrument(steps)
            waiting[number].let_go.set()
            await quiet()
            trio.lowlevel.remove_instrument(steps)
            awake = {name for name in steps.by_name if name.startswith("candidate-")}
            assert awake == {f"candidate-{number}", f"candidate-{number + 1}"}
        waiting[19].let_go.set()


async def test_a_candidate_in_the_middle_goes_and_wakes_only_the_one_behind(autojump_clock: MockClock) -> None:
    """H2: the one behind looks again, and is not the leader by that."""
    async with open_ensemble(3) as ensemble, trio.open_nursery() as nursery:
        middle = trio.CancelScope()

        async def stand() -> None:
            with middle:
                async with Election(ensemble.zk(2), PATH, name="middle"):
                    raise AssertionError("elected")

        first = hold(nursery, Election(ensemble.zk(1), PATH, name="first"))
        await quiet()
        nursery.start_soon(stand)
        await quiet()
        last = hold(nursery, Election(ensemble.zk(3), PATH, name="last"))
        await quiet()
        middle.cancel()
        await quiet()
        assert await Election(ensemble.zk(1), PATH).contenders() == ("first", "last")
        assert last.waits()
        first.let_go.set()
        await quiet()
        assert last.held is not None
        last.let_go.set()


async def test_RE_8_a_leader_that_loses_its_session_stops_before_the_next_begins(autojump_clock: MockClock) -> None:
    """RE-8: its body is cancelled, its token is stale."""
    async with open_ensemble(3) as ensemble, trio.open_nursery() as nursery:
        alone = follower(ensemble)
        other = next(id for id in (1, 2, 3) if id != alone)
        old = hold(nursery, Election(ensemble.zk(alone), PATH, name="old"))
        await quiet()
        new = hold(nursery, Election(ensemble.zk(other), PATH, name="new"))
        await quiet()
        ensemble.partition({alone}, {1, 2, 3} - {alone})
        await trio.sleep(20)
        assert isinstance(old.ended, LockLostError)
        assert old.held is not None
        assert new.held is not None
        assert old.ended_at < new.began_at
        assert old.held.token < new.held.token
        ensemble.heal()
        new.let_go.set()


async def test_run_returns_what_the_function_returns(autojump_clock: MockClock) -> None:
    async def lead(term: Held, first: int, second: str) -> tuple[int, str, bool]:
        term.check()
        return first, second, term.expires_in() > 0

    async with open_ensemble(3) as ensemble:
        assert await Election(ensemble.zk(1), PATH, name="w1").run(lead, 1, "two") == (1, "two", True)
        assert await queue(ensemble.zk(1), PATH) == ()


async def test_run_stands_again_when_the_term_is_lost(autojump_clock: MockClock) -> None:
    """Through SUSPENDED and an expired session to a term of the next session; the other one led meanwhile."""
    terms: list[tuple[str, int]] = []
    async with open_ensemble(3) as ensemble, trio.open_nursery() as nursery:
        alone = follower(ensemble)
        other = next(id for id in (1, 2, 3) if id != alone)

        async def lead(term: Held, name: str) -> None:
            terms.append((name, term.token))
            await trio.sleep_forever()

        for id, name in ((alone, "a"), (other, "b")):
            nursery.start_soon(Election(ensemble.zk(id), PATH, name=name).run, lead, name)
            await quiet()
        first_session = ensemble.zk(alone).session
        ensemble.partition({alone}, {1, 2, 3} - {alone})
        await trio.sleep(20)
        ensemble.heal()
        await trio.sleep(5)
        assert first_session.state is SessionState.EXPIRED
        assert await Election(ensemble.zk(other), PATH).contenders() == ("b", "a")
        ensemble.partition({other}, {1, 2, 3} - {other})
        await trio.sleep(20)
        assert [name for name, _ in terms] == ["a", "b", "a"]
        assert sorted(terms, key=lambda term: term[1]) == terms
        nursery.cancel_scope.cancel()


async def test_run_stands_again_when_somebody_deposes_the_leader(autojump_clock: MockClock) -> None:
    """An operator deletes the znode: the term is lost, also where the body does not pause or has caught it itself."""
    terms: list[Held] = []
    async with open_ensemble(3) as ensemble:
        zk = ensemble.zk(1)

        async def lead(term: Held) -> str:
            terms.append(term)
            if len(terms) < 3:
                with trio.CancelScope(shield=True):
                    await ensemble.zk(2).delete(term.path)
                    await zk.sync()
            if len(terms) == 1:
                term.check()
            return f"term {len(terms)}"

        assert await Election(zk, PATH).run(lead) == "term 3"
        assert await queue(zk, PATH) == ()


async def test_run_lets_the_functions_errors_through(autojump_clock: MockClock) -> None:
    """T7: its own errors, also those that a lost term could have caused but did not, and groups as they are."""

    async def fail(term: Held, error: Exception) -> None:
        raise error

    async def fail_in_a_nursery(term: Held) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fail, term, ValueError("inside"))

    async with open_ensemble(1) as ensemble:
        for error in (ValueError("x"), LockLostError("another lock"), SessionExpiredError("another session")):
            with pytest.raises(type(error)) as caught:
                await Election(ensemble.zk(1), PATH).run(fail, error)
            assert caught.value is error
        with pytest.RaisesGroup(ValueError):
            await Election(ensemble.zk(1), PATH).run(fail_in_a_nursery)
        assert await queue(ensemble.zk(1), PATH) == ()


async def test_run_ends_with_its_node(autojump_clock: MockClock) -> None:
    """Crashed while it leads, and while it waits: no standing again where there is no node."""

    async def lead(term: Held) -> None:
        await trio.sleep_forever()

    async with open_ensemble(3) as ensemble:
        ended: list[BaseException] = []

        async def run(id: int) -> None:
            try:
                await Election(ensemble.zk(id), PATH).run(lead)
            except Exception as error:
                ended.append(error)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(run, 1)
            await quiet()
            nursery.start_soon(run, 2)
            await quiet()
            ensemble.crash(2)
            await quiet()
            assert [type(error) for error in ended] == [NodeFailedError]
            ensemble.crash(1)
        assert len(ended) == 2
        assert isinstance(ended[1], NodeFailedError | LockLostError)


async def test_H8_a_leader_that_would_wait_for_itself_is_told_so(autojump_clock: MockClock) -> None:
    async with open_ensemble(1) as ensemble, Election(ensemble.zk(1), PATH, name="w1"):
        with pytest.raises(BadArgumentsError, match="this task holds it already"):
            async with Election(ensemble.zk(1), PATH, name="w1"):
                raise AssertionError("two terms")


@pytest.mark.parametrize("name", ["", b"w1", 7])
async def test_a_name_that_is_no_text_is_refused(name: str, autojump_clock: MockClock) -> None:
    async with open_ensemble(1) as ensemble:
        with pytest.raises(BadArgumentsError, match="name="):
            Election(ensemble.zk(1), PATH, name=name)
