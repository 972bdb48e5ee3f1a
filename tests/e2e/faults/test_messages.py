"""Messages that were never sent, or came too often."""

from __future__ import annotations

import signal
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta

from deployment import NewDeployment
from stack_process import PROJECT, WAIT_SECONDS, environment, until

from cloud_executor.composition import create_in_emulators
from cloud_executor.jobs.clients import UNPUBLISHED_AFTER
from cloud_executor.settings import Settings
from local_stack.dead_letters import DeadLetters

JOB = "0123456789abcdef0123456789abcdef01234567"

CREATE_AND_DIE = f"""
import os, signal
from cloud_executor.backends.google.pubsub import PubSubJobQueue
from cloud_executor.composition import open_executor
from cloud_executor.settings import Settings
PubSubJobQueue.publish = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
open_executor(Settings.from_env(os.environ)).create("{JOB}")
"""

DELIVERIES = 5
"""the fewest that Pub/Sub can be told"""


def test_a_job_whose_function_was_killed_before_the_publish_is_published_by_the_sweep(emulated: NewDeployment) -> None:
    deployment = emulated()
    with deployment.here() as here:
        deployment.create()
        killed = subprocess.run(
            [sys.executable, "-c", CREATE_AND_DIE], cwd=PROJECT, env=environment(**deployment.variables), timeout=60
        )
        assert killed.returncode == -signal.SIGKILL
        executor = here.executor
        assert executor.get(JOB).published_at is None
        assert executor.sweep().republished == 0, "the function might still be at it"
        later = replace(executor, clock=lambda: executor.clock() + UNPUBLISHED_AFTER + timedelta(seconds=1))
        assert later.sweep().republished == 1
        assert later.sweep().republished == 0
        with executor.queue.subscribe(executor.pools[0].name, 2) as subscription:
            delivery = subscription.next(WAIT_SECONDS)
            assert delivery is not None
            assert delivery.job_hash == JOB
            assert executor.claim(JOB, "worker").attempt == 1
            delivery.ack()
            assert subscription.next(1) is None


def test_a_job_that_is_given_back_is_delivered_though_its_message_was_acked_while_it_ran(deploy: NewDeployment) -> None:
    deployment = deploy()
    with deployment.here() as here:
        deployment.create()
        executor = here.executor
        executor.create(JOB)
        with executor.queue.subscribe(executor.pools[0].name, 1) as subscription:
            delivery = subscription.next(WAIT_SECONDS)
            assert delivery is not None
            attempt = executor.claim(JOB, "worker").attempt
            # So does whoever gets the message a second time.
            delivery.ack()
            executor.release(JOB, attempt)
            again = subscription.next(WAIT_SECONDS)
            assert again is not None
            assert again.job_hash == JOB
            again.ack()


def test_a_job_that_was_delivered_too_often_has_failed_and_says_so(emulated: NewDeployment) -> None:
    deployment = emulated()
    settings = Settings.from_env(deployment.variables)
    with deployment.here() as here:
        letters = DeadLetters(here.executor, create_in_emulators(settings, DELIVERIES))
        here.executor.create(JOB)
        letters.start()
        try:
            with here.executor.queue.subscribe(here.executor.pools[0].name, 1) as subscription:
                for _ in range(DELIVERIES):
                    assert not here.executor.get(JOB).finished
                    delivery = subscription.next(WAIT_SECONDS)
                    assert delivery is not None
                    delivery.nack()
                until(lambda: here.executor.get(JOB).finished)
                assert subscription.next(1) is None
        finally:
            letters.stop()
        job = here.executor.get(JOB)
    assert job.status == "FAILED_TO_EXECUTE"
    assert job.error == "The job was given to workers again and again, and none brought it to its end."
