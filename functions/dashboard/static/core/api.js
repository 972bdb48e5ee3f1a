// Requests to the server, relative to the page's own address.

const NONCE = "executor-nonce";

/** A response that is not a success; the message is the server's sentence. */
export class ApiError extends Error {
    constructor(status, message) {
        super(message);
        this.status = status;
    }
}

let askForNonce = null;
let nonceGiven = null;

/** Set the function that asks the user for the server's nonce and resolves when there is one. */
export function onMissingNonce(ask) {
    askForNonce = ask;
}

export function setNonce(nonce) {
    sessionStorage.setItem(NONCE, nonce);
}

/** The headers that identify the user. Every request to the server has them; other kinds of credentials belong here. */
export function credentials() {
    const nonce = sessionStorage.getItem(NONCE);
    return nonce === null ? {} : { "x-executor-nonce": nonce };
}

/** Send a request and return the response. Throws ApiError, and asks for the nonce if it is missing or wrong. */
export async function send(path, { method = "GET", json, headers = {}, signal } = {}) {
    for (;;) {
        const sent = credentials();
        const response = await fetch(path, {
            method,
            signal,
            headers: { ...sent, ...headers, ...(json === undefined ? {} : { "Content-Type": "application/json" }) },
            body: json === undefined ? undefined : JSON.stringify(json),
        });
        if (response.ok || response.status === 304) {
            return response;
        }
        const message = (await response.text()).slice(0, 2000) || `The server answered with status ${response.status}.`;
        if (response.status !== 403 || !message.includes("x-executor-nonce") || askForNonce === null) {
            throw new ApiError(response.status, message);
        }
        await theNonce(sent);
    }
}

export async function getJson(path, options) {
    return (await send(path, options)).json();
}

export async function postJson(path, json, options) {
    return (await send(path, { ...options, method: "POST", json })).json();
}

/** Bytes start to end (exclusive) of a stored file; fewer if it is shorter. A server does not redirect small ranges. */
export async function getRange(path, start, end, signal) {
    if (end <= start) {
        return new Uint8Array();
    }
    try {
        const response = await send(path, { headers: { Range: `bytes=${start}-${end - 1}` }, signal });
        const bytes = new Uint8Array(await response.arrayBuffer());
        return response.status === 206 ? bytes : bytes.subarray(start, end);
    } catch (error) {
        if (error.status === 416) {
            return new Uint8Array();
        }
        throw error;
    }
}

/** Size of a stored file in bytes. */
export async function getSize(path, signal) {
    return Number((await send(path, { method: "HEAD", signal })).headers.get("Content-Length"));
}

export const jobPath = (verb, id) => `rest/executor/${verb}/${encodeURIComponent(id)}`;

/** Address of a blob or, with a path, of one file in an artifact. */
export function blobPath(verb, hash, path) {
    const inner = path === undefined ? [] : path.split("/").map(encodeURIComponent);
    return ["rest/blob", verb, encodeURIComponent(hash), ...inner].join("/");
}

/** Wait for a nonce other than the one that was sent; simultaneous requests ask once. */
async function theNonce(sent) {
    if (credentials()["x-executor-nonce"] !== sent["x-executor-nonce"]) {
        return;
    }
    nonceGiven ??= askForNonce().finally(() => {
        nonceGiven = null;
    });
    await nonceGiven;
}
