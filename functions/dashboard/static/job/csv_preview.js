// A table with, if it has columns of numbers, a plot.
import { Chart, PALETTE, color } from "../core/chart.js";
import { html, useCallback, useMemo } from "../core/dom.js";
import { count } from "../core/format.js";
import { parseCsv, tableOf } from "./csv.js";

const MOST_SHOWN = 100;

export function CsvPreview({ text, separator, whole }) {
    const { header, body, columns } = useMemo(() => tableOf(parseCsv(text, separator, whole)), [text]);
    return html`${body.length > 1 && columns.length > 0 && html`<${Plot} columns=${columns} rows=${body.length} />`}
        <div class="scroll" tabindex="0" role="region" aria-label="Table">
            <table class="csv">
                <thead>
                    <tr>
                        ${header.map((name, index) => html`<th key=${index}>${name}</th>`)}
                    </tr>
                </thead>
                <tbody>
                    ${body.slice(0, MOST_SHOWN).map(
                        (row, index) => html`<tr key=${index}>
                            ${row.map((value, column) => html`<td key=${column}>${value}</td>`)}
                        </tr>`,
                    )}
                </tbody>
            </table>
        </div>
        <p class="hint">
            ${body.length > MOST_SHOWN ? `The first ${MOST_SHOWN} of ${count(body.length, "row")}.` : `${count(body.length, "row")}.`}
        </p>`;
}

/** Lines over the first column if it increases, and over the number of the row otherwise. */
function Plot({ columns, rows }) {
    const overFirst = columns.length > 1 && isIncreasing(columns[0].values);
    const shown = (overFirst ? columns.slice(1) : columns).slice(0, PALETTE.length);
    const data = useMemo(
        () => [
            overFirst ? columns[0].values : Array.from({ length: rows }, (_, index) => index + 1),
            ...shown.map(({ values }) => values),
        ],
        [columns],
    );
    const describe = useCallback(
        () => ({
            scales: { x: { time: false } },
            series: [
                { label: overFirst ? columns[0].name : "Row" },
                ...shown.map(({ name }, index) => ({ label: name, stroke: color(PALETTE[index]), width: 1.5 })),
            ],
        }),
        [columns],
    );
    return html`<${Chart} describe=${describe} data=${data} label=${`Plot of ${shown.map(({ name }) => name).join(", ")}`} />`;
}

const isIncreasing = (values) =>
    values.every((value, index) => value !== null && (index === 0 || value > values[index - 1]));
