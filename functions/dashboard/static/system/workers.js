// Pools and workers.
import { getJson } from "../core/api.js";
import { html, useState } from "../core/dom.js";
import { count, duration, shortId } from "../core/format.js";
import { usePolling } from "../core/polling.js";
import { jobAddress } from "../core/router.js";
import { Ago, Chips, Connection, Problem } from "../core/ui.js";
import { fetchStats } from "./stats.js";

const DELAY_MS = 5000;
const MOST_JOBS = 20;
const POOL_PREFIX = "pool:";

export function Workers() {
    const [found, setFound] = useState(null);
    const error = usePolling(async (signal) => {
        const [entries, stats] = await Promise.all([getJson("rest/executor/worker", { signal }), fetchStats(signal)]);
        if (!signal.aborted) {
            setFound({ entries: Object.values(entries), stats });
        }
        return DELAY_MS;
    }, []);
    if (found === null) {
        return html`<h1>Workers</h1>
            ${error ? html`<${Problem} error=${error} />` : html`<p class="loading" role="status">Loading …</p>`}`;
    }
    const workers = found.entries.filter((entry) => !entry.clientId.startsWith(POOL_PREFIX));
    return html`<h1>Workers</h1>
        <${Connection} error=${error} />
        <${Pools} entries=${found.entries} stats=${found.stats} />
        <section aria-labelledby="workers">
            <h2 id="workers">Workers</h2>
            ${
                workers.length === 0
                    ? html`<p class="empty small">No worker is running.</p>`
                    : html`<ul class="cards">
                      ${workers.map((worker) => html`<${Worker} key=${worker.clientId} worker=${worker} />`)}
                  </ul>`
            }
        </section>`;
}

function Worker({ worker }) {
    const jobs = worker.jobs ?? [];
    return html`<li class="card">
        <h3><bdi>${worker.clientId}</bdi></h3>
        <${Load} running=${jobs.length} slots=${worker.slots} />
        <p class="muted">
            ${worker.pool ? html`Pool <bdi>${worker.pool}</bdi>` : "External worker"}, seen${" "}
            <${Ago} at=${new Date(worker.lastSeen * 1000).toISOString()} />
        </p>
        <p><${Chips} values=${worker.labels} /></p>
        ${
            jobs.length > 0 &&
            html`<ul class="plain">
            ${jobs.slice(0, MOST_JOBS).map(
                (job) => html`<li key=${job.hash}>
                    <a href=${jobAddress(job.hash)}><bdi>${job.name ?? shortId(job.hash)}</bdi></a>
                    <span class="muted"> started <${Ago} at=${job.startTime ?? job.createTime} /></span>
                </li>`,
            )}
            ${jobs.length > MOST_JOBS && html`<li class="muted">and ${count(jobs.length - MOST_JOBS, "other job")}</li>`}
        </ul>`
        }
    </li>`;
}

function Load({ running, slots }) {
    const text =
        slots === undefined ? `${count(running, "job")} running` : `${running} of ${count(slots, "slot")} in use`;
    return html`<p class="load">
        ${slots > 0 && html`<meter min="0" max=${slots} value=${running} aria-label=${text}></meter>`} <span>${text}</span>
    </p>`;
}

/** What each pool has: from the server's totals or, without them, from its list of workers. */
function Pools({ entries, stats }) {
    const pools = stats === null ? countedPools(entries) : stats.pools;
    const names = Object.keys(pools ?? {});
    if (names.length === 0) {
        return null;
    }
    return html`<section aria-labelledby="pools">
        <h2 id="pools">Pools</h2>
        <ul class="cards">
            ${names.map((name) => {
                const { waiting, running, slots, workers, oldestWaitingSeconds } = pools[name];
                return html`<li class="card" key=${name}>
                    <h3><bdi>${name}</bdi></h3>
                    <${Load} running=${running} slots=${slots} />
                    <p class="muted">
                        ${count(workers, "worker")}${waiting > 0 && `, ${count(waiting, "job")} waiting`}
                        ${oldestWaitingSeconds > 0 && `, the oldest for ${duration(oldestWaitingSeconds)}`}
                    </p>
                </li>`;
            })}
        </ul>
    </section>`;
}

function countedPools(entries) {
    const pools = {};
    for (const entry of entries.filter((found) => found.pool !== undefined)) {
        pools[entry.pool] ??= { running: 0, slots: 0, workers: 0 };
        if (!entry.clientId.startsWith(POOL_PREFIX)) {
            pools[entry.pool].workers += 1;
            pools[entry.pool].slots += entry.slots ?? 0;
            pools[entry.pool].running += (entry.jobs ?? []).length;
        }
    }
    return pools;
}
