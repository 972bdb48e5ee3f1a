// JSON as a tree whose branches are rendered when they are opened.
import { html, useState } from "../core/dom.js";
import { count } from "../core/format.js";

const MOST_CHILDREN = 500;

/** The first `levels` levels are open. */
export function JsonTree({ name, value, levels = 0 }) {
    const [isOpen, setOpen] = useState(levels > 0);
    const key = name === undefined ? null : html`<span class="json-key">${name}: </span>`;
    if (value === null || typeof value !== "object") {
        return html`<div class="json-leaf">${key}<span class=${`json-${typeof value}`}>${JSON.stringify(value)}</span></div>`;
    }
    const entries = Object.entries(value);
    const size = Array.isArray(value) ? `[${count(entries.length, "element")}]` : `{${count(entries.length, "field")}}`;
    return html`<details class="json" open=${isOpen} onToggle=${(event) => setOpen(event.currentTarget.open)}>
        <summary>${key}<span class="muted">${size}</span></summary>
        ${
            isOpen &&
            entries
                .slice(0, MOST_CHILDREN)
                .map(
                    ([child, found]) =>
                        html`<${JsonTree} key=${child} name=${child} value=${found} levels=${levels - 1} />`,
                )
        }
        ${
            isOpen &&
            entries.length > MOST_CHILDREN &&
            html`<p class="hint">… and ${(entries.length - MOST_CHILDREN).toLocaleString()} more</p>`
        }
    </details>`;
}
