// The job's executor_config.json, from its files.
import { blobPath, getJson, getRange } from "../core/api.js";
import { Download } from "../core/download.js";
import { html, useState } from "../core/dom.js";
import { entryBytes, zipEntries } from "../core/zip.js";
import { JsonTree } from "./json_tree.js";

const CONFIG_FILE = "executor_config.json";
const LONGEST_CONFIG = 1_000_000;

export function Config({ id }) {
    const [config, setConfig] = useState(null);
    const [problem, setProblem] = useState(null);
    async function load(event) {
        if (event.target.open && config === null) {
            try {
                setConfig(await configOf(id));
                setProblem(null);
            } catch (error) {
                setProblem(error.status === 404 ? "The job's files are not stored on this server." : error.message);
            }
        }
    }
    return html`<section aria-labelledby="config">
        <details onToggle=${load}>
            <summary><h2 id="config">Configuration</h2></summary>
            ${problem && html`<p class="hint">${problem}</p>`}
            ${config !== null && html`<${JsonTree} value=${config} levels=${3} />`}
            ${/^[0-9a-f]{40}$/.test(id) && html`<p><${Download} hash=${id} name="job.zip">Download the job's files<//></p>`}
        </details>
    </section>`;
}

async function configOf(id) {
    const metadata = await getJson(blobPath("metadata", id));
    const path = blobPath("view", id, metadata.contentType === "complex" ? CONFIG_FILE : undefined);
    const read = (start, end) => getRange(path, start, end);
    if (metadata.contentType === "complex") {
        return JSON.parse(new TextDecoder().decode(await read(0, LONGEST_CONFIG)));
    }
    const entry = (await zipEntries(metadata.size, read)).find(
        (found) => found.name.replace(/^\.\//, "") === CONFIG_FILE,
    );
    if (entry === undefined) {
        throw new Error(`The job's files have no ${CONFIG_FILE} at their top level.`);
    }
    return JSON.parse(new TextDecoder().decode(await entryBytes(entry, read, LONGEST_CONFIG)));
}
