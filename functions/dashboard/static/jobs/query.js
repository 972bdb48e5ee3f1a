// The list's filters: in the page's address, in requests to the server, and applied to what an older server returns.
import { send } from "../core/api.js";
import { KINDS, kindOf, time } from "../core/format.js";

export const PAGE_SIZE = 50;
const FIELDS = "hash,status,name,tags,labels,createTime,startTime,finishTime,worker,exitCode,cancelRequested,userId";

/** Spans of time in seconds, by their names in the address. */
export const SPANS = { "1h": 3600, "24h": 86_400, "7d": 604_800, "30d": 2_592_000 };

const isHash = (text) => /^[0-9a-f]{40}$/i.test(text);

/** The filters in the address; `after` is the cursor of the page. */
export function filtersOf(query) {
    return {
        kinds: query.getAll("status").filter((kind) => kind in KINDS),
        q: query.get("q") ?? "",
        label: query.get("label") ?? "",
        tag: query.get("tag") ?? "",
        since: query.get("since") ?? "",
        from: query.get("from") ?? "",
        to: query.get("to") ?? "",
        after: query.get("after") ?? "",
    };
}

export function queryOf(filters) {
    const query = new URLSearchParams();
    for (const kind of filters.kinds) {
        query.append("status", kind);
    }
    for (const name of ["q", "label", "tag", "since", "from", "to", "after"]) {
        if (filters[name]) {
            query.set(name, filters[name]);
        }
    }
    return query;
}

export const isFiltered = (filters) => queryOf({ ...filters, after: "" }).size > 0;

/** Start and end of the time filter, as the server reads them; null for an open end. */
function timeRange({ since, from, to }) {
    if (since in SPANS) {
        return [new Date(Date.now() - SPANS[since] * 1000).toISOString(), null];
    }
    const iso = (text) => (time(text) === null ? null : new Date(time(text)).toISOString());
    return since === "custom" ? [iso(from), iso(to)] : [null, null];
}

/** One page of jobs: `{jobs, next, ignored}`. `ignored` says that the server knows neither the order nor the filters. */
export async function fetchJobs(filters, signal) {
    if (isHash(filters.q)) {
        return { jobs: await theJob(filters.q.toLowerCase(), signal), next: null, ignored: false };
    }
    const [after, before] = timeRange(filters);
    const query = new URLSearchParams({ limit: PAGE_SIZE, order: "newest", fields: FIELDS });
    for (const kind of filters.kinds) {
        for (const status of KINDS[kind].statuses) {
            query.append("status", status);
        }
    }
    const given = {
        name: filters.q,
        label: filters.label,
        tag: filters.tag,
        created_after: after,
        created_before: before,
    };
    for (const [name, value] of Object.entries(given)) {
        if (value) {
            query.set(name, value);
        }
    }
    if (filters.after) {
        query.set("after", filters.after);
    }
    const response = await send(`rest/executor/?${query}`, { signal });
    const next = nextQuery(response.headers.get("Link"));
    const listed = Object.entries(await response.json()).map(([hash, job]) => ({ ...job, hash }));
    const jobs = listed.filter((job) => matches(job, filters, after, before));
    // An integer-like id comes first in a JavaScript object, whatever the server's order.
    jobs.sort((one, other) => (time(other.createTime) ?? 0) - (time(one.createTime) ?? 0));
    if (filters.q && !filters.after && !jobs.some((job) => job.hash === filters.q)) {
        jobs.unshift(...(await theJob(filters.q, signal)));
    }
    return { jobs, next: next?.get("after") ?? null, ignored: next !== null && next.get("order") !== "newest" };
}

async function theJob(id, signal) {
    try {
        const response = await send(`rest/executor/info/${encodeURIComponent(id)}`, { signal });
        return [await response.json()];
    } catch (error) {
        if (error.status === 404 || error.status === 400) {
            return [];
        }
        throw error;
    }
}

function nextQuery(link) {
    const found = /<([^>]*)>;\s*rel="?next"?/.exec(link ?? "");
    return found === null ? null : new URLSearchParams(found[1].split("?")[1] ?? "");
}

function matches(job, filters, after, before) {
    const created = time(job.createTime);
    return (
        (filters.kinds.length === 0 || filters.kinds.includes(kindOf(job.status))) &&
        (!filters.label || job.labels?.includes(filters.label)) &&
        (!filters.tag || job.tags?.includes(filters.tag)) &&
        (!filters.q || (job.name ?? "").startsWith(filters.q)) &&
        (after === null || created === null || created >= time(after)) &&
        (before === null || created === null || created < time(before))
    );
}
