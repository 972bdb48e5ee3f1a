// Cancel the job, or run it again.
import { cancelJob, runAgain } from "../core/actions.js";
import { html, useState } from "../core/dom.js";
import { isFinished } from "../core/format.js";
import { isCancelable } from "../core/secrets.js";
import { Dialog, Problem } from "../core/ui.js";

export function JobButtons({ job, onDone }) {
    const [asking, setAsking] = useState(false);
    const [busy, setBusy] = useState(false);
    const [error, setError] = useState(null);
    async function act(action) {
        setBusy(true);
        setError(null);
        try {
            await action();
            onDone();
        } catch (found) {
            setError(found);
        }
        setBusy(false);
    }
    return html`<div class="buttons">
            ${
                !isFinished(job) &&
                html`<button type="button" class="danger" disabled=${busy || job.cancelRequested} onClick=${() => setAsking(true)}>
                Cancel
            </button>`
            }
            ${
                isFinished(job) &&
                html`<button type="button" disabled=${busy} onClick=${() => act(() => runAgain(job.hash))}>Run again</button>`
            }
        </div>
        <${Problem} error=${error} />
        ${
            asking &&
            html`<${CancelDialog}
            job=${job}
            onClose=${() => setAsking(false)}
            onCancel=${(secret) => {
                setAsking(false);
                act(() => cancelJob(job.hash, secret));
            }}
        />`
        }`;
}

function CancelDialog({ job, onClose, onCancel }) {
    const known = isCancelable(job);
    const [secret, setSecret] = useState("");
    function submit(event) {
        event.preventDefault();
        onCancel(known ? undefined : secret.trim());
    }
    return html`<${Dialog} title="Cancel this job?" onClose=${onClose}>
        <form onSubmit=${submit}>
            ${
                !known
                    ? html`<p>
                          Only the browser that submitted a job has its secret, and this job was submitted elsewhere. Enter the
                          secret from the response to its <code>create</code>:
                      </p>
                      <label>
                          Secret
                          <input value=${secret} onInput=${(event) => setSecret(event.target.value)} required autocomplete="off" />
                      </label>`
                    : html`<p>The command is interrupted. Its results so far and its log are kept.</p>`
            }
            <div class="buttons">
                <button type="button" onClick=${onClose}>Back</button>
                <button class="danger">Cancel the job</button>
            </div>
        </form>
    <//>`;
}
