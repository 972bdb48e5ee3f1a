"""The routes of the executor API."""

from __future__ import annotations

from cloud_executor.model.jobs.job import DOCUMENT_FIELDS
from functions.executor.fields import (
    LONGEST_WAIT_SECONDS,
    MAX_ARTIFACT_NAME,
    MAX_ARTIFACTS,
    MAX_LABELS,
    MAX_RUNNING_JOBS,
    MAX_STRING,
)
from functions.executor.job_list import LARGEST_PAGE
from functions.openapi.parts import (
    INTEGER,
    STRING,
    STRINGS,
    Part,
    documents,
    json_content,
    operation,
    query,
    ref,
    response,
    text_content,
)

_ID = "5ef48ed91d8ef4d2b1c8a5a4a3d3b1b6e2f8a0c1"
_SECRET = "0e6b9e2c-6d8f-4b53-9f5b-9b1a0c3d2e1f"  # noqa: S105 - an example
_JOB = {
    "hash": _ID,
    "resultHashes": [],
    "resultSuperSet": None,
    "userId": ["guest"],
    "status": "RUNNING",
    "createTime": "2026-01-31T12:00:00.000Z",
    "startTime": "2026-01-31T12:00:01.000Z",
    "finishTime": None,
    "worker": "worker-1",
    "labels": [],
    "outputNumber": 3,
    "name": "sweep 1",
    "tags": ["sweep"],
    "attempt": 1,
}
_SHORT: Part = {"type": "string", "maxLength": MAX_STRING}
_SHORTS: Part = {"type": "array", "items": _SHORT, "maxItems": MAX_LABELS}
_OK = {200: response("Done.", text_content("OK"))}
_WAITED = {"X-Executor-Wait": "Seconds that the request could wait; `0`: the server does not wait, so pause."}
_WAIT = query(
    "wait",
    "Time to wait for news, in seconds.",
    {"type": "number", "minimum": 0, "maximum": LONGEST_WAIT_SECONDS},
    LONGEST_WAIT_SECONDS,
)
_LIST_PARAMETERS = [
    query("limit", "Maximum number of jobs; asks for a page.", {**INTEGER, "minimum": 1, "maximum": LARGEST_PAGE}, 50),
    query("status", "Status of the jobs; can be repeated.", STRINGS, ["SUCCESS", "FAILED_TO_EXECUTE"]),
    query("label", "A label that the jobs require."),
    query("tag", "A tag of the jobs."),
    query("name", "Beginning of the jobs' name."),
    query("worker", "Id of the jobs' worker."),
    query("created_after", "Earliest creation time.", {"type": "string", "format": "date-time"}),
    query("created_before", "Time before which the jobs were created.", {"type": "string", "format": "date-time"}),
    query("order", "Oldest or newest first.", {"enum": ["oldest", "newest"], "default": "oldest"}),
    {
        **query(
            "fields",
            "Fields of the documents; the default is all.",
            {"type": "array", "items": {"enum": list(DOCUMENT_FIELDS)}},
            ["status", "name"],
        ),
        "explode": False,
    },
    query("after", "Token of the next page, from the header Link."),
    query("user", "Owner of the jobs, for administrators; `*` for all.", STRING, "ada"),
]
_WAIT_DESCRIPTION = "With `wait`, see docs/api.md: Waiting."

