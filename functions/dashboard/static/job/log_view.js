// A window of a log: at most 5,000 lines are in the page, whatever the log's size.
import { html, useEffect, useLayoutEffect, useRef, useState } from "../core/dom.js";
import { AnsiText } from "./ansi.js";

export const MOST_LINES = 5000;
const MOST_CHARACTERS = 1_000_000;
const EDGE_PIXELS = 100;

/** `revision` changes when the log grows; `target` is `{position, isHit}` of a line to show. */
export function LogView({ log, revision, wrap, follow, setFollow, target, label }) {
    const [lines, setLines] = useState([]);
    const box = useRef(null);
    const busy = useRef(false);
    const anchor = useRef(null);
    const lastTop = useRef(0);

    /** Replace the window; `kept` is the line whose place on the screen stays. */
    function show(found, kept) {
        const element = kept === undefined ? null : box.current?.querySelector(`[data-start="${kept.start}"]`);
        anchor.current = element ? { start: kept.start, top: element.offsetTop - box.current.scrollTop } : null;
        setLines(found);
    }

    async function exclusively(action) {
        if (busy.current) {
            return;
        }
        busy.current = true;
        try {
            await action();
        } catch {
            // The log is as it was; scrolling tries again.
        } finally {
            busy.current = false;
        }
    }

    const earlier = () =>
        exclusively(async () => {
            const found = await log.before(lines[0].start);
            show(first([...found, ...lines]), lines[0]);
        });
    const later = () =>
        exclusively(async () => {
            const found = await log.after(lines.at(-1).end);
            show(last([...lines, ...found]), lines.at(-1));
        });

    useEffect(() => {
        exclusively(async () => {
            if (target) {
                const [before, after] = await Promise.all([log.before(target.position), log.after(target.position)]);
                show([...last(before, MOST_LINES / 2), ...first(after, MOST_LINES / 2)]);
            } else if (follow) {
                show(last(await log.before(log.end)));
            } else if (lines.length === 0) {
                show(first(await log.after(log.start)));
            }
        });
    }, [log, revision, target, follow]);

    useLayoutEffect(() => {
        const element = box.current;
        const wanted = target && element.querySelector(`[data-start="${target.position}"]`);
        if (wanted) {
            const place = target.isHit ? element.clientHeight / 3 : wanted.offsetTop;
            element.scrollTop = wanted.offsetTop - place;
        } else if (follow) {
            element.scrollTop = element.scrollHeight;
        } else if (anchor.current) {
            const kept = element.querySelector(`[data-start="${anchor.current.start}"]`);
            if (kept) {
                element.scrollTop = kept.offsetTop - anchor.current.top;
            }
        }
        anchor.current = null;
    }, [lines]);

    const atStart = lines.length === 0 || lines[0].start <= log.start;
    const atEnd = lines.length === 0 || lines.at(-1).end >= log.end;

    function onScroll() {
        const { scrollTop, scrollHeight, clientHeight } = box.current;
        const bottom = scrollTop + clientHeight >= scrollHeight - EDGE_PIXELS;
        const up = scrollTop < lastTop.current;
        lastTop.current = scrollTop;
        if (follow && up && !bottom) {
            setFollow(false); // the reader goes back
        } else if (scrollTop < EDGE_PIXELS && !atStart) {
            earlier();
        } else if (bottom && !atEnd) {
            later();
        }
    }

    return html`<div
        class=${`log ${wrap ? "wrap" : ""}`}
        ref=${box}
        onScroll=${onScroll}
        tabindex="0"
        role="region"
        aria-label=${label}
    >
        ${!atStart && html`<button type="button" class="edge" onClick=${earlier}>Earlier lines</button>`}
        ${lines.map((line) => node(line, target?.isHit && line.start === target.position))}
        ${!atEnd && html`<button type="button" class="edge" onClick=${later}>Later lines</button>`}
    </div>`;
}

const NODES = new WeakMap();

/** The same node for the same line, so that Preact skips it. */
function node(line, isHit) {
    if (isHit) {
        return html`<div key=${line.start} data-start=${line.start} class="line hit"><${AnsiText} text=${line.text} /></div>`;
    }
    if (!NODES.has(line)) {
        NODES.set(
            line,
            html`<div key=${line.start} data-start=${line.start} class="line"><${AnsiText} text=${line.text} /></div>`,
        );
    }
    return NODES.get(line);
}

/** The first lines that fit into the window. */
function first(lines, most = MOST_LINES) {
    let characters = 0;
    const end = lines.findIndex((line, index) => {
        characters += line.text.length;
        return index >= most || (characters > MOST_CHARACTERS && index > 0);
    });
    return end === -1 ? lines : lines.slice(0, end);
}

function last(lines, most = MOST_LINES) {
    return first([...lines].reverse(), most).reverse();
}
