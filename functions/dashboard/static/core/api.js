// Requests to the server, relative to the page's own address.

import { withCredentials } from "./credentials.js";

/** A response that is not a success; the message is the server's sentence. */
export class ApiError extends Error {
    constructor(status, message) {
        super(message);
        this.status = status;
    }
}

/** Send a request and return the response. Throws ApiError, and asks for a credential if it is missing or wrong. */
export function send(path, { method = "GET", json, headers = {}, signal } = {}) {
    return withCredentials(async (sent) => {
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
        throw new ApiError(response.status, message);
    });
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
