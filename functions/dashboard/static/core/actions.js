// What a user can do with jobs: create, run again, cancel.
import { jobPath, postJson, send } from "./api.js";
import { isGuests, keepSecret, secretOf } from "./secrets.js";

const AT_ONCE = 4;

/** Create a job, or return the existing one with the same id. */
export async function createJob(id, fields) {
    return kept(await postJson(jobPath("create", id), fields));
}

export async function runAgain(id) {
    return kept(await postJson(`${jobPath("create", id)}?rerun=true`, {}));
}

/** Cancel a job, with the secret from this browser, if it has one, unless one is given. */
export async function cancelJob(id, secret = secretOf(id)) {
    await send(jobPath("cancel", id), { method: "POST", json: { secret } });
}

/** Apply an action to many jobs, a few at once. Returns the errors by the jobs' ids. */
export async function forEachJob(ids, action, onProgress) {
    const waiting = [...ids];
    const errors = new Map();
    let done = 0;
    async function next() {
        while (waiting.length > 0) {
            const id = waiting.shift();
            try {
                await action(id);
            } catch (error) {
                errors.set(id, error);
            }
            done += 1;
            onProgress(done);
        }
    }
    await Promise.all(Array.from({ length: AT_ONCE }, next));
    return errors;
}

function kept(job) {
    if (typeof job.secret === "string" && isGuests(job)) {
        keepSecret(job.hash, job.secret);
    }
    return job;
}
