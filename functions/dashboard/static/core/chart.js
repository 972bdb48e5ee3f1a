// Charts with uPlot, in the page's colors.
import { html, useEffect, useRef, useState } from "./dom.js";
import { uPlot } from "../vendor.js";

const DARK = matchMedia("(prefers-color-scheme: dark)");

/** Color from the style sheet, by the name of its variable. */
export const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** Labels of a time axis, with 24 hours: the least distance of labels, their format, and what is added when it changes. */
const TIME_LABELS = [
    [31_536_000, "{YYYY}", null, null, null, null, null, null, 1],
    [2_419_200, "{MMM}", "\n{YYYY}", null, null, null, null, null, 1],
    [86_400, "{MMM} {D}", "\n{YYYY}", null, null, null, null, null, 1],
    [60, "{HH}:{mm}", "\n{MMM} {D} {YYYY}", null, "\n{MMM} {D}", null, null, null, 1],
    [1, "{HH}:{mm}:{ss}", "\n{MMM} {D} {YYYY}", null, "\n{MMM} {D}", null, null, null, 1],
    [0.001, "{ss}.{fff}", "\n{MMM} {D} {YYYY}", null, "\n{MMM} {D}", null, "\n{HH}:{mm}", null, 1],
];
export const TIME_AXIS = { values: TIME_LABELS, space: 90 };
export const TIME_VALUE = "{YYYY}-{MM}-{DD} {HH}:{mm}";

export const PALETTE = ["--chart-1", "--chart-2", "--chart-3", "--chart-4", "--chart-5"];

/** `describe()` returns uPlot's options; it is called again when the color scheme changes. `label` is for screen readers. */
export function Chart({ describe, data, label, height = 220 }) {
    const box = useRef(null);
    const [dark, setDark] = useState(DARK.matches);
    useEffect(() => {
        const update = () => setDark(DARK.matches);
        DARK.addEventListener("change", update);
        return () => DARK.removeEventListener("change", update);
    }, []);
    useEffect(() => {
        const element = box.current;
        const axis = {
            stroke: color("--muted"),
            grid: { stroke: color("--line"), width: 1 },
            ticks: { stroke: color("--line"), width: 1 },
        };
        const options = describe();
        const axes = (options.axes ?? [{}, {}]).map((given) => ({
            ...axis,
            ...given,
            grid: { ...axis.grid, ...given.grid },
            ticks: { ...axis.ticks, ...given.ticks },
        }));
        const plot = new uPlot({ ...options, axes, width: element.clientWidth, height }, data, element);
        const observer = new ResizeObserver(() => plot.setSize({ width: element.clientWidth, height }));
        observer.observe(element);
        return () => {
            observer.disconnect();
            plot.destroy();
        };
    }, [data, describe, dark, height]);
    return html`<div class="chart" ref=${box} role="img" aria-label=${label}></div>`;
}

export { uPlot };
