// What the charts show, computed from jobs.
import { duration, kindOf, runSeconds, time } from "../core/format.js";

const HOUR = 3600;
const MOST_HOURS = 24 * 14;
/** The least time that the logarithmic scale shows, in seconds. */
const SHORTEST = 0.01;

export const OUTCOMES = [
    { kind: "canceled", title: "Canceled", variable: "--canceled" },
    { kind: "failed", title: "Failed", variable: "--failed" },
    { kind: "succeeded", title: "Succeeded", variable: "--succeeded" },
];

/** `data` for stacked bars: hours, and for each outcome the sum of itself and the outcomes after it; `parts`: its own. */
export function jobsPerHour(jobs) {
    const ends = jobs.map((job) => ({
        kind: kindOf(job.status),
        hour: Math.floor((time(job.finishTime) ?? Number.NaN) / 1000 / HOUR),
    }));
    const known = ends.filter(({ hour }) => !Number.isNaN(hour));
    const last = Math.max(Math.floor(Date.now() / 1000 / HOUR), ...known.map(({ hour }) => hour));
    const first = Math.max(last - MOST_HOURS, Math.min(last - 11, ...known.map(({ hour }) => hour)));
    const hours = Array.from({ length: last - first + 1 }, (_, index) => (first + index) * HOUR);
    const parts = OUTCOMES.map(() => hours.map(() => 0));
    for (const { kind, hour } of known) {
        const outcome = OUTCOMES.findIndex((found) => found.kind === kind);
        if (hour >= first && outcome !== -1) {
            parts[outcome][hour - first] += 1;
        }
    }
    const sums = parts.map((_, index) =>
        hours.map((__, at) => parts.slice(index).reduce((sum, part) => sum + part[at], 0) || null),
    );
    return { data: [hours, ...sums], parts };
}

/** Creation times, queue times, and run times of jobs, in seconds, oldest first. */
export function times(jobs) {
    const known = jobs
        .map((job) => ({
            created: time(job.createTime),
            queued: queueSeconds(job),
            run: job.durations?.run ?? runSeconds(job),
        }))
        .filter(({ created, queued, run }) => created !== null && (queued !== null || run !== null))
        .sort((one, other) => one.created - other.created);
    const shown = (seconds) => (seconds === null ? null : Math.max(seconds, SHORTEST));
    return [
        known.map(({ created }) => created / 1000),
        known.map(({ queued }) => shown(queued)),
        known.map(({ run }) => shown(run)),
    ];
}

function queueSeconds(job) {
    const [created, started] = [time(job.createTime), time(job.startTime)];
    return (
        job.durations?.queued ?? (created === null || started === null ? null : Math.max(0, (started - created) / 1000))
    );
}

/** A sentence with the medians. */
export function medianSeconds([, queued, run]) {
    const parts = [
        ["queue time", median(queued)],
        ["run time", median(run)],
    ].filter(([, value]) => value !== null);
    return parts.length === 0
        ? "."
        : `; ${parts.map(([name, value]) => `median ${name} ${duration(value)}`).join(", ")}.`;
}

function median(values) {
    const sorted = values.filter((value) => value !== null).sort((one, other) => one - other);
    return sorted.length === 0 ? null : sorted[Math.floor(sorted.length / 2)];
}
