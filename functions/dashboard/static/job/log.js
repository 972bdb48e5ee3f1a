// A job's output: live while it runs, from the stored logs when it has ended.
import { blobPath, getJson, getRange, getSize, jobPath } from "../core/api.js";
import { Download } from "../core/download.js";
import { html, useEffect, useRef, useState } from "../core/dom.js";
import { bytes, count, isFinished } from "../core/format.js";
import { Problem, saveBlob } from "../core/ui.js";
import { BlobLog, LiveLog } from "./log_source.js";
import { LogView } from "./log_view.js";

const SEGMENTS_AT_ONCE = 100;

export function JobLog({ job }) {
    const stored = isFinished(job) && (job.logs?.stdout || job.logs?.stderr);
    return html`<section aria-labelledby="log-title">
        ${stored ? html`<${StoredLogs} logs=${job.logs} />` : html`<${Live} job=${job} />`}
    </section>`;
}

function StoredLogs({ logs }) {
    const streams = ["stdout", "stderr"].filter((name) => logs[name]);
    const [stream, setStream] = useState(streams[0]);
    const [sizes, setSizes] = useState({});
    const [error, setError] = useState(null);
    useEffect(() => {
        const controller = new AbortController();
        Promise.all(streams.map((name) => getSize(blobPath("view", logs[name]), controller.signal))).then(
            (found) => setSizes(Object.fromEntries(streams.map((name, index) => [name, found[index]]))),
            (found) => controller.signal.aborted || setError(found),
        );
        return () => controller.abort();
    }, [logs.stdout, logs.stderr]);
    const log = useRef({});
    const path = blobPath("view", logs[stream]);
    if (sizes[stream] !== undefined && log.current.path !== path) {
        log.current = { path, log: new BlobLog(sizes[stream], (start, end) => getRange(path, start, end)) };
    }
    const tabs = html`<div class="kinds" role="group" aria-label="Stream">
        ${streams.map(
            (name) => html`<button
                key=${name}
                type="button"
                class="toggle"
                aria-pressed=${name === stream}
                onClick=${() => setStream(name)}
            >
                ${name === "stdout" ? "Standard output" : "Standard error"} ${" "}
                <span class="muted">${bytes(sizes[name])}</span>
            </button>`,
        )}
    </div>`;
    return html`<${Log}
        key=${stream}
        log=${log.current.path === path ? log.current.log : null}
        revision=${0}
        tabs=${tabs}
        empty="The command wrote nothing here."
        download=${html`<${Download} look="button" hash=${logs[stream]} name=${`job_${stream}.txt`}>Download the whole log<//>`}
    >
        <${Problem} error=${error} />
    <//>`;
}

function Live({ job }) {
    const log = useRef(null);
    log.current ??= new LiveLog();
    const [received, setReceived] = useState(0); // segments
    const next = useRef(0);
    const [error, setError] = useState(null);
    const [retries, setRetries] = useState(0);
    useEffect(() => {
        const controller = new AbortController();
        async function read() {
            const newest = job.outputNumber ?? -1;
            while (next.current <= newest && !controller.signal.aborted) {
                const end = next.current + SEGMENTS_AT_ONCE;
                const path = `${jobPath("output", job.hash)}?start=${next.current}&end=${end}`;
                const found = await getJson(path, { signal: controller.signal });
                for (const segment of found.sort((one, other) => one.outputNumber - other.outputNumber)) {
                    if (segment.outputNumber >= next.current) {
                        log.current.append(segment.output);
                        next.current = segment.outputNumber + 1;
                    }
                }
                if (found.length === 0) {
                    next.current = Math.min(end, newest + 1);
                }
                setReceived(next.current);
                setError(null);
            }
        }
        let timer = 0;
        read().catch((found) => {
            if (!controller.signal.aborted) {
                setError(found);
                timer = setTimeout(() => setRetries(retries + 1), 5000);
            }
        });
        return () => {
            controller.abort();
            clearTimeout(timer);
        };
    }, [job.outputNumber, job.hash, retries]);
    const finished = isFinished(job);
    const empty = finished
        ? "The server has deleted this output. Look for job_stdout.txt among the results."
        : job.status === "CREATED"
          ? "The job has not started yet."
          : "No output so far. A job shows its output while it runs if its executor_config.json sets outputInterval; otherwise the log appears when the job ends.";
    return html`<${Log}
        log=${log.current}
        revision=${received}
        follows=${!finished}
        tabs=${html`<p class="muted">Standard output</p>`}
        empty=${empty}
        download=${
            received > 0 &&
            html`<button
            type="button"
            onClick=${() => saveBlob(new Blob([log.current.text()], { type: "text/plain" }), "job_stdout.txt")}
        >
            Download the log so far
        </button>`
        }
    >
        <${Problem} error=${error} />
        ${
            log.current.start > 0 &&
            html`<p class="hint">
            The first ${count(log.current.start, "line")} are not kept in this tab; the whole log is available when the job has ended.
        </p>`
        }
    <//>`;
}

