"""Any sequence of actions leaves a job consistent."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from job_steps import KEEP, LEASE, NOON, RETRIES, SECRET, Step, finished, new_job, updated
from msgspec.structs import replace

from cloud_executor.errors import Forbidden
from cloud_executor.model.jobs import transitions
from cloud_executor.model.jobs.job import FINISHED, Job, NotClaimable, OutputRemains, StaleAttempt, Status


class AnyHistory(RuleBasedStateMachine):
    """Actions of clients, workers, and the sweep, in any order and with stale knowledge."""

    @initialize()
    def create_first_job(self) -> None:
        self.now = NOON
        self.secret = SECRET
        self.job = new_job()
        self.attempts: list[int] = []
        self.outcome: Job | None = None

    def apply(self, step: Step) -> bool:
        try:
            changed = step(self.job)
        except (NotClaimable, StaleAttempt, OutputRemains, Forbidden):
            return False
        self.job = changed or self.job
        return True

    @rule(seconds=st.integers(0, 40))
    def pass_time(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)

    @rule(lease=st.sampled_from([LEASE, None]))
    def claim(self, lease: timedelta | None) -> None:
        if self.apply(lambda job: transitions.claim(job, "w", self.now, lease)):
            assert self.job.attempt not in self.attempts
            self.attempts.append(self.job.attempt)

    @precondition(lambda self: self.attempts)
    @rule(data=st.data(), status=st.sampled_from(sorted(FINISHED)))
    def finish_an_attempt(self, data: st.DataObject, status: Status) -> None:
        attempt = data.draw(st.sampled_from(self.attempts))
        owned = self.job.status == Status.RUNNING and self.job.attempt == attempt
        assert self.apply(lambda job: finished(job, status, attempt)) == owned

    @precondition(lambda self: self.attempts)
    @rule(data=st.data(), step=st.sampled_from(["renew", "release", "start", "hand over", "abandon"]))
    def continue_an_attempt(self, data: st.DataObject, step: str) -> None:
        attempt = data.draw(st.sampled_from(self.attempts))
        steps: dict[str, Step] = {
            "renew": lambda job: transitions.renew(job, attempt, self.now, LEASE),
            "release": lambda job: transitions.release(job, attempt, self.now),
            "start": lambda job: transitions.start(job, attempt, self.now, RETRIES),
            "hand over": lambda job: transitions.hand_over(job, attempt, next(iter(job.later_pools), None), self.now),
            "abandon": lambda job: transitions.abandon(job, attempt, self.now, RETRIES, "The storage is unavailable."),
        }
        self.apply(steps[step])

    @rule(
        status=st.sampled_from([None, "CREATED", "RUNNING", "SUCCESS", "CANCELED"]),
        worker=st.sampled_from([None, "w", "v"]),
    )
    def report_from_an_external_worker(self, status: str | None, worker: str | None) -> None:
        if status == "RUNNING" and self.job.status == "CREATED":
            worker = worker or "w"
        self.apply(lambda job: updated(job, status=status, worker=worker))

    @rule(secret=st.sampled_from([SECRET, "second secret", "wrong"]))
    def cancel(self, secret: str) -> None:
        assert self.apply(lambda job: transitions.cancel(job, secret, self.now)) == (secret == self.job.secret)

    @rule(number=st.integers(0, 3))
    def receive_output(self, number: int) -> None:
        self.apply(lambda job: transitions.receive_output(job, number, None, self.now, KEEP))

    @rule()
    def sweep(self) -> None:
        leased = self.job.lease_expires
        if self.job.status == Status.RUNNING and leased is not None and leased <= self.now:
            self.apply(lambda job: transitions.lose(job, self.now, RETRIES))
        self.apply(lambda job: transitions.expire_output(job, self.now))
        self.apply(lambda job: transitions.record_publish(job, self.now))

    @rule()
    def receive_a_dead_letter(self) -> None:
        self.apply(lambda job: transitions.give_up(job, self.now))

    @rule()
    def create_again(self) -> None:
        canceled = self.job.status == Status.CANCELED and self.job.output_number is None
        before = self.job
        self.apply(
            lambda job: transitions.create(
                job, "j", user_id="guest", labels=(), pools=(), secret="second secret", now=self.now
            )
        )
        assert (self.job is not before) == canceled
        if canceled:
            self.outcome = None

    @invariant()
    def outcome_is_final(self) -> None:
        if self.outcome is not None:
            output = {"output_number": self.job.output_number, "output_expires": self.job.output_expires}
            assert self.job == replace(self.outcome, **output)
        elif self.job.finished:
            self.outcome = self.job

    @invariant()
    def job_is_consistent(self) -> None:
        if self.job.finished:
            assert self.job.lease_expires is None
            assert not self.job.cancel_requested
        if self.job.status == Status.CREATED:
            assert self.job.lease_expires is None
        assert self.job.lost_attempts <= RETRIES
        assert len(set(self.attempts)) == len(self.attempts)


AnyHistory.TestCase.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
TestAnyHistory = AnyHistory.TestCase
