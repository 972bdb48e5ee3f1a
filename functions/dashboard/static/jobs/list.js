// The list of jobs.
import { html, useEffect, useRef, useState } from "../core/dom.js";
import { duration, isFinished, localTime, runSeconds, shortId } from "../core/format.js";
import { growingDelay, usePolling } from "../core/polling.js";
import { address, go, jobAddress } from "../core/router.js";
import { Ago, Chips, Connection, Problem, Status, useClock } from "../core/ui.js";
import { Bulk } from "./bulk.js";
import { Filters } from "./filters.js";
import { fetchJobs, filtersOf, isFiltered, queryOf } from "./query.js";

const SHORTEST_DELAY_MS = 2000;
const LONGEST_DELAY_MS = 15_000;

export function JobList({ query }) {
    const filters = filtersOf(query);
    const key = query.toString();
    const [page, setPage] = useState(null);
    const [selected, setSelected] = useState(new Set());
    const [refreshes, setRefreshes] = useState(0);
    const last = useRef("");
    useEffect(() => {
        last.current = "";
        setPage(null);
        setSelected(new Set());
    }, [key]);
    const nextDelay = useRef(growingDelay(SHORTEST_DELAY_MS, LONGEST_DELAY_MS));
    const error = usePolling(
        async (signal) => {
            const found = await fetchJobs(filters, signal);
            const text = JSON.stringify(found);
            const changed = text !== last.current;
            if (changed && !signal.aborted) {
                last.current = text;
                setPage(found);
            }
            return nextDelay.current(changed);
        },
        [key, refreshes],
    );
    const jobs = page?.jobs ?? [];
    useClock(jobs.some((job) => !isFinished(job)) ? 1000 : 0);
    const chosen = jobs.filter((job) => selected.has(job.hash));
    const select = (id, on) => {
        const changed = new Set(selected);
        changed[on ? "add" : "delete"](id);
        setSelected(changed);
    };
    const change = (changed) => go(address(["jobs"], queryOf(changed)), { replace: true });
    const turn = (after) => go(address(["jobs"], queryOf({ ...filters, after })));

    return html`<h1>Jobs</h1>
        <${Filters} filters=${filters} onChange=${change} />
        ${page === null ? html`<${Problem} error=${error} />` : html`<${Connection} error=${error} />`}
        ${
            page?.ignored &&
            html`<p class="hint">This server lists the oldest jobs first, and filters within each page only.</p>`
        }
        ${
            chosen.length > 0 &&
            html`<${Bulk}
            selected=${chosen}
            onDone=${() => {
                setSelected(new Set());
                setRefreshes(refreshes + 1);
            }}
        />`
        }
        ${page === null && !error && html`<p class="loading" role="status">Loading …</p>`}
        ${page !== null && jobs.length === 0 && html`<${Nothing} filtered=${isFiltered(filters)} />`}
        ${jobs.length > 0 && html`<${Table} jobs=${jobs} selected=${selected} select=${select} setSelected=${setSelected} />`}
        <nav class="paging" aria-label="Pages">
            ${filters.after && html`<button type="button" onClick=${() => turn("")}>Newest</button>`}
            ${filters.after && html`<button type="button" onClick=${() => history.back()}>Previous</button>`}
            ${page?.next && html`<button type="button" onClick=${() => turn(page.next)}>Next</button>`}
        </nav>`;
}

function Nothing({ filtered }) {
    return filtered
        ? html`<p class="empty">No job matches these filters.</p>`
        : html`<div class="empty">
              <p>No jobs yet.</p>
              <p><a class="button primary" href="#/submit">Submit the first job</a></p>
          </div>`;
}

function Table({ jobs, selected, select, setSelected }) {
    const all = jobs.every((job) => selected.has(job.hash));
    return html`<table class="jobs">
        <thead>
            <tr>
                <th class="check">
                    <input
                        type="checkbox"
                        aria-label="Select all jobs on this page"
                        checked=${all}
                        onChange=${() => setSelected(new Set(all ? [] : jobs.map((job) => job.hash)))}
                    />
                </th>
                <th>Status</th>
                <th>Job</th>
                <th class="wide-only">Labels and tags</th>
                <th>Created</th>
                <th class="number">Run time</th>
                <th class="wide-only">Worker</th>
            </tr>
        </thead>
        <tbody>
            ${jobs.map((job) => html`<${Row} key=${job.hash} job=${job} selected=${selected.has(job.hash)} select=${select} />`)}
        </tbody>
    </table>`;
}

function Row({ job, selected, select }) {
    return html`<tr class=${selected ? "selected" : ""}>
        <td class="check">
            <input
                type="checkbox"
                aria-label=${`Select the job ${job.name ?? shortId(job.hash)}`}
                checked=${selected}
                onChange=${(event) => select(job.hash, event.target.checked)}
            />
        </td>
        <td><${Status} job=${job} /></td>
        <td class="title">
            <a href=${jobAddress(job.hash)} title=${job.hash}>
                ${job.name ? html`<bdi>${job.name}</bdi>` : html`<bdi class="id">${shortId(job.hash)}</bdi>`}
            </a>
            ${job.name && html` <bdi class="id muted">${shortId(job.hash)}</bdi>`}
        </td>
        <td class="wide-only"><${Chips} values=${job.labels} /> <${Chips} values=${job.tags} /></td>
        <td title=${localTime(job.createTime)}><${Ago} at=${job.createTime} /></td>
        <td class="number">${duration(runSeconds(job))}</td>
        <td class="wide-only worker"><bdi>${job.worker ?? ""}</bdi></td>
    </tr>`;
}
