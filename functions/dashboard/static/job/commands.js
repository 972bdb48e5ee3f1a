// Commands that do on a terminal what the page does.
import { blobPath, jobPath } from "../core/api.js";
import { headerForCurl, isSignedIn } from "../core/credentials.js";
import { html } from "../core/dom.js";
import { isFinished, quoted, resultsOf } from "../core/format.js";
import { CopyButton } from "../core/ui.js";

export function Commands({ job }) {
    const { variable, option } = headerForCurl();
    return html`<section aria-labelledby="commands">
        <details>
            <summary><h2 id="commands">Commands for a terminal</h2></summary>
            <dl class="commands">
                ${commandsFor(job).map(
                    ([title, ...commands]) => html`<div key=${title}>
                        <dt><bdi>${title}</bdi></dt>
                        ${commands.map(
                            (command) => html`<dd key=${command}>
                                <code tabindex="0">${command}</code> <${CopyButton} text=${command} />
                            </dd>`,
                        )}
                    </div>`,
                )}
            </dl>
            <p class="hint">
                ${isSignedIn() ? "Set" : "If the server has a password, set"} <code>${variable}</code>, and add${" "}
                <code>${option}</code> to the <code>curl</code> commands.
            </p>
        </details>
    </section>`;
}

/** Titles, each followed by a command with our own client, if it has one, and the same with curl. */
function commandsFor(job) {
    const page = location.origin + location.pathname;
    const server = `--url ${quoted(page.replace(/\/$/, ""))}`;
    const id = job.hash.startsWith("-") ? `-- ${quoted(job.hash)}` : quoted(job.hash);
    const url = (path) => quoted(new URL(path, page).href);
    const finished = isFinished(job);
    const commands = [["Show the job", `executor status ${server} ${id}`, `curl ${url(jobPath("info", job.hash))}`]];
    if (finished && job.logs?.stdout) {
        commands.push([
            "Read its output",
            `executor logs ${server} ${id}`,
            `curl -L ${url(blobPath("view", job.logs.stdout))}`,
        ]);
    } else if (!finished) {
        commands.push([
            "Follow its output",
            `executor logs -f ${server} ${id}`,
            `curl ${url(jobPath("output", job.hash))}`,
        ]);
    }
    if (finished) {
        commands.push([
            "Run it again",
            `executor rerun ${server} ${id}`,
            `curl -X POST ${url(`${jobPath("create", job.hash)}?rerun=true`)}`,
        ]);
    }
    const results = resultsOf(job);
    if (results.length > 0) {
        const downloads = results.map(([, hash]) => `curl -L -o results.zip ${url(blobPath("download", hash))}`);
        commands.push(["Download its results", `executor get ${server} --out results ${id}`, ...downloads]);
    }
    if (/^[0-9a-f]{40}$/.test(job.hash)) {
        commands.push(["Download its files", `curl -L -o job.zip ${url(blobPath("download", job.hash))}`]);
    }
    return commands;
}