EXECUTOR_OPERATIONS: dict[str, Part] = {
    "POST /rest/executor/create/<id>": operation(
        "createJob",
        "Create a job, unless it exists.",
        {
            200: response(
                "The job, with its `secret` if this request created it.",
                json_content(
                    {"allOf": [ref("Job"), {"properties": {"secret": STRING}}]},
                    {**_JOB, "status": "CREATED", "startTime": None, "worker": None, "secret": _SECRET},
                ),
            )
        },
        errors=(409, 413, 415, 507),
        parameters=[query("rerun", "Whether to run a finished job again.", {"enum": ["true", "false"]}, "true")],
        body=json_content(
            {"type": "object", "properties": {"labels": _SHORTS, "name": _SHORT, "tags": _SHORTS}},
            {"labels": [], "name": "sweep 1", "tags": ["sweep"]},
        ),
    ),
    "GET /rest/executor/info/<id>": operation(
        "getJob",
        "Get a job.",
        {200: response("The job.", json_content(ref("Job"), _JOB), _WAITED)},
        errors=(404,),
        parameters=[
            _WAIT,
            query("status", "Status that the client knows.", STRING, "RUNNING"),
            query("outputNumber", "Output number that the client knows, or `null`.", {"type": "string"}, "3"),
        ],
        description=_WAIT_DESCRIPTION,
    ),
    "GET /rest/executor": operation(
        "listJobs",
        "List jobs.",
        {
            200: response(
                "The jobs by id, in order.",
                json_content(documents(ref("JobFields")), {_ID: _JOB}),
                {"Link": 'Address of the next page, with `rel="next"`.'},
            )
        },
        parameters=_LIST_PARAMETERS,
        description="Without `limit`, the list is complete, and only `status` counts. See docs/api.md: Lists.",
    ),
    "POST /rest/executor/cancel/<id>": operation(
        "cancelJob",
        "Cancel a job.",
        _OK,
        errors=(404, 413, 507),
        body=json_content({"type": "object", "properties": {"secret": STRING}}, {"secret": _SECRET}),
    ),
    "DELETE /rest/executor/<id>": operation(
        "deleteJob",
        "Delete a finished job and its output.",
        _OK,
        errors=(404, 409),
        description="403 unless the operator allows it. The job's files and results stay: see docs/operations.md: "
        "Deleting old data.",
    ),
    "GET /rest/executor/output/<id>": operation(
        "getOutput",
        "Get segments of a job's output.",
        {
            200: response(
                "The segments, in order.",
                json_content(
                    {"type": "array", "items": ref("Segment")},
                    [{"hash": _ID, "outputNumber": 3, "output": "step 3\n", "_id": f"{_ID}+3"}],
                ),
                _WAITED,
            )
        },
        errors=(404,),
        parameters=[
            query("start", "Number of the first segment.", INTEGER, 3),
            query("end", "Number after the last segment.", INTEGER),
            _WAIT,
        ],
        description=_WAIT_DESCRIPTION,
    ),
    "POST /rest/executor/output/<id>": operation(
        "putOutput",
        "Store a segment of a job's output, for external workers.",
        _OK,
        errors=(404, 413, 507),
        body=json_content(
            {
                "type": "object",
                "required": ["outputNumber", "output"],
                "properties": {"outputNumber": INTEGER, "output": STRING},
            },
            {"outputNumber": 3, "output": "step 3\n"},
        ),
    ),
    "POST /rest/executor/update/<id>": operation(
        "updateJob",
        "Report on a job, for external workers.",
        _OK,
        errors=(404, 413, 507),
        body=json_content(
            {
                "type": "object",
                "properties": {
                    **dict.fromkeys(("status", "resultSuperSet", "startTime", "finishTime", "worker"), _SHORT),
                    "resultHashes": {
                        **documents({**STRING, "maxLength": MAX_ARTIFACT_NAME}),
                        "maxProperties": MAX_ARTIFACTS,
                    },
                    "labels": _SHORTS,
                    "outputNumber": INTEGER,
                },
            },
            {"status": "RUNNING", "worker": "worker-1"},
        ),
    ),
    "GET /rest/executor/stats": operation(
        "getStats",
        "Get the number of jobs by status, and the load of each worker pool.",
        {
            200: response(
                "The numbers.",
                json_content(
                    ref("Stats"),
                    {
                        "jobs": {"RUNNING": 3, "CREATED": 2},
                        "pools": {
                            "default": {
                                "waiting": 2,
                                "running": 3,
                                "slots": 4,
                                "workers": 1,
                                "oldestWaitingSeconds": 12.5,
                            }
                        },
                        "bytesStored": 1_500_000_000,
                        "bytesStoredAt": "2026-01-31T12:00:00Z",
                    },
                ),
            )
        },
    ),
    "GET /rest/executor/worker": operation(
        "listWorkers",
        "List workers and their jobs.",
        {200: response("The workers, by client id.", json_content(documents(ref("Worker"))))},
    ),
    "POST /rest/executor/worker": operation(
        "checkIn",
        "Request work, for external workers.",
        {
            200: response(
                "What the worker has to do.",
                json_content(
                    {
                        "type": "object",
                        "required": ["jobsToStart", "jobsToCancel", "refreshPeriod", "labelJobs"],
                        "properties": {
                            "jobsToStart": STRINGS,
                            "jobsToCancel": STRINGS,
                            "refreshPeriod": {**INTEGER, "description": "Time until the next request, in ms."},
                            "labelJobs": documents(STRING),
                        },
                    }
                ),
            )
        },
        errors=(413, 507),
        body=json_content(
            {
                "type": "object",
                "required": ["clientId"],
                "properties": {
                    "clientId": {**_SHORT, "minLength": 1},
                    "availableProcesses": {"type": "number"},
                    "labels": _SHORTS,
                    "runningJobs": {"type": "array", "items": STRING, "maxItems": MAX_RUNNING_JOBS},
                },
            },
            {"clientId": "worker-1", "availableProcesses": 1, "labels": [], "runningJobs": []},
        ),
    ),
}
