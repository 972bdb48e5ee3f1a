// Where the lines of a log come from. A line is `{start, end, text}`; `start` and `end` are positions in the log.

/** Characters of a line that are shown. */
export const LONGEST_LINE = 10_000;
/** Bytes read at once. */
const PIECE_BYTES = 256 * 1024;
const SEARCH_BYTES = 4 * 1024 * 1024;
const MOST_HITS = 1000;
const MOST_KEPT_LINES = 100_000;
const MOST_KEPT_CHARACTERS = 20_000_000;
const LIVE_PIECE_LINES = 2000;

const DECODER = new TextDecoder(); // invalid bytes become replacement characters

function cut(text) {
    return text.length <= LONGEST_LINE
        ? text
        : `${text.slice(0, LONGEST_LINE)} … (${(text.length - LONGEST_LINE).toLocaleString()} more characters)`;
}

/** What a search compares: colors in the middle of words do not matter. */
const searchable = (text) => (text.includes("\x1b") ? text.replace(/\x1b\[[0-9;:]*m/g, "") : text).toLowerCase();

/** A stored log: positions are offsets in bytes. `read(start, end)` returns its bytes. */
export class BlobLog {
    start = 0;

    constructor(size, read) {
        this.end = size;
        this.read = read;
    }

    /** Lines from a position that is the start of a line. */
    async after(position) {
        const end = Math.min(this.end, position + PIECE_BYTES);
        const lines = linesOf(await this.read(position, end), position);
        if (end < this.end && lines.length > 1 && !lines.at(-1).ended) {
            lines.pop(); // the rest of the line is in the next piece
        }
        return lines;
    }

    /** Lines before a position that is the start of a line, or the end of the log. */
    async before(position) {
        const start = Math.max(0, position - PIECE_BYTES);
        const lines = linesOf(await this.read(start, position), start);
        if (start > 0 && lines.length > 1) {
            lines.shift(); // its beginning is in the previous piece
        }
        return lines;
    }

    /** Lines that contain the text, in any case. `onProgress(bytes, hits)` is called after each piece. */
    async search(query, onProgress) {
        const wanted = query.toLowerCase();
        const hits = [];
        let position = 0;
        while (position < this.end && hits.length < MOST_HITS) {
            const bytes = await this.read(position, Math.min(this.end, position + SEARCH_BYTES));
            if (bytes.length === 0) {
                break;
            }
            const last = bytes.lastIndexOf(10) + 1;
            // A line longer than a piece is searched in pieces.
            const whole = position + bytes.length >= this.end || last === 0 ? bytes : bytes.subarray(0, last);
            const text = searchable(DECODER.decode(whole));
            if (text.includes(wanted)) {
                const found = linesWith(wanted, text, whole).slice(0, MOST_HITS - hits.length);
                hits.push(...found.map((start) => position + start));
            }
            position += whole.length;
            onProgress(position, [...hits]);
        }
        return { hits, searched: position, complete: position >= this.end };
    }
}

/** Where the lines that contain `wanted` start in these bytes, whose text this is. */
function linesWith(wanted, text, bytes) {
    const starts = [];
    let start = 0;
    for (const line of text.split("\n")) {
        if (line.includes(wanted)) {
            starts.push(start);
        }
        start = bytes.indexOf(10, start) + 1;
    }
    return starts;
}

/** Split bytes at line ends. */
function linesOf(bytes, offset) {
    const lines = [];
    let start = 0;
    while (start < bytes.length) {
        const found = bytes.indexOf(10, start);
        const end = found === -1 ? bytes.length : found + 1;
        const text = DECODER.decode(bytes.subarray(start, found === -1 ? end : found));
        lines.push({ start: offset + start, end: offset + end, text: cut(text), ended: found !== -1 });
        start = end;
    }
    return lines;
}

/** The output of a running job, as far as it has arrived: positions are numbers of lines. */
export class LiveLog {
    #lines = [];
    #characters = 0;
    #partial = "";
    /** Position of the first line that is kept. */
    start = 0;

    get end() {
        return this.start + this.#lines.length;
    }

    append(text) {
        const parts = (this.#partial + text).split("\n");
        if (this.#partial) {
            this.#drop(this.#lines.pop());
        }
        this.#partial = parts.pop();
        if (this.#partial.length > 2 * LONGEST_LINE) {
            parts.push(this.#partial); // an endless line is shown in pieces
            this.#partial = "";
        }
        for (const part of this.#partial ? [...parts, this.#partial] : parts) {
            const position = this.end;
            this.#lines.push({ start: position, end: position + 1, text: cut(part) });
            this.#characters += Math.min(part.length, LONGEST_LINE);
        }
        const excess = this.#excess();
        this.#lines.splice(0, excess).forEach((line) => this.#drop(line));
        this.start += excess;
    }

    #drop(line) {
        this.#characters -= Math.min(line.text.length, LONGEST_LINE);
    }

    #excess() {
        if (this.#lines.length <= MOST_KEPT_LINES && this.#characters <= MOST_KEPT_CHARACTERS) {
            return 0;
        }
        return Math.max(this.#lines.length - MOST_KEPT_LINES, Math.ceil(this.#lines.length / 10));
    }

    async after(position) {
        const from = Math.max(position, this.start) - this.start;
        return this.#lines.slice(from, from + LIVE_PIECE_LINES);
    }

    async before(position) {
        const to = Math.max(position - this.start, 0);
        return this.#lines.slice(Math.max(0, to - LIVE_PIECE_LINES), to);
    }

    async search(query, onProgress) {
        const wanted = query.toLowerCase();
        const hits = this.#lines.filter((line) => searchable(line.text).includes(wanted)).map((line) => line.start);
        onProgress(this.#lines.length, hits);
        return { hits: hits.slice(0, MOST_HITS), searched: this.#lines.length, complete: this.start === 0 };
    }

    text() {
        return this.#lines.map((line) => line.text).join("\n");
    }
}
