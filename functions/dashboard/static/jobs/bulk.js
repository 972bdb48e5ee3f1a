// Cancel, or run again, the selected jobs.
import { cancelJob, forEachJob, runAgain } from "../core/actions.js";
import { html, useState } from "../core/dom.js";
import { count, isFinished, shortId } from "../core/format.js";
import { isCancelable } from "../core/secrets.js";
import { Dialog } from "../core/ui.js";

export function Bulk({ selected, onDone }) {
    const [asked, setAsked] = useState(null);
    const cancelable = selected.filter((job) => !isFinished(job) && isCancelable(job));
    const foreign = selected.filter((job) => !isFinished(job) && !isCancelable(job));
    const repeatable = selected.filter(isFinished);
    const cancel = {
        title: `Cancel ${count(cancelable.length, "job")}?`,
        verb: "Cancel jobs",
        jobs: cancelable,
        action: (id) => cancelJob(id),
    };
    const again = {
        title: `Run ${count(repeatable.length, "job")} again?`,
        verb: "Run again",
        jobs: repeatable,
        action: runAgain,
    };
    return html`<div class="bulk" role="toolbar" aria-label="Selected jobs">
        <strong>${count(selected.length, "job")} selected</strong>
        <button type="button" disabled=${cancelable.length === 0} onClick=${() => setAsked(cancel)}>Cancel</button>
        <button type="button" disabled=${repeatable.length === 0} onClick=${() => setAsked(again)}>Run again</button>
        <button type="button" onClick=${() => onDone()}>Clear selection</button>
        ${
            foreign.length > 0 &&
            html`<span class="hint">
            ${count(foreign.length, "job")} cannot be canceled here: only the browser that submitted a job has its secret.
        </span>`
        }
        ${asked && html`<${Question} ...${asked} onClose=${() => setAsked(null)} onDone=${onDone} />`}
    </div>`;
}

function Question({ title, verb, jobs, action, onClose, onDone }) {
    const [done, setDone] = useState(null);
    const [errors, setErrors] = useState(null);
    async function start() {
        setDone(0);
        const found = await forEachJob(
            jobs.map((job) => job.hash),
            action,
            setDone,
        );
        if (found.size > 0) {
            setErrors(found);
        } else {
            onDone();
            onClose();
        }
    }
    return html`<${Dialog} title=${title} onClose=${onClose}>
        ${done !== null && html`<progress value=${done} max=${jobs.length} aria-label="Progress"></progress>`}
        ${
            errors &&
            html`<ul class="errors" role="alert">
            ${[...errors].slice(0, 20).map(([id, error]) => html`<li key=${id}><bdi>${shortId(id)}</bdi>: ${error.message}</li>`)}
        </ul>`
        }
        <div class="buttons">
            <button type="button" onClick=${onClose}>${errors ? "Close" : "Back"}</button>
            ${!errors && html`<button type="button" class="primary" disabled=${done !== null} onClick=${start}>${verb}</button>`}
        </div>
    <//>`;
}
