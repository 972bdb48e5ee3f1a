// Small components that several pages use.
import { html, useEffect, useRef, useState } from "./dom.js";
import { KINDS, ago, kindOf, localTime } from "./format.js";

export function Status({ job }) {
    const kind = kindOf(job.status);
    const text = job.cancelRequested ? "Canceling" : kind === "failed" ? "Failed" : KINDS[kind].title;
    return html`<span class=${`status ${kind}`} title=${job.status}>
        <span class="symbol" aria-hidden="true">${KINDS[kind].symbol}</span> ${text}
    </span>`;
}

/** A time as "3 min ago", with the exact time on hover; it keeps up with the clock. */
export function Ago({ at }) {
    useClock(10_000);
    return at ? html`<time datetime=${at} title=${localTime(at)}>${ago(at)}</time>` : null;
}

/** Render again at this interval; 0 stops it. */
export function useClock(interval) {
    const [, setNow] = useState(0);
    useEffect(() => {
        if (interval === 0) {
            return undefined;
        }
        const timer = setInterval(() => document.hidden || setNow(Date.now()), interval);
        return () => clearInterval(timer);
    }, [interval]);
}

export function Chips({ values }) {
    return values?.map((value) => html`<bdi class="chip" key=${value}>${value}</bdi>`);
}

export function Problem({ error }) {
    return error ? html`<p class="problem" role="alert">${error.message ?? String(error)}</p>` : null;
}

/** The note that the page shows old data because the server cannot be reached. */
export function Connection({ error }) {
    return error
        ? html`<p class="connection" role="status">The last request failed; trying again. ${error.message}</p>`
        : null;
}

export function CopyButton({ text, label = "Copy" }) {
    const [copied, setCopied] = useState(false);
    async function copy() {
        await copyText(text);
        setCopied(true);
        setTimeout(() => setCopied(false), 1500);
    }
    return html`<button type="button" class="small" onClick=${copy}>${copied ? "Copied" : label}</button>`;
}

async function copyText(text) {
    if (navigator.clipboard) {
        return navigator.clipboard.writeText(text);
    }
    // Without HTTPS, browsers offer only this.
    const area = document.createElement("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
    return undefined;
}

/** A modal dialog; it is open while it is rendered. */
export function Dialog({ title, onClose, children }) {
    const dialog = useRef(null);
    useEffect(() => dialog.current.showModal(), []);
    return html`<dialog ref=${dialog} onClose=${onClose} aria-labelledby="dialog-title">
        <h2 id="dialog-title">${title}</h2>
        ${children}
    </dialog>`;
}

/** Offer a blob as a file. */
export function saveBlob(blob, name) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
