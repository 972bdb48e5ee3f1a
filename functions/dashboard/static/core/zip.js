// Read a zip's list of files, and single files, without reading the rest of it.

const END = 0x06054b50;
const ENTRY = 0x02014b50;
const END_BYTES = 22;
const LONGEST_COMMENT = 65_535;
const LARGEST_DIRECTORY = 8_000_000;

export class NotReadable extends Error {}

/** Entries `{name, size, ...}` of a zip of this size. `read(start, end)` returns its bytes. Throws NotReadable. */
export async function zipEntries(size, read) {
    const tail = await read(Math.max(0, size - END_BYTES - LONGEST_COMMENT), size);
    const view = viewOf(tail);
    let at = tail.length - END_BYTES;
    while (at >= 0 && view.getUint32(at, true) !== END) {
        at -= 1;
    }
    if (at < 0) {
        throw new NotReadable("This is not a zip.");
    }
    const length = view.getUint32(at + 12, true);
    const start = view.getUint32(at + 16, true);
    if (start === 0xffffffff || length > LARGEST_DIRECTORY || start + length > size) {
        throw new NotReadable("This zip is too large to be shown here.");
    }
    return directoryEntries(await read(start, start + length));
}

function directoryEntries(bytes) {
    const view = viewOf(bytes);
    const entries = [];
    for (let at = 0; at + 46 <= bytes.length && view.getUint32(at, true) === ENTRY;) {
        const [nameLength, extraLength, commentLength] = [28, 30, 32].map((offset) =>
            view.getUint16(at + offset, true),
        );
        entries.push({
            name: new TextDecoder().decode(bytes.subarray(at + 46, at + 46 + nameLength)),
            method: view.getUint16(at + 10, true),
            packed: view.getUint32(at + 20, true),
            size: view.getUint32(at + 24, true),
            start: view.getUint32(at + 42, true),
        });
        at += 46 + nameLength + extraLength + commentLength;
    }
    return entries;
}

/** The content of an entry, up to a number of bytes. Throws NotReadable. */
export async function entryBytes(entry, read, longest) {
    const header = viewOf(await read(entry.start, entry.start + 30));
    if (header.byteLength < 30) {
        throw new NotReadable("The zip is damaged.");
    }
    const start = entry.start + 30 + header.getUint16(26, true) + header.getUint16(28, true);
    const packed = await read(start, start + Math.min(entry.packed, longest));
    if (entry.method === 0) {
        return packed;
    }
    if (entry.method !== 8) {
        throw new NotReadable("The file is compressed in a way that browsers cannot read.");
    }
    const reader = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate-raw")).getReader();
    const chunks = [];
    let size = 0;
    try {
        while (size < longest) {
            const { done, value } = await reader.read();
            if (done) {
                break;
            }
            chunks.push(value);
            size += value.length;
        }
    } catch {
        throw new NotReadable("The file in the zip is damaged.");
    } finally {
        reader.cancel().catch(() => {});
    }
    return new Uint8Array(await new Blob(chunks).arrayBuffer()).subarray(0, longest);
}

const viewOf = (bytes) => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
