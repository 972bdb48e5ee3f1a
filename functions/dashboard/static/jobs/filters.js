// The filters above the list.
import { html, useEffect, useRef, useState } from "../core/dom.js";
import { KINDS } from "../core/format.js";
import { SPANS, isFiltered } from "./query.js";

const TYPING_MS = 300;
const SPAN_TITLES = { "1h": "Last hour", "24h": "Last 24 hours", "7d": "Last 7 days", "30d": "Last 30 days" };

export function Filters({ filters, onChange }) {
    const change = (part) => onChange({ ...filters, ...part, after: "" });
    const toggle = (kind) =>
        change({
            kinds: filters.kinds.includes(kind)
                ? filters.kinds.filter((other) => other !== kind)
                : [...filters.kinds, kind],
        });
    return html`<search class="filters">
        <div class="kinds" role="group" aria-label="Status">
            ${Object.entries(KINDS).map(
                ([kind, { title, symbol }]) => html`<button
                    key=${kind}
                    type="button"
                    class=${`toggle ${kind}`}
                    aria-pressed=${filters.kinds.includes(kind)}
                    onClick=${() => toggle(kind)}
                >
                    <span class="symbol" aria-hidden="true">${symbol}</span> ${title}
                </button>`,
            )}
        </div>
        <div class="fields">
            <${Field} name="q" label="Name prefix or id" type="search" wide value=${filters.q} onChange=${change} />
            <${Field} name="label" label="Label" value=${filters.label} onChange=${change} />
            <${Field} name="tag" label="Tag" value=${filters.tag} onChange=${change} />
            <label>
                Created
                <select value=${filters.since} onChange=${(event) => change({ since: event.target.value })}>
                    <option value="">Any time</option>
                    ${Object.keys(SPANS).map((span) => html`<option key=${span} value=${span}>${SPAN_TITLES[span]}</option>`)}
                    <option value="custom">From … to …</option>
                </select>
            </label>
            ${
                filters.since === "custom" &&
                html`<${Field} name="from" label="From" type="datetime-local" value=${filters.from} onChange=${change} />
                <${Field} name="to" label="To" type="datetime-local" value=${filters.to} onChange=${change} />`
            }
            ${
                isFiltered(filters) &&
                html`<button
                type="button"
                onClick=${() => change({ kinds: [], q: "", label: "", tag: "", since: "", from: "", to: "" })}
            >
                Clear
            </button>`
            }
        </div>
    </search>`;
}

/** A field that reports its value shortly after the last key. */
function Field({ name, label, value, onChange, type = "text", wide = false }) {
    const [text, setText] = useState(value);
    const timer = useRef(0);
    const reported = useRef(value);
    useEffect(() => {
        if (value !== reported.current) {
            reported.current = value; // the address changed otherwise: back, or Clear
            setText(value);
        }
    }, [value]);
    function report(found) {
        clearTimeout(timer.current);
        reported.current = found;
        onChange({ [name]: found });
    }
    function type_(event) {
        const found = event.target.value;
        setText(found);
        clearTimeout(timer.current);
        timer.current = setTimeout(() => report(found.trim()), TYPING_MS);
    }
    return html`<label class=${wide ? "wide" : ""}>
        ${label}
        <input type=${type} value=${text} onInput=${type_} autocomplete="off" spellcheck=${false} />
    </label>`;
}
