// Text for times, durations, sizes, and statuses.

const UNITS = ["B", "kB", "MB", "GB", "TB"];
const STEPS = [
    [86_400, "d"],
    [3600, "h"],
    [60, "min"],
    [1, "s"],
];

export function bytes(size) {
    if (size === null || size === undefined || Number.isNaN(size)) {
        return "";
    }
    let unit = 0;
    let value = size;
    while (value >= 1000 && unit < UNITS.length - 1) {
        value /= 1000;
        unit += 1;
    }
    return `${unit === 0 ? value : value.toFixed(1)} ${UNITS[unit]}`;
}

export function duration(seconds) {
    if (seconds === null || seconds === undefined || Number.isNaN(seconds)) {
        return "";
    }
    if (seconds < 1) {
        return `${Math.round(Math.max(0, seconds) * 1000)} ms`;
    }
    if (seconds < 10) {
        return `${seconds.toFixed(1)} s`;
    }
    const whole = Math.round(seconds);
    if (whole < 60) {
        return `${whole} s`;
    }
    if (whole < 3600) {
        return `${Math.floor(whole / 60)} min ${whole % 60} s`;
    }
    return whole < 86_400
        ? `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`
        : `${Math.floor(whole / 86_400)} d ${Math.floor((whole % 86_400) / 3600)} h`;
}

/** Milliseconds since the epoch; null for a missing time or one that an external worker wrote in its own way. */
export function time(text) {
    const parsed = typeof text === "string" ? Date.parse(text) : Number.NaN;
    return Number.isNaN(parsed) ? null : parsed;
}

export function ago(text, now = Date.now()) {
    const then = time(text);
    if (then === null) {
        return text ?? "";
    }
    const seconds = (now - then) / 1000;
    const [size, unit] = STEPS.find(([step]) => seconds >= step) ?? [];
    return seconds < 5 ? "just now" : `${Math.floor(seconds / size)} ${unit} ago`;
}

export function localTime(text) {
    const then = time(text);
    return then === null ? (text ?? "") : new Date(then).toLocaleString();
}

export function count(number, noun) {
    return `${number.toLocaleString()} ${noun}${number === 1 ? "" : "s"}`;
}

export const FAILED = [
    "FAILED_TO_EXECUTE",
    "FAILED_EXECUTOR_CONFIG",
    "FAILED_TO_GET_SOURCE_METADATA",
    "FAILED_SOURCE_COULD_NOT_BE_OBTAINED",
    "FAILED_CREATING_SOURCE_ZIP",
    "FAILED_UNZIP",
    "FAILED_TO_ARCHIVE_FILE",
    "FAILED_TO_SAVE_JOINT_ARTIFACT",
    "FAILED_TO_ADD_OBJECT_HASHES",
    "FAILED_TO_SAVE_ARTIFACT",
];

/** The kinds of statuses that filters and colors distinguish. */
export const KINDS = {
    waiting: { title: "Waiting", symbol: "◷", statuses: ["CREATED"] },
    running: { title: "Running", symbol: "▶", statuses: ["RUNNING"] },
    succeeded: { title: "Succeeded", symbol: "✓", statuses: ["SUCCESS"] },
    failed: { title: "Failed", symbol: "✕", statuses: FAILED },
    canceled: { title: "Canceled", symbol: "⊘", statuses: ["CANCELED"] },
};

/** The kind of a job's status. An external worker may report a status of its own while a job runs. */
export function kindOf(status) {
    return Object.keys(KINDS).find((kind) => KINDS[kind].statuses.includes(status)) ?? "running";
}

export const isFinished = (job) => !["waiting", "running"].includes(kindOf(job.status));

/** Seconds from the job's start to its end or, while it runs, until now. */
export function runSeconds(job, now = Date.now()) {
    const start = time(job.startTime);
    const end = isFinished(job) ? time(job.finishTime) : now;
    return start === null || end === null ? null : Math.max(0, (end - start) / 1000);
}

/** Names and hashes of the job's artifacts; the document has an empty list until there are any. */
export const resultsOf = (job) => Object.entries(Array.isArray(job.resultHashes) ? {} : (job.resultHashes ?? {}));

export const shortId = (id) => (/^[0-9a-f]{40}$/.test(id) ? id.slice(0, 10) : id);

/** A word for a POSIX shell. */
export const quoted = (word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`);
