// Why a job failed: its error, and the end of its standard error.
import { blobPath, getRange, getSize } from "../core/api.js";
import { html, useEffect, useState } from "../core/dom.js";
import { kindOf } from "../core/format.js";
import { AnsiText } from "./ansi.js";
import { BlobLog } from "./log_source.js";

const TAIL_LINES = 15;

export function Failure({ job }) {
    const failed = kindOf(job.status) === "failed";
    if (!failed && !job.error) {
        return null;
    }
    return html`<section class="failure" aria-label="Failure">
        <p class="error-sentence">${job.error ?? `The job ended with the status ${job.status}.`}</p>
        ${job.logs?.stderr && html`<${Tail} hash=${job.logs.stderr} />`}
    </section>`;
}

function Tail({ hash }) {
    const [lines, setLines] = useState([]);
    useEffect(() => {
        const controller = new AbortController();
        tailOf(hash, controller.signal).then(setLines, () => {});
        return () => controller.abort();
    }, [hash]);
    return lines.length > 0
        ? html`<p class="tail-title">The end of standard error:</p>
              <pre class="tail" tabindex="0" role="region" aria-label="End of standard error">${lines.map(
                  (line) => html`<div key=${line.start}><${AnsiText} text=${line.text} /></div>`,
              )}</pre>`
        : null;
}

async function tailOf(hash, signal) {
    const path = blobPath("view", hash);
    const log = new BlobLog(await getSize(path, signal), (start, end) => getRange(path, start, end, signal));
    return (await log.before(log.end)).slice(-TAIL_LINES);
}
