// One job: what went wrong first, then the log, the results, and everything else.
import { jobPath, send } from "../core/api.js";
import { html, useEffect, useRef, useState } from "../core/dom.js";
import { duration, isFinished, localTime, runSeconds, shortId } from "../core/format.js";
import { growingDelay, usePolling } from "../core/polling.js";
import { Ago, Chips, Connection, CopyButton, Problem, Status, useClock } from "../core/ui.js";
import { Artifacts } from "./artifacts.js";
import { JobButtons } from "./buttons.js";
import { Commands } from "./commands.js";
import { Config } from "./config.js";
import { Failure } from "./failure.js";
import { JobLog } from "./log.js";
import { Timeline } from "./timeline.js";

const WAIT_SECONDS = 25;
const WAITING_SECONDS = 10;
const FINISHED_DELAY_MS = 30_000;
const SHORTEST_DELAY_MS = 150;

export function JobPage({ id }) {
    const [job, setJob] = useState(null);
    const [refreshes, setRefreshes] = useState(0);
    const error = useJob(id, setJob, refreshes);
    useClock(job !== null && !isFinished(job) ? 1000 : 0);
    useEffect(() => {
        if (job?.name) {
            document.title = `${job.name} · Cloud Executor`;
        }
    }, [job?.name]);
    if (job === null) {
        return html`<h1>Job</h1>
            ${error ? html`<${Problem} error=${error} />` : html`<p class="loading" role="status">Loading …</p>`}`;
    }
    const refresh = () => setRefreshes(refreshes + 1);
    // A rerun is another attempt: its log starts from the beginning.
    const run = `${job.createTime}/${job.attempt ?? 0}/${isFinished(job)}`;
    return html`<div class="head">
            <h1><bdi>${job.name ?? `Job ${shortId(id)}`}</bdi></h1>
            <${Status} job=${job} />
            <${JobButtons} job=${job} onDone=${refresh} />
        </div>
        <p class="id muted"><bdi>${id}</bdi> <${CopyButton} text=${id} label="Copy id" /></p>
        <${Connection} error=${error} />
        <${Failure} key=${`failure ${run}`} job=${job} />
        ${
            job.waitingFor &&
            html`<p class="hint notice">
            No worker pool has ${job.waitingFor.length ? html`all of the labels <${Chips} values=${job.waitingFor} />` : "a place for this job"}:
            the job waits for an external worker.
        </p>`
        }
        ${waitingNote(job) && html`<p class="hint notice">${waitingNote(job)}</p>`}
        ${job.warnings?.map((warning) => html`<p class="hint notice" key=${warning}>${warning}</p>`)}
        <${Timeline} job=${job} />
        <${JobLog} key=${`log ${run}`} job=${job} />
        <${Artifacts} job=${job} />
        <${Details} job=${job} />
        <${Config} id=${id} />
        <${Commands} job=${job} />`;
}

const REASONS = {
    "machine starting": "Waiting: a machine is starting.",
    "no worker": "Waiting: no worker is running.",
};

/** What a waiting job waits for, as far as the server says; undefined if it does not. */
function waitingNote(job) {
    if (job.status !== "CREATED") {
        return undefined;
    }
    if (job.waitingReason) {
        return REASONS[job.waitingReason] ?? `Waiting: ${job.waitingReason}.`;
    }
    // The server counts up to 1000.
    const count = job.jobsAhead >= 1000 ? "1000+" : job.jobsAhead;
    return job.jobsAhead ? `Waiting: ${count} ${job.jobsAhead === 1 ? "job" : "jobs"} ahead.` : undefined;
}

/** Keep the job up to date: the server holds a request until the job changes, or answers at once if it does not wait. */
function useJob(id, setJob, refreshes) {
    const known = useRef(null);
    const nextDelay = useRef(growingDelay(1000, 10_000));
    return usePolling(
        async (signal) => {
            const before = known.current;
            const query = new URLSearchParams();
            if (before !== null && !isFinished(before)) {
                // The number of jobs ahead changes, which ends no wait.
                query.set("wait", waitingNote(before) ? WAITING_SECONDS : WAIT_SECONDS);
                query.set("status", before.status);
                if (before.outputNumber !== null && before.outputNumber !== undefined) {
                    query.set("outputNumber", before.outputNumber);
                }
            }
            const started = Date.now();
            const response = await send(`${jobPath("info", id)}${query.size > 0 ? `?${query}` : ""}`, { signal });
            const job = await response.json();
            const changed = JSON.stringify(job) !== JSON.stringify(before);
            if (changed && !signal.aborted) {
                known.current = job;
                setJob(job);
            }
            if (isFinished(job)) {
                return FINISHED_DELAY_MS; // somebody may run it again
            }
            // A server with too many waiting requests answers at once; asking again at once would not help it.
            const waits =
                Number(response.headers.get("X-Executor-Wait")) > 0 && (changed || Date.now() > started + 1000);
            return before === null || waits ? SHORTEST_DELAY_MS : nextDelay.current(changed);
        },
        [id, refreshes],
    );
}

function Details({ job }) {
    const rows = {
        Created: job.createTime && html`${localTime(job.createTime)} (<${Ago} at=${job.createTime} />)`,
        Started: job.startTime && localTime(job.startTime),
        Finished: job.finishTime && localTime(job.finishTime),
        "Run time": duration(runSeconds(job)),
        Status: html`<code>${job.status}</code>`,
        "Exit code": job.exitCode,
        "Peak memory": job.peakMemoryMiB === undefined ? undefined : `${job.peakMemoryMiB} MiB`,
        Attempt: job.attempt,
        Worker: job.worker && html`<bdi>${job.worker}</bdi>`,
        Labels: job.labels?.length > 0 && html`<${Chips} values=${job.labels} />`,
        Tags: job.tags?.length > 0 && html`<${Chips} values=${job.tags} />`,
    };
    return html`<section aria-labelledby="details">
        <h2 id="details">Details</h2>
        <dl class="details">
            ${Object.entries(rows)
                .filter(([, value]) => value !== undefined && value !== null && value !== false && value !== "")
                .map(([name, value]) => html`<div key=${name}><dt>${name}</dt><dd>${value}</dd></div>`)}
        </dl>
    </section>`;
}
