// The parts of the last attempt, to scale.
import { html } from "../core/dom.js";
import { duration, isFinished, time } from "../core/format.js";

const TITLES = { queued: "Queued", fetch: "Fetch", run: "Run", archive: "Archive" };

export function Timeline({ job }) {
    const parts = partsOf(job).filter(([, seconds]) => seconds !== null && seconds !== undefined);
    if (parts.length === 0) {
        return null;
    }
    const total = parts.reduce((sum, [, seconds]) => sum + seconds, 0);
    return html`<section aria-labelledby="timeline">
        <h2 id="timeline">Timeline</h2>
        <div class="timeline" aria-hidden="true">
            ${parts.map(
                ([name, seconds]) => html`<div
                    key=${name}
                    class=${`part ${name}`}
                    style=${{ flexGrow: total === 0 ? 1 : Math.max(seconds / total, 0.005) }}
                    title=${`${TITLES[name]}: ${duration(seconds)}`}
                ></div>`,
            )}
        </div>
        <ul class="timeline-legend">
            ${parts.map(
                ([name, seconds]) =>
                    html`<li key=${name}><span class=${`swatch ${name}`}></span> ${TITLES[name]} <strong>${duration(seconds)}</strong></li>`,
            )}
            ${job.attempt > 1 && html`<li>Attempt <strong>${job.attempt}</strong>: the parts are those of the last one</li>`}
        </ul>
    </section>`;
}

function partsOf(job) {
    if (job.durations && isFinished(job)) {
        return Object.keys(TITLES).map((name) => [name, job.durations[name]]);
    }
    const created = time(job.createTime);
    const started = time(job.startTime);
    const end = isFinished(job) ? time(job.finishTime) : Date.now();
    if (created === null || end === null) {
        return [];
    }
    const queued = ["queued", Math.max(0, ((started ?? end) - created) / 1000)];
    return started === null ? [queued] : [queued, ["run", Math.max(0, (end - started) / 1000)]];
}
