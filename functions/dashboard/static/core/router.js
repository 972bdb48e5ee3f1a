// The page's own addresses: `#/job/<id>?stream=stderr` is the path ["job", id] and the query stream=stderr.
import { useEffect, useState } from "./dom.js";

function current() {
    const [path, query = ""] = location.hash.replace(/^#\/?/, "").split(/\?(.*)/s);
    return { path: path.split("/").filter(Boolean).map(decode), query: new URLSearchParams(query) };
}

function decode(segment) {
    try {
        return decodeURIComponent(segment);
    } catch {
        return segment;
    }
}

export function useRoute() {
    const [route, setRoute] = useState(current);
    useEffect(() => {
        const update = () => setRoute(current());
        addEventListener("hashchange", update);
        return () => removeEventListener("hashchange", update);
    }, []);
    return route;
}

export function address(path, query = new URLSearchParams()) {
    const text = query.toString();
    return `#/${path.map(encodeURIComponent).join("/")}${text ? `?${text}` : ""}`;
}

export const jobAddress = (id) => address(["job", id]);

/** Go to an address of the page, optionally without an entry in the browser's history. */
export function go(to, { replace = false } = {}) {
    if (replace) {
        history.replaceState(null, "", to);
        dispatchEvent(new HashChangeEvent("hashchange"));
    } else {
        location.hash = to;
    }
}
