// The content of a result file: an image, a table with a plot, JSON, or text.
import { getRange } from "../core/api.js";
import { html, useEffect, useState } from "../core/dom.js";
import { bytes } from "../core/format.js";
import { Problem } from "../core/ui.js";
import { CsvPreview } from "./csv_preview.js";
import { JsonTree } from "./json_tree.js";
import { BlobLog } from "./log_source.js";
import { LogView } from "./log_view.js";

const LARGEST_IMAGE = 8_000_000;
const LARGEST_PARSED = 2_000_000;
const PROBE_BYTES = 4096;

/** Images by extension. SVG is not among them: it can contain scripts, and is shown as text. */
const IMAGES = {
    png: "image/png",
    jpg: "image/jpeg",
    jpeg: "image/jpeg",
    gif: "image/gif",
    webp: "image/webp",
    bmp: "image/bmp",
    avif: "image/avif",
};

export function Preview({ name, path, size }) {
    if (size === undefined) {
        return html`<p class="loading">Loading …</p>`;
    }
    const extension = name.split(".").at(-1).toLowerCase();
    if (size === 0) {
        return html`<p class="hint">The file is empty.</p>`;
    }
    if (extension in IMAGES && size <= LARGEST_IMAGE) {
        return html`<${Image} path=${path} size=${size} type=${IMAGES[extension]} name=${name} />`;
    }
    return html`<${Text} path=${path} size=${size} extension=${extension} name=${name} />`;
}

function Image({ path, size, type, name }) {
    const [url, setUrl] = useState(null);
    const [error, setError] = useState(null);
    useEffect(() => {
        let made = null;
        getRange(path, 0, size).then((content) => {
            made = URL.createObjectURL(new Blob([content], { type }));
            setUrl(made);
        }, setError);
        return () => made && URL.revokeObjectURL(made);
    }, [path]);
    return html`<${Problem} error=${error} />
        ${url && !error && html`<img class="preview" src=${url} alt=${name} onError=${() => setError(new Error("This is not an image that the browser can show."))} />`}`;
}

function Text({ path, size, extension, name }) {
    const [content, setContent] = useState(null);
    const [error, setError] = useState(null);
    useEffect(() => {
        const controller = new AbortController();
        contentOf(path, size, extension, controller.signal).then(
            setContent,
            (found) => controller.signal.aborted || setError(found),
        );
        return () => controller.abort();
    }, [path]);
    if (error || content === null) {
        return error ? html`<${Problem} error=${error} />` : html`<p class="loading">Loading …</p>`;
    }
    const note = content.whole ? null : html`<p class="hint">The first ${bytes(content.read)} of ${bytes(size)}.</p>`;
    switch (content.kind) {
        case "binary":
            return html`<p class="hint">This is not text. Download the file to use it.</p>`;
        case "json":
            return html`<div class="preview"><${JsonTree} value=${content.value} levels=${2} /></div>`;
        case "table":
            return html`<div class="preview">${note}<${CsvPreview} text=${content.text} separator=${content.separator} whole=${content.whole} /></div>`;
        default:
            return html`<div class="preview">
                <${LogView} log=${content.log} revision=${0} wrap=${false} follow=${false} setFollow=${() => {}} label=${`Content of ${name}`} />
            </div>`;
    }
}

async function contentOf(path, size, extension, signal) {
    const probe = await getRange(path, 0, Math.min(size, PROBE_BYTES), signal);
    if (probe.includes(0)) {
        return { kind: "binary" };
    }
    const read = Math.min(size, LARGEST_PARSED);
    const text = async () => new TextDecoder().decode(await getRange(path, 0, read, signal));
    if (extension === "json" && size <= LARGEST_PARSED) {
        try {
            return { kind: "json", value: JSON.parse(await text()) };
        } catch (error) {
            if (!(error instanceof SyntaxError)) {
                throw error;
            }
        }
    }
    if (extension === "csv" || extension === "tsv") {
        return {
            kind: "table",
            text: await text(),
            separator: extension === "csv" ? "," : "\t",
            read,
            whole: read === size,
        };
    }
    return { kind: "text", log: new BlobLog(size, (start, end) => getRange(path, start, end)) };
}
