"""Messages that were never sent, or were delivered too often."""

from __future__ import annotations

import signal
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta

from deployment import NewDeployment
from stack_process import PROJECT, WAIT_SECONDS, environment, until

from cloud_executor.composition import create_in_emulators
from cloud_executor.jobs.sweep import UNPUBLISHED_AFTER
from cloud_executor.settings import Settings
from local_stack.dead_letters import DeadLetterReader

JOB = "0123456789abcdef0123456789abcdef01234567"

CREATE_AND_DIE = f"""
import os, signal
from cloud_executor.backends.google.pubsub import PubSubJobQueue
from cloud_executor.composition import open_jobs
from cloud_executor.settings import Settings
PubSubJobQueue.publish = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
open_jobs(Settings.from_env(os.environ)).clients.create("{JOB}")
"""

DELIVERIES = 5
"""Smallest delivery limit that Pub/Sub accepts."""


def test_a_job_whose_function_was_killed_before_the_publish_is_published_by_the_sweep(emulated: NewDeployment) -> None:
    deployment = emulated()
    with deployment.here() as here:
        deployment.create()
        killed = subprocess.run(
            [sys.executable, "-c", CREATE_AND_DIE], cwd=PROJECT, env=environment(**deployment.variables), timeout=60
        )
        assert killed.returncode == -signal.SIGKILL
        jobs = here.jobs
        assert jobs.clients.get(JOB).published_at is None
        assert jobs.sweep.run().republished == 0, "the function might still be publishing"
        later = replace(jobs, clock=lambda: jobs.clock() + UNPUBLISHED_AFTER + timedelta(seconds=1))
        assert later.sweep.run().republished == 1
        assert later.sweep.run().republished == 0
        with jobs.queue.subscribe(jobs.pools[0].name, 2) as subscription:
            delivery = subscription.next(WAIT_SECONDS)
            assert delivery is not None
            assert delivery.job_hash == JOB
            assert jobs.attempts.claim(JOB, "worker").attempt == 1
            delivery.ack()
            assert subscription.next(1) is None


def test_a_released_job_is_delivered_again_although_its_message_was_acked_while_it_ran(deploy: NewDeployment) -> None:
    deployment = deploy()
    with deployment.here() as here:
        deployment.create()
        jobs = here.jobs
        jobs.clients.create(JOB)
        with jobs.queue.subscribe(jobs.pools[0].name, 1) as subscription:
            delivery = subscription.next(WAIT_SECONDS)
            assert delivery is not None
            attempt = jobs.attempts.claim(JOB, "worker").attempt
            # A worker that receives a duplicate of the message also acks it.
            delivery.ack()
            jobs.attempts.release(JOB, attempt)
            again = subscription.next(WAIT_SECONDS)
            assert again is not None
            assert again.job_hash == JOB
            again.ack()


def test_a_job_that_was_delivered_too_often_is_published_again(emulated: NewDeployment) -> None:
    deployment = emulated()
    settings = Settings.from_env(deployment.variables)
    with deployment.here() as here:
        letters = DeadLetterReader(here.jobs.dead_letters, create_in_emulators(settings, DELIVERIES))
        here.jobs.clients.create(JOB)
        letters.start()
        try:
            with here.jobs.queue.subscribe(here.jobs.pools[0].name, 1) as subscription:
                for _ in range(DELIVERIES):
                    delivery = subscription.next(WAIT_SECONDS)
                    assert delivery is not None
                    delivery.nack()
                until(lambda: here.jobs.clients.get(JOB).dead_letters)
                later = replace(here.jobs, clock=lambda: here.jobs.clock() + UNPUBLISHED_AFTER)
                assert later.sweep.run().republished == 1
                again = subscription.next(WAIT_SECONDS)
                assert again is not None
                assert here.jobs.attempts.claim(again.job_hash, "worker").attempt == 1
                again.ack()
        finally:
            letters.stop()
