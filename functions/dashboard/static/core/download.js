// Downloads: a link or, with a credential, which links do not send, a request whose response is saved.
import { blobPath, send } from "./api.js";
import { hasToken, headerForCurl, isSignedIn } from "./credentials.js";
import { html, useRef, useState } from "./dom.js";
import { bytes, quoted } from "./format.js";
import { CopyButton, saveBlob } from "./ui.js";

/** Largest download that is saved with a credential, in bytes: the browser keeps all of it first. */
const LARGEST_SAVED = 1_000_000_000;

class TooLarge extends Error {}

/** A link to a blob or, with a path, to one file in an artifact. `name` is for a response that names no file. */
export function Download({ hash, path, name, look = "", label, children }) {
    const [progress, setProgress] = useState(null);
    const [error, setError] = useState(null);
    const running = useRef(null);
    const address = blobPath("download", hash, path);
    if (!isSignedIn()) {
        return html`<a class=${look} href=${address} aria-label=${label}>${children}</a>`;
    }
    async function start() {
        if (running.current !== null) {
            running.current.abort();
            return;
        }
        const controller = new AbortController();
        running.current = controller;
        setError(null);
        setProgress("Starting …");
        try {
            await save(address, name, setProgress, controller);
        } catch (found) {
            setError(found instanceof TooLarge || !controller.signal.aborted ? found : null);
        }
        running.current = null;
        setProgress(null);
    }
    return html`<button type="button" class=${look || "link"} aria-label=${progress === null ? label : undefined} onClick=${start}>
            ${progress === null ? children : `Stop (${progress})`}
        </button>
        ${error && html`<${DownloadProblem} error=${error} address=${address} name=${name} />`}`;
}

function DownloadProblem({ error, address, name }) {
    const { variable, option } = headerForCurl();
    const url = new URL(address, location.origin + location.pathname).href;
    const command = `curl -L ${option} -o ${quoted(name)} ${quoted(url)}`;
    return html`<span class="problem" role="alert">
        ${error.message}${" "}
        ${
            error.status === undefined &&
            html`Set <code>${variable}</code> on a terminal and run <code>${command}</code> <${CopyButton} text=${command} />`
        }
    </span>`;
}

/** Save the file at this address. Throws TooLarge, ApiError, Error. */
async function save(address, name, onProgress, controller) {
    const { signal } = controller;
    if (!hasToken() && (await isPublic(address, signal))) {
        click(address);
        return;
    }
    let total = 0; // while it is unknown
    let read = 0;
    const check = () => Math.max(total, read) > LARGEST_SAVED && controller.abort();
    const counter = new TransformStream({
        transform(chunk, stream) {
            read += chunk.length;
            check();
            onProgress(total > 0 ? `${bytes(read)} of ${bytes(total)}` : bytes(read));
            stream.enqueue(chunk);
        },
    });
    try {
        const response = await send(address, { signal });
        total = Number(response.headers.get("Content-Length"));
        check();
        saveBlob(await new Response(response.body.pipeThrough(counter)).blob(), nameIn(response) ?? name);
    } catch (error) {
        if (Math.max(total, read) > LARGEST_SAVED) {
            const size = total > 0 ? `This file has ${bytes(total)}` : `This file has more than ${bytes(LARGEST_SAVED)}`;
            throw new TooLarge(`${size}; the page can save up to ${bytes(LARGEST_SAVED)}.`);
        }
        if (signal.aborted || error.status !== undefined) {
            throw error;
        }
        throw new Error("The download failed: the server or its storage cannot be reached.");
    }
}

/** Whether a link to this address works: a server with a nonce for its jobs may have none for its files. */
async function isPublic(address, signal) {
    const response = await fetch(address, { method: "HEAD", redirect: "manual", signal });
    return response.ok || response.type === "opaqueredirect";
}

function click(address) {
    const link = document.createElement("a");
    link.href = address;
    link.click();
}

/** The file's name in Content-Disposition. */
function nameIn(response) {
    const header = response.headers.get("Content-Disposition") ?? "";
    const [, encoded] = header.match(/filename\*=UTF-8''([^;]+)/) ?? [];
    const [, escaped] = header.match(/filename="((?:[^"\\]|\\.)*)"/) ?? [];
    return encoded === undefined ? escaped?.replace(/\\(.)/g, "$1") : decodeURIComponent(encoded);
}
