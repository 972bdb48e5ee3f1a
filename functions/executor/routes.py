"""The executor API: maps paths below `/rest/executor` to the use cases of jobs (docs/protocol.md: Jobs)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import unquote

import msgspec
from flask import Request, Response

from cloud_executor.access.quotas import Quotas
from cloud_executor.errors import Forbidden, LimitReached, UnsupportedMediaType
from cloud_executor.jobs.clients import JobClients
from cloud_executor.jobs.external_workers import ExternalWorkers
from cloud_executor.jobs.pools.waiting import WaitingLine
from cloud_executor.jobs.stats import JobStats
from cloud_executor.jobs.waits import Waits
from cloud_executor.json_logging import logged_with
from cloud_executor.model.access.caller import Caller
from cloud_executor.model.access.owner import GUEST, id_in, key_of, owner_in
from cloud_executor.model.jobs.job import Job, OutputSegment
from cloud_executor.model.jobs.pool import WorkerPool
from cloud_executor.model.jobs.worker import WorkerRecord
from functions.access.access import Access, Area
from functions.access.audit import audit
from functions.executor import fields as executor_fields
from functions.executor.job_list import JobListQuery
from functions.executor.permissions import listed_owner, needed_role, owner_of
from functions.transport import responses
from functions.transport.errors import error_response
from functions.transport.request_body import MAX_DOCUMENT_BYTES, is_untyped_object, json_fields
from functions.transport.request_trace import trace_of
from functions.transport.route_list import no_such_route
from functions.transport.target import Target, decoded

_UNTYPED = "is a JSON object without its type; send it with the header Content-Type: application/json."
_EXPECTED_BODY = 'send {"secret": …}, from the response to create, with the header Content-Type: application/json.'

_MEDIA_TYPE = ("X-WebGME-Media-Type", "webgme.v1")

_COLLECTIONS = frozenset({"stats", "worker"})
"""Names below `/rest/executor` that are not those of jobs."""


@dataclass(frozen=True, slots=True)
class ExecutorRoutes:
    """Handles requests to the executor API."""

    clients: JobClients
    external_workers: ExternalWorkers
    access: Access
    shown_pools: Sequence[WorkerPool]
    """Pools that the list of workers shows even while they have no workers."""
    waits: Waits
    stats: JobStats
    quotas: Quotas
    waiting_line: WaitingLine

    def respond(self, request: Request, target: Target) -> Response | None:
        """None if the path is not below `/rest/executor`. Errors become responses here and get the same header."""
        rest = target.below("rest", "executor")
        if rest is None:
            return None
        try:
            caller = self.access.admit(request.environ, Area.JOBS, needed_role(request.method, rest))
            response = self._route(request, target, rest, caller)
        except Exception as error:  # the edge of the service: error_response logs internal errors
            with logged_with(job_hash=_job_hash(rest)):
                response = error_response(error)
        response.headers.set(*_MEDIA_TYPE)
        return response

    def _route(self, request: Request, target: Target, rest: tuple[str, ...], caller: Caller) -> Response:
        match request.method, rest:
            case "GET" | "HEAD", ("info", job_hash):
                return self._info(_key(caller, target, job_hash), target.query)
            case "GET" | "HEAD", ():
                return self._list(target, listed_owner(caller, target.query))
            case "POST", ("create", job_hash):
                if is_untyped_object(request):
                    raise UnsupportedMediaType(f"The body {_UNTYPED}")
                job_id = executor_fields.job_id(decoded(job_hash))
                return self._create(caller, job_id, json_fields(request), trace_of(request.environ), target.query)
            case "POST", ("update", job_hash):
                change = executor_fields.job_update(json_fields(request))
                owner = owner_of(caller, target.query)
                self.external_workers.update(decoded(job_hash), change, owner)
                subject = {"job_hash": decoded(job_hash), "status": change.status, "worker_id": change.worker}
                audit(caller, "update", owner=owner, **subject)
                return responses.text("OK")
            case "POST", ("cancel", job_hash):
                return self._cancel(caller, _key(caller, target, job_hash), request)
            case "DELETE", (job_hash,) if job_hash not in _COLLECTIONS:
                return self._delete(caller, _key(caller, target, job_hash))
            case "GET" | "HEAD", ("output", job_hash):
                return self._output(_key(caller, target, job_hash), target.query)
            case "POST", ("output", job_hash):
                fields = json_fields(request, MAX_DOCUMENT_BYTES)
                segment = executor_fields.output_segment(decoded(job_hash), fields)
                owner = owner_of(caller, target.query)
                self.external_workers.put_output(segment, executor_fields.claim_token(fields), owner)
                return responses.text("OK")
            case "GET" | "HEAD", ("stats",):
                return responses.response(msgspec.json.encode(self.stats.current()), responses.EXECUTOR_JSON)
            case "GET" | "HEAD", ("worker",):
                return self._workers(listed_owner(caller, target.query))
            case "POST", ("worker",):
                return self._check_in(caller, json_fields(request), owner_of(caller, target.query))
        raise no_such_route(request.environ, target)

    def _info(self, job_hash: str, query: Mapping[str, str]) -> Response:
        seconds = executor_fields.wait_seconds(query.get("wait"))
        if seconds is None:
            return _json(self._with_waiting(self.clients.get(job_hash)))
        known_status, known_number = query.get("status"), executor_fields.known_output_number(query)

        def is_news(first: Job, job: Job) -> bool:
            status = known_status or first.status
            number = known_number[0] if known_number else first.output_number
            return job.finished or (job.status, job.output_number) != (status, number)

        job, waits = self.waits.until(self.clients.store, job_hash, seconds, is_news)
        return _json(self._with_waiting(job), [_granted(seconds if waits else 0)])

    def _with_waiting(self, job: Job) -> dict[str, object]:
        """The document of a job, with what it waits for."""
        return job.document() | self.waiting_line.facts(job)

    def _create(
        self, caller: Caller, job_hash: str, fields: Mapping[str, object], trace: str | None, query: Mapping[str, str]
    ) -> Response:
        rerun = executor_fields.switch("rerun", query.get("rerun"))
        owner = owner_of(caller, query)
        try:
            self.quotas.check_create(owner, self.clients.store)
        except LimitReached:
            # A repeated request for a job that exists creates nothing.
            if rerun or not self.clients.exists(key_of(owner, job_hash)):
                raise
        job, created = self.clients.create(
            job_hash,
            executor_fields.labels(fields),
            owner,
            trace=trace,
            rerun=rerun,
            name=executor_fields.name(fields),
            tags=executor_fields.tags(fields),
        )
        if created:
            audit(caller, "create", owner=owner, job_hash=job_hash)
        return _json({**job.document(), "secret": job.secret} if created else job.document())

    def _cancel(self, caller: Caller, job_hash: str, request: Request) -> Response:
        secret = json_fields(request).get("secret")
        try:
            if caller.user == GUEST:
                self.clients.cancel(job_hash, secret)
            else:
                self.clients.force_cancel(job_hash)  # the caller owns the job, or is an administrator
        except Forbidden as error:
            if secret is not None:
                raise
            reason = f"the body {_UNTYPED}" if is_untyped_object(request) else _EXPECTED_BODY
            raise Forbidden(f"The job's secret is missing: {reason}") from error
        audit(caller, "cancel", owner=owner_in(job_hash), job_hash=id_in(job_hash))
        return responses.text("OK")

    def _delete(self, caller: Caller, job_hash: str) -> Response:
        self.access.check_deletion()
        self.clients.delete(job_hash)
        audit(caller, "delete_job", owner=owner_in(job_hash), job_hash=id_in(job_hash))
        return responses.text("OK")

    def _list(self, target: Target, owner: str | None) -> Response:
        query = JobListQuery.of(target.parameters()) if target.query else None
        if query is None:
            jobs = self.clients.jobs(target.query.get("status") or None, owner)
            members = (_member(job, owner, job.document()) for job in jobs)
            return responses.json_stream(b"{", members, b"}", responses.EXECUTOR_JSON)
        wanted = msgspec.structs.replace(query.wanted, user_id=owner)
        page = self.clients.page(wanted, newest_first=query.newest_first, after=query.after, limit=query.limit)
        links = [] if page.next is None else [("Link", query.next_page(page.next))]
        members = (_member(job, owner, query.selected(job.document())) for job in page.jobs)
        return responses.json_stream(b"{", members, b"}", responses.EXECUTOR_JSON, links)

    def _output(self, job_hash: str, query: Mapping[str, str]) -> Response:
        start, end = executor_fields.bound(query.get("start")), executor_fields.bound(query.get("end"))
        seconds = executor_fields.wait_seconds(query.get("wait"))
        headers = []
        if seconds is not None:

            def has_output(_: Job, job: Job) -> bool:
                number = job.output_number
                return job.finished or (number is not None and (start is None or number >= start))

            _, waits = self.waits.until(self.clients.store, job_hash, seconds, has_output)
            headers.append(_granted(seconds if waits else 0))
        segments = self.clients.output(job_hash, start, end)
        return responses.json_stream(b"[", map(_segment, segments), b"]", responses.EXECUTOR_JSON, headers)

    def _workers(self, owner: str | None) -> Response:
        entries = {f"pool:{pool.name}": self._pool_entry(pool) for pool in self.shown_pools}
        for worker, jobs in self.clients.workers(owner):
            entry = _worker(worker, jobs)
            # Our own workers serve all users.
            listed = owner if worker.pool is None else GUEST
            entries[_name_in_list(str(entry["clientId"]), worker.user_id, listed)] = entry
        return _json(entries)

    def _pool_entry(self, pool: WorkerPool) -> dict[str, object]:
        """A pool in the form of a worker: DeepForge starts jobs only if one is listed, and a pool may have none."""
        labels = tuple(sorted(pool.labels | self.clients.label_jobs().keys()))
        now = self.clients.clock()
        return _worker(WorkerRecord(f"pool:{pool.name}", now, labels, pool=pool.name, slots=pool.slots), ())

    def _check_in(self, caller: Caller, fields: Mapping[str, object], owner: str) -> Response:
        worker = executor_fields.check_in(fields)
        orders = self.external_workers.check_in(worker, owner)
        for job_hash in orders.jobs_to_start:
            audit(caller, "claim", owner=owner, job_hash=job_hash, worker_id=worker.client_id)
        document: dict[str, object] = {
            "jobsToStart": orders.jobs_to_start,
            "refreshPeriod": self.external_workers.options.refresh_period // timedelta(milliseconds=1),
            "labelJobs": self.clients.label_jobs(),
            "jobsToCancel": orders.jobs_to_cancel,
        }
        if orders.tokens:
            document["tokens"] = orders.tokens
        return _json(document)


def _key(caller: Caller, target: Target, job_id: str) -> str:
    """The key of a job that the path names. Raises Forbidden, Invalid, BadAddress."""
    return key_of(owner_of(caller, target.query), decoded(job_id))


def _job_hash(rest: tuple[str, ...]) -> str | None:
    """The hash of the job that the path names."""
    return unquote(rest[1]) if len(rest) == 2 else None


def _worker(worker: WorkerRecord, jobs: Sequence[Job]) -> dict[str, object]:
    entry: dict[str, object] = {
        "clientId": id_in(worker.client_id),
        "lastSeen": worker.last_seen.timestamp(),
        "labels": worker.labels,
        "userId": [worker.user_id],
        "jobs": [job.document() for job in jobs],
    }
    if worker.pool is not None:
        entry["pool"] = worker.pool
    if worker.slots is not None:
        entry["slots"] = worker.slots
    return entry


def _json(document: Mapping[str, object], headers: Sequence[responses.Header] = ()) -> Response:
    return responses.response(msgspec.json.encode(document), responses.EXECUTOR_JSON, headers=headers)


def _granted(seconds: float) -> responses.Header:
    """Tells a client that the server waits, so that the client need not pause between requests."""
    return "X-Executor-Wait", f"{seconds:g}"


def _member(job: Job, owner: str | None, document: Mapping[str, object]) -> bytes:
    name = _name_in_list(job.id, job.user_id, owner)
    return msgspec.json.encode(name) + b":" + msgspec.json.encode(document)


def _name_in_list(given_id: str, user_id: str, owner: str | None) -> str:
    """The name of a member of a list of this owner's; None: of all users, who can give the same ids."""
    return given_id if owner is not None else f"{user_id}/{given_id}"


def _segment(segment: OutputSegment) -> bytes:
    document = {
        "hash": id_in(segment.job_hash),
        "outputNumber": segment.number,
        "output": segment.output,
        "_id": f"{id_in(segment.job_hash)}+{segment.number}",
    }
    return json.dumps(document).encode()  # in ASCII, because the output may contain lone surrogates
