// The secrets that cancel the jobs of guests; other users need none for their jobs. The server tells a job's secret once, to the client that created the job.

const KEY = "executor-secrets";
const MOST_SECRETS = 2000;

function stored() {
    try {
        return JSON.parse(localStorage.getItem(KEY)) ?? [];
    } catch {
        return [];
    }
}

/** The secret of a job that was created in this browser; undefined for other jobs. */
export function secretOf(id) {
    return stored().find(([known]) => known === id)?.[1];
}

export const isGuests = (job) => (job.userId?.[0] ?? "guest") === "guest";

/** Whether this browser can cancel the job without asking for its secret. */
export const isCancelable = (job) => !isGuests(job) || secretOf(job.hash) !== undefined;

export function keepSecret(id, secret) {
    const others = stored().filter(([known]) => known !== id);
    localStorage.setItem(KEY, JSON.stringify([[id, secret], ...others].slice(0, MOST_SECRETS)));
}
