"""The schemas of documents that several routes share."""

from __future__ import annotations

from cloud_executor.jobs.pools.waiting import WaitingReason
from cloud_executor.model.jobs.job import Status
from functions.openapi.parts import HASH, INTEGER, STRING, STRINGS, Part, documents, nullable, ref

TIME: Part = {**STRING, "description": "Time such as `2026-01-31T12:00:00.000Z`; external workers send any string."}
HASHES: Part = documents(STRING)

JOB_FIELDS: Part = {
    "type": "object",
    "description": "A job. Fields without a value are absent, apart from WebGME's own, which are `null`.",
    "properties": {
        "hash": {**STRING, "description": "The job's id."},
        "status": {
            **STRING,
            "description": "A status that is not listed counts as not finished.",
            "examples": [str(status) for status in Status],
        },
        "name": {**STRING, "description": "Name that the `create` gave the job."},
        "tags": {**STRINGS, "description": "Tags that the `create` gave the job."},
        "labels": {**STRINGS, "description": "Labels that a worker must have to take the job."},
        "userId": {**STRINGS, "description": '`["guest"]`'},
        "createTime": TIME,
        "startTime": nullable(TIME),
        "finishTime": nullable(TIME),
        "worker": {**nullable(STRING), "description": "Id of the worker that took the job."},
        "outputNumber": {**nullable(INTEGER), "description": "Number of the latest output segment."},
        "resultHashes": {
            "anyOf": [HASHES, {"type": "array", "maxItems": 0}],
            "description": "Artifact names and blob hashes; `[]` until there are results.",
        },
        "resultSuperSet": {**nullable(STRING), "description": "Artifact that an external worker reported."},
        "error": {**STRING, "description": "One sentence on why the job failed."},
        "waitingFor": {**STRINGS, "description": "The job's labels, if no worker pool has all of them."},
        "jobsAhead": {
            **INTEGER,
            "description": "Number of jobs that are likely to start before this one; 1000 means 1000 or more. Only in "
            "`info`, while the job waits for a worker pool.",
        },
        "waitingReason": {
            **STRING,
            "description": "Why no job of the worker pool can start: `machine starting`, or `no worker`. Only in "
            "`info`, while the pool has no worker.",
            "examples": [str(reason) for reason in WaitingReason],
        },
        "attempt": {**INTEGER, "description": "Number of times a worker has taken the job."},
        "exitCode": {**INTEGER, "description": "Exit code of the command."},
        "durations": {
            "type": "object",
            "description": "Duration of each part of the last attempt, in seconds.",
            "properties": {name: {"type": "number"} for name in ("queued", "fetch", "run", "archive")},
        },
        "peakMemoryMiB": {**INTEGER, "description": "Peak memory of the command, in MiB."},
        "logs": {**HASHES, "description": "Blob hashes of the whole `stdout` and `stderr` of the last attempt."},
        "warnings": {**STRINGS, "description": "Sentences about results that may be missing."},
        "cancelRequested": {"type": "boolean", "description": "Whether the job is being canceled."},
    },
}

WEBGME_FIELDS = (
    *("hash", "resultHashes", "resultSuperSet", "userId", "status", "createTime", "startTime", "finishTime"),
    *("worker", "labels", "outputNumber"),
)
"""Fields that every whole document of a job has."""

SCHEMAS: Part = {
    "JobFields": JOB_FIELDS,
    "Job": {"allOf": [ref("JobFields"), {"required": list(WEBGME_FIELDS)}]},
    "Segment": {
        "type": "object",
        "description": "A part of a job's standard output.",
        "required": ["hash", "outputNumber", "output", "_id"],
        "properties": {"hash": STRING, "outputNumber": INTEGER, "output": STRING, "_id": STRING},
    },
    "Worker": {
        "type": "object",
        "required": ["clientId", "lastSeen", "labels", "userId", "jobs"],
        "properties": {
            "clientId": STRING,
            "lastSeen": {"type": "number", "description": "Seconds since 1970."},
            "labels": STRINGS,
            "userId": STRINGS,
            "jobs": {"type": "array", "items": ref("Job")},
            "pool": {**STRING, "description": "Worker pool, of our own workers."},
            "slots": {**INTEGER, "description": "Jobs that the worker runs at once, of our own workers."},
        },
    },
    "PoolStats": {
        "type": "object",
        "required": ["waiting", "running", "slots", "workers", "oldestWaitingSeconds"],
        "properties": {
            "waiting": {**INTEGER, "description": "Number of jobs that wait for the pool."},
            "running": {**INTEGER, "description": "Number of jobs that run in the pool."},
            "slots": {**INTEGER, "description": "Number of jobs that the pool's workers can run at once."},
            "workers": {**INTEGER, "description": "Number of workers."},
            "oldestWaitingSeconds": {
                **nullable({"type": "number"}),
                "description": "Age of the oldest job that waits, in seconds.",
            },
        },
    },
    "Stats": {
        "type": "object",
        "required": ["jobs", "pools", "bytesStored", "bytesStoredAt"],
        "properties": {
            "jobs": {**documents(INTEGER), "description": "Number of jobs by status."},
            "pools": {**documents(ref("PoolStats")), "description": "The load of each worker pool, by name."},
            "bytesStored": {
                **nullable(INTEGER),
                "description": "Size of all blobs when they were last measured, in bytes; `null` until then.",
            },
            "bytesStoredAt": {**nullable(TIME), "description": "Time of the measurement."},
        },
    },
    "BlobMetadata": {
        "type": "object",
        "description": "Metadata of a blob.",
        "properties": {
            "name": STRING,
            "size": {"type": "number", "description": "Size in bytes."},
            "mime": STRING,
            "isPublic": {"type": "boolean"},
            "tags": STRINGS,
            "content": {
                "anyOf": [HASH, documents(ref("Entry"))],
                "description": "The SHA-1 of the bytes, the hash of another blob, or the files of an artifact by path.",
            },
            "contentType": {
                **STRING,
                "description": "`object` (bytes), `softLink` (a blob), or `complex` (an artifact).",
                "examples": ["object", "softLink", "complex"],
            },
            "lastModified": {**STRING, "description": "Only in responses."},
        },
    },
    "Entry": {
        "type": "object",
        "description": "A file of an artifact.",
        "required": ["content", "contentType"],
        "properties": {"content": HASH, "contentType": {"enum": ["object", "softLink"]}},
    },
}
