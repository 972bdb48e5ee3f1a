// Uploads with progress: through the server or, for large files on Google Cloud, directly to its storage.
import { ApiError, postJson } from "../core/api.js";
import { withCredentials } from "../core/credentials.js";

/** A cloud function accepts at most 32 MiB. */
const DIRECT_BYTES = 16 * 1024 * 1024;
const LARGEST_HASHED = 512 * 1024 * 1024;

/** Store a blob's bytes under this name and return the hash. `onProgress` gets the stage and the fraction done. */
export async function uploadFile(blob, name, onProgress) {
    onProgress("Computing the checksum", null);
    const sha1 = await sha1Of(blob);
    if (blob.size > DIRECT_BYTES) {
        const hash = await uploadDirectly(blob, name, sha1, onProgress);
        if (hash !== null) {
            return hash;
        }
    }
    if (sha1 !== null && (await isStored(sha1))) {
        const metadata = { name, size: blob.size, mime: "application/zip", content: sha1, contentType: "object" };
        return hashOf(await postJson("rest/blob/createMetadata", metadata));
    }
    const path = `rest/blob/createFile/${encodeURIComponent(name)}`;
    const stored = await withCredentials((sent) => transfer("POST", path, blob, sent, onProgress));
    return hashOf(JSON.parse(stored));
}

async function isStored(sha1) {
    const { missing } = await postJson("rest/blob/missing", { contents: [sha1] });
    return missing.length === 0;
}

/** Null if the server accepts uploads only through itself. */
async function uploadDirectly(blob, name, sha1, onProgress) {
    let started;
    try {
        started = await postJson("rest/blob/uploads", { name, size: blob.size, ...(sha1 === null ? {} : { sha1 }) });
    } catch (error) {
        if (error.status === 404) {
            return null;
        }
        throw error;
    }
    if (started.url === undefined) {
        return hashOf(started); // already stored
    }
    // Never send the server's credentials to the storage.
    await transfer("PUT", started.url, blob, {}, onProgress);
    onProgress("The server verifies the upload", null);
    return hashOf(await postJson(`rest/blob/uploads/${encodeURIComponent(started.id)}/complete`));
}

const hashOf = (stored) => Object.keys(stored)[0];

/** SHA-1 in hexadecimal; null without HTTPS, where browsers do not offer it, and for files that do not fit into memory. */
async function sha1Of(blob) {
    if (crypto.subtle === undefined || blob.size > LARGEST_HASHED) {
        return null;
    }
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-1", await blob.arrayBuffer()));
    return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Send a blob with XMLHttpRequest, because fetch reports no progress of uploads. Returns the body of the response. */
function transfer(method, path, blob, headers, onProgress) {
    return new Promise((resolve, reject) => {
        const request = new XMLHttpRequest();
        request.open(method, path);
        for (const [name, value] of Object.entries({ "Content-Type": "application/octet-stream", ...headers })) {
            request.setRequestHeader(name, value);
        }
        request.upload.onprogress = (event) => onProgress("Uploading", event.total ? event.loaded / event.total : null);
        request.onload = () =>
            request.status < 300
                ? resolve(request.responseText)
                : reject(new ApiError(request.status, request.responseText.slice(0, 2000)));
        request.onerror = () =>
            reject(new Error("The upload failed: the server or its storage cannot be reached. Try again."));
        request.send(blob);
    });
}
