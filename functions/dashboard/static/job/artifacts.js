// The job's results as trees of files.
import { blobPath, getJson } from "../core/api.js";
import { Download } from "../core/download.js";
import { html, useEffect, useMemo, useState } from "../core/dom.js";
import { bytes, count, resultsOf } from "../core/format.js";
import { Problem } from "../core/ui.js";
import { fileTree } from "./file_tree.js";
import { useSize } from "./file_sizes.js";
import { Preview } from "./preview.js";

const MOST_SHOWN = 200;

export function Artifacts({ job }) {
    const results = resultsOf(job);
    if (results.length === 0) {
        return null;
    }
    return html`<section aria-labelledby="results">
        <h2 id="results">Results</h2>
        ${results.map(([name, hash]) => html`<${Artifact} key=${`${name}/${hash}`} name=${name} hash=${hash} isOnly=${results.length === 1} />`)}
    </section>`;
}

function Artifact({ name, hash, isOnly }) {
    const [metadata, setMetadata] = useState(null);
    const [error, setError] = useState(null);
    const [open, setOpen] = useState(isOnly);
    useEffect(() => {
        const controller = new AbortController();
        if (open && metadata === null) {
            getJson(blobPath("metadata", hash), { signal: controller.signal }).then(
                setMetadata,
                (found) => controller.signal.aborted || setError(found),
            );
        }
        return () => controller.abort();
    }, [hash, open]);
    const tree = useMemo(() => metadata && fileTree(pathsOf(metadata)), [metadata]);
    return html`<details class="artifact" open=${open} onToggle=${(event) => setOpen(event.currentTarget.open)}>
        <summary>
            <strong><bdi>${name}</bdi></strong>${" "}
            ${tree && html`<span class="muted">${count(tree.count, "file")}, ${bytes(metadata.size)}</span>`}
        </summary>
        <p><${Download} look="button small" hash=${hash} name=${`${name}.zip`}>Download all files<//></p>
        <${Problem} error=${error} />
        ${open && tree && html`<${Folder} folder=${tree} hash=${metadata.contentType === "complex" ? hash : null} blob=${hash} />`}
    </details>`;
}

/** Paths of an artifact's files; any other blob is a single file. */
const pathsOf = (metadata) =>
    metadata.contentType === "complex" ? Object.keys(metadata.content ?? {}) : [metadata.name];

/** `hash` is the artifact; without it, the only file is the blob itself. */
function Folder({ folder, hash, blob }) {
    const [most, setMost] = useState(MOST_SHOWN);
    const shown = folder.entries.slice(0, most);
    return html`<ul class="files">
        ${shown.map((entry) =>
            entry.entries
                ? html`<li key=${`${entry.name}/`}><${SubFolder} folder=${entry} hash=${hash} blob=${blob} /></li>`
                : html`<li key=${entry.name}><${File} name=${entry.name} hash=${blob} path=${hash === null ? undefined : entry.path} /></li>`,
        )}
        ${
            folder.entries.length > most &&
            html`<li>
            <button type="button" class="small" onClick=${() => setMost(most + MOST_SHOWN)}>
                Show more (${(folder.entries.length - most).toLocaleString()} left)
            </button>
        </li>`
        }
    </ul>`;
}

function SubFolder({ folder, hash, blob }) {
    const [open, setOpen] = useState(false);
    return html`<details open=${open} onToggle=${(event) => setOpen(event.currentTarget.open)}>
        <summary><bdi>${folder.name}/</bdi>${" "}<span class="muted">${count(folder.count, "file")}</span></summary>
        ${open && html`<${Folder} folder=${folder} hash=${hash} blob=${blob} />`}
    </details>`;
}

function File({ name, hash, path }) {
    const [open, setOpen] = useState(false);
    const size = useSize(blobPath("view", hash, path));
    return html`<div class="file">
            <button type="button" class="link" aria-expanded=${open} onClick=${() => setOpen(!open)}><bdi>${name}</bdi></button>
            <span class="muted">${bytes(size)}</span>
            <${Download} hash=${hash} path=${path} name=${name} label=${`Download ${name}`}>Download<//>
        </div>
        ${open && html`<${Preview} name=${name} path=${blobPath("view", hash, path)} size=${size} />`}`;
}
