// Dropped files and folders, and the zip that is made of them.
import { zipEntries } from "../core/zip.js";
import { downloadZip } from "../vendor.js";

export const CONFIG_FILE = "executor_config.json";
const MOST_FILES = 100_000;
/** The earliest date that a zip can store: the same files give the same zip. */
const DATE = new Date(1980, 0, 1);
const EXECUTABLE = 0o755;
const PLAIN = 0o644;

/** Files `{path, file}` of a drop. A single folder stands for its contents. */
export async function droppedFiles(transfer) {
    const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
    const files = [];
    for (const entry of entries) {
        await collect(entry, entry.name, files);
    }
    return withoutCommonFolder(files);
}

/** Files of an `input` element, which may be one for folders. */
export function chosenFiles(input) {
    return withoutCommonFolder([...input.files].map((file) => ({ path: file.webkitRelativePath || file.name, file })));
}

async function collect(entry, path, files) {
    if (files.length >= MOST_FILES) {
        throw new Error(`There are more than ${MOST_FILES.toLocaleString()} files; submit a zip or use executor run.`);
    }
    if (entry.isFile) {
        files.push({ path, file: await new Promise((resolve, reject) => entry.file(resolve, reject)) });
        return;
    }
    const reader = entry.createReader();
    for (;;) {
        // A reader returns up to 100 entries at once.
        const found = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
        if (found.length === 0) {
            return;
        }
        for (const inner of found) {
            await collect(inner, `${path}/${inner.name}`, files);
        }
    }
}

function withoutCommonFolder(files) {
    const folder = files[0]?.path.split("/")[0];
    if (!files.every(({ path }) => path.startsWith(`${folder}/`))) {
        return files;
    }
    return files.map(({ path, file }) => ({ path: path.slice(folder.length + 1), file }));
}

export const isZip = (files) => files.length === 1 && /\.zip$/i.test(files[0].path);

/** Names at the top level that decide whether the files are a job: `{hasConfig, count, size}`. Throws NotReadable. */
export async function describeFiles(files) {
    if (isZip(files)) {
        const { file } = files[0];
        const entries = await zipEntries(
            file.size,
            async (start, end) => new Uint8Array(await file.slice(start, end).arrayBuffer()),
        );
        const names = entries.map((entry) => entry.name.replace(/^\.\//, ""));
        return {
            hasConfig: names.includes(CONFIG_FILE),
            count: names.filter((name) => !name.endsWith("/")).length,
            size: file.size,
        };
    }
    const size = files.reduce((sum, { file }) => sum + file.size, 0);
    return { hasConfig: files.some(({ path }) => path === CONFIG_FILE), count: files.length, size };
}

/** A stored zip of the files and, if there is one, of this configuration. */
export async function zipOf(files, config) {
    const inputs = files.map(({ path, file }) => ({ path, input: file, size: file.size, mode: () => modeOf(file) }));
    if (config !== null) {
        const input = new TextEncoder().encode(JSON.stringify(config, null, 2));
        inputs.push({ path: CONFIG_FILE, input, size: input.length, mode: async () => PLAIN });
    }
    inputs.sort((one, other) => (one.path < other.path ? -1 : 1));
    async function* members() {
        for (const { path, input, mode } of inputs) {
            yield { name: path, input, lastModified: DATE, mode: await mode() };
        }
    }
    return downloadZip(members(), { buffersAreUTF8: true }).blob();
}

/** A browser does not see the executable bit: scripts with an interpreter, and programs, get it. */
async function modeOf(file) {
    const head = new Uint8Array(await file.slice(0, 4).arrayBuffer());
    const text = String.fromCharCode(...head);
    return text.startsWith("#!") || text === "\x7fELF" ? EXECUTABLE : PLAIN;
}