function Log({ log, revision, follows = false, tabs, empty, download, children }) {
    const [wrap, setWrap] = useState(true);
    const [follow, setFollow] = useState(follows);
    const [target, setTarget] = useState(null);
    const isEmpty = log !== null && log.end === log.start;
    const jump = (position, isHit) => {
        setFollow(false);
        setTarget({ position, isHit });
    };
    function toEnd() {
        setTarget(null);
        setFollow(true);
    }
    return html`<div class="section-head">
            <h2 id="log-title">Log</h2>
            ${tabs}
        </div>
        ${children}
        ${isEmpty && html`<p class="empty small">${empty}</p>`}
        ${
            log !== null &&
            !isEmpty &&
            html`<div class="log-tools">
                <button type="button" onClick=${() => jump(log.start, false)}>Top</button>
                <button type="button" onClick=${toEnd}>End</button>
                ${
                    follows &&
                    html`<label class="inline">
                    <input type="checkbox" checked=${follow} onChange=${() => (follow ? setFollow(false) : toEnd())} /> Follow
                </label>`
                }
                <label class="inline">
                    <input type="checkbox" checked=${wrap} onChange=${() => setWrap(!wrap)} /> Wrap
                </label>
                <${Search} log=${log} follows=${follows} onHit=${(position) => jump(position, true)} />
                ${download}
            </div>
            <${LogView}
                log=${log}
                revision=${revision}
                wrap=${wrap}
                follow=${follow}
                setFollow=${setFollow}
                target=${target}
                label="Log"
            />`
        }`;
}

function Search({ log, follows, onHit }) {
    const [query, setQuery] = useState("");
    const [result, setResult] = useState(null);
    const [current, setCurrent] = useState(0);
    const run = useRef(0);
    const amount = (searched) => (follows || log.text ? count(searched, "line") : bytes(searched));
    async function find(event) {
        event.preventDefault();
        run.current += 1;
        const own = run.current;
        if (query === "") {
            setResult(null);
            return;
        }
        let shown = false;
        const progress = (searched, hits) => {
            if (own !== run.current) {
                throw new Error("superseded");
            }
            setResult({ hits, searched, running: true });
            if (!shown && hits.length > 0) {
                shown = true;
                setCurrent(0);
                onHit(hits[0]);
            }
        };
        try {
            const found = await log.search(query, progress);
            setResult({ ...found, running: false });
        } catch (error) {
            if (own === run.current) {
                setResult({ hits: [], searched: 0, error });
            }
        }
    }
    function step(by) {
        const next = (current + by + result.hits.length) % result.hits.length;
        setCurrent(next);
        onHit(result.hits[next]);
    }
    return html`<form class="search" role="search" onSubmit=${find}>
        <input
            type="search"
            aria-label="Search in the log"
            placeholder="Search in the log"
            value=${query}
            onInput=${(event) => setQuery(event.target.value)}
        />
        <button>Find</button>
        ${
            result?.hits.length > 0 &&
            html`<button type="button" aria-label="Previous match" onClick=${() => step(-1)}>↑</button>
            <button type="button" aria-label="Next match" onClick=${() => step(1)}>↓</button>`
        }
        ${result && html`<span class="muted" role="status">${summary(result, current, amount, log)}</span>`}
    </form>`;
}

function summary({ hits, searched, running, complete, error }, current, amount, log) {
    if (error) {
        return error.message;
    }
    const found =
        hits.length === 0
            ? "No match"
            : `${current + 1} of ${hits.length}${complete || running ? "" : "+"} matching lines`;
    const whole = amount(log.end - (log.text ? log.start : 0));
    if (running) {
        return `${found}; searched ${amount(searched)} of ${whole} …`;
    }
    return complete
        ? `${found}; searched all ${whole}`
        : `${found}; searched the ${log.text ? "last" : "first"} ${amount(searched)} of ${whole}`;
}
