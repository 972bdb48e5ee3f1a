// Sizes of files, which an artifact does not name: they are requested a few at once, for the files that are shown.
import { getSize } from "../core/api.js";
import { useEffect, useState } from "../core/dom.js";

const AT_ONCE = 4;

const known = new Map();
const waiting = [];
let active = 0;

/** Size of the file at this address in bytes; undefined until it is known. */
export function useSize(path) {
    const [size, setSize] = useState(known.get(path));
    useEffect(() => {
        if (known.has(path)) {
            setSize(known.get(path));
            return undefined;
        }
        const request = { path, setSize };
        waiting.push(request);
        next();
        return () => {
            request.setSize = () => {};
            const index = waiting.indexOf(request);
            if (index !== -1) {
                waiting.splice(index, 1);
            }
        };
    }, [path]);
    return size;
}

async function next() {
    if (active >= AT_ONCE || waiting.length === 0) {
        return;
    }
    active += 1;
    const request = waiting.shift();
    try {
        known.set(request.path, await getSize(request.path));
        request.setSize(known.get(request.path));
    } catch {
        // The file's preview shows the error.
    }
    active -= 1;
    next();
}
