"""The order in which instances of a database change: a table, and a state machine in which pods die at any time."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from chatoperator.parts.database.replication.order import ANY, NOTHING, InstanceChange, Member, decide

LEADER = Member(1, leads=True, ready=True, updated=True)
SECOND, THIRD = (Member(number, ready=True, updated=True, synchronous=True) for number in (2, 3))
OLD_LEADER, OLD_SECOND, OLD_THIRD = (replace(one, updated=False) for one in (LEADER, SECOND, THIRD))


def down(member: Member) -> Member:
    return replace(member, ready=False)


@pytest.mark.parametrize(
    ("members", "count", "switch_to", "expected"),
    [
        # Nothing to do, nobody yet.
        ([LEADER, SECOND, THIRD], 3, None, NOTHING),
        ([], 3, None, InstanceChange()),
        # 1 -> n: the only one restarts as a member.
        ([OLD_LEADER], 3, None, InstanceChange(replace=frozenset({1}))),
        # Replicas first, one at a time; who would lead next goes last.
        ([OLD_LEADER, OLD_SECOND, OLD_THIRD], 3, None, InstanceChange(replace=frozenset({3}))),
        (
            [OLD_LEADER, replace(OLD_SECOND, synchronous=False), OLD_THIRD],
            3,
            None,
            InstanceChange(replace=frozenset({2})),
        ),
        ([OLD_LEADER, OLD_SECOND, down(THIRD)], 3, None, InstanceChange(waits_for=(3,))),
        ([OLD_LEADER, OLD_SECOND, THIRD], 3, None, InstanceChange(replace=frozenset({2}))),
        # Then somebody else leads, who lacks least; then the old leader.
        ([OLD_LEADER, SECOND, replace(THIRD, lag_bytes=0)], 3, None, InstanceChange(switch_to=3)),
        (
            [replace(OLD_LEADER, leads=False), replace(SECOND, leads=True), THIRD],
            3,
            None,
            InstanceChange(replace=frozenset({1})),
        ),
        # Parameters that PostgreSQL does not start with reach no leader.
        ([OLD_LEADER, SECOND, replace(THIRD, refused=True)], 3, None, InstanceChange(waits_for=(3,))),
        # A member that is down waits for nothing, and the leader is not restarted without somebody to take over.
        ([OLD_LEADER, OLD_SECOND, down(OLD_THIRD)], 3, None, InstanceChange(replace=frozenset({3}))),
        ([down(OLD_LEADER), OLD_SECOND, OLD_THIRD], 3, None, InstanceChange(waits_for=(1,))),
        ([down(OLD_LEADER), down(OLD_SECOND)], 2, None, InstanceChange(replace=frozenset({1, 2}))),
        ([OLD_LEADER, down(SECOND), down(THIRD)], 3, None, InstanceChange(waits_for=(2, 3))),
        # n -> 1: the first one leads before the others go, the highest number first.
        ([replace(LEADER, leads=False), SECOND, replace(THIRD, leads=True)], 1, None, InstanceChange(switch_to=1)),
        ([LEADER, SECOND, THIRD], 1, None, InstanceChange(remove=3)),
        ([LEADER, SECOND], 1, None, InstanceChange(remove=2)),
        (
            [replace(LEADER, leads=False, ready=False), replace(SECOND, leads=True)],
            1,
            None,
            InstanceChange(waits_for=(1,)),
        ),
        ([LEADER, down(SECOND), THIRD], 2, None, InstanceChange(waits_for=(2,))),
        ([LEADER, SECOND, down(THIRD)], 2, None, InstanceChange(remove=3)),
        # An admin's switchover: only to who is ready, and not during another change.
        ([LEADER, SECOND, THIRD], 3, 3, InstanceChange(switch_to=3)),
        ([LEADER, SECOND, THIRD], 3, ANY, InstanceChange(switch_to=2)),
        ([LEADER, SECOND, THIRD], 3, 1, NOTHING),
        ([LEADER, SECOND, down(THIRD)], 3, 3, NOTHING),
        ([LEADER, OLD_SECOND, THIRD], 3, 3, InstanceChange(replace=frozenset({2}))),
        ([LEADER], 1, ANY, NOTHING),
    ],
)
def test_one_member_changes_at_a_time_and_the_leader_last(
    members: list[Member], count: int, switch_to: int | None, expected: InstanceChange
) -> None:
    assert decide(members, count=count, switch_to=switch_to) == expected


@dataclass
class Instance:
    """One instance of the model: the version of its template, and whether its pod works."""

    version: int
    ready: bool = True


class Database(RuleBasedStateMachine):
    """A database whose pods die and come back while its spec changes; Patroni elects and switches."""

    @initialize()
    def begins(self) -> None:
        self.instances: dict[int, Instance] = {1: Instance(0)}
        self.lock: int | None = 1
        self.version, self.bad, self.count = 0, False, 1
        self.requested: int | None = None

    def observed(self) -> list[Member]:
        return [
            Member(
                number,
                leads=self.lock == number,
                ready=one.ready and (self.lock == number or self.leader() is not None),
                updated=one.version == self.version,
            )
            for number, one in sorted(self.instances.items())
        ]

    def leader(self) -> int | None:
        holder = self.instances.get(self.lock or 0)
        return self.lock if holder is not None and holder.ready else None

    def step(self) -> None:
        members = self.observed()
        made = decide(members, count=self.count)
        ready = {one.instance for one in members if one.ready}
        lost = made.replace & ready
        assert len(lost) <= 1, "never two because of one change"
        if lost:
            assert ready == {one.instance for one in members}, "all others are ready"
            assert lost != {self.lock} or len(members) == 1, "the leader hands over first"
        if made.remove is not None:
            assert made.remove > self.count
            assert made.remove != self.lock
            assert set(range(1, self.count + 1)) & self.instances.keys() <= ready
        for number in made.replace:
            self.instances[number] = Instance(self.version, ready=False)
        if made.remove is not None:
            del self.instances[made.remove]
        if made.switch_to is not None:
            self.requested = made.switch_to
        leader = self.leader()
        if leader is not None and self.instances[leader].version == self.version:
            for number in range(1, self.count + 1):
                self.instances.setdefault(number, Instance(self.version, ready=False))

    @rule()
    def operator_reconciles(self) -> None:
        self.step()

    @rule(number=st.integers(1, 5))
    def a_pod_dies(self, number: int) -> None:
        if number in self.instances:
            self.instances[number].ready = False

    def recover(self, number: int) -> None:
        one = self.instances.get(number)
        if one is not None and not (self.bad and one.version == self.version):
            one.ready = True

    @rule(number=st.integers(1, 5))
    def a_pod_comes_back(self, number: int) -> None:
        self.recover(number)

    @rule()
    def patroni_elects_or_switches(self) -> None:
        ready = [number for number, one in self.instances.items() if one.ready]
        if self.leader() is None and ready:
            self.lock = max(ready)
        elif self.leader() is not None and self.requested in ready:
            self.lock = self.requested
        self.requested = None

    @precondition(lambda self: not self.bad)
    @rule(bad=st.booleans())
    def the_template_changes(self, *, bad: bool) -> None:
        self.version, self.bad = self.version + 1, bad

    @rule()
    def the_template_is_corrected(self) -> None:
        self.version, self.bad = self.version + 1, False

    @rule(count=st.sampled_from([1, 2, 3, 5]))
    def the_count_changes(self, count: int) -> None:
        self.count = count

    @invariant()
    def a_bad_template_reaches_no_leader_that_serves(self) -> None:
        leader = self.leader() if hasattr(self, "instances") else None
        assert leader is None or not (self.bad and self.instances[leader].version == self.version)

    def teardown(self) -> None:
        """Without further faults everything becomes as the spec requires."""
        if not hasattr(self, "instances"):
            return
        if self.bad:
            self.the_template_is_corrected()
        for _ in range(60):
            for number in list(self.instances):
                self.recover(number)
            self.patroni_elects_or_switches()
            self.step()
        assert sorted(self.instances) == list(range(1, self.count + 1))
        assert {one.version for one in self.instances.values()} == {self.version}


TestDatabase = Database.TestCase
