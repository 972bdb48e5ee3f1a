// Totals, and charts of the latest jobs.
import { send } from "../core/api.js";
import { Chart, TIME_AXIS, TIME_VALUE, color, uPlot } from "../core/chart.js";
import { html, useCallback, useMemo, useState } from "../core/dom.js";
import { KINDS, bytes, count, duration, isFinished } from "../core/format.js";
import { usePolling } from "../core/polling.js";
import { address } from "../core/router.js";
import { Connection, Problem } from "../core/ui.js";
import { OUTCOMES, jobsPerHour, medianSeconds, times } from "./history.js";
import { fetchStats } from "./stats.js";

const DELAY_MS = 15_000;
const MOST_JOBS = 1000;
const HALF_AN_HOUR = 1800;
const SHORTEST_SPAN = 600;
const FIELDS = "status,createTime,startTime,finishTime,durations";

export function Overview() {
    const [found, setFound] = useState(null);
    const error = usePolling(async (signal) => {
        const query = new URLSearchParams({ limit: MOST_JOBS, order: "newest", fields: FIELDS });
        const [response, stats] = await Promise.all([send(`rest/executor/?${query}`, { signal }), fetchStats(signal)]);
        const link = response.headers.get("Link") ?? "";
        const jobs = Object.values(await response.json());
        if (!signal.aborted) {
            // An older server sends its oldest jobs, which say nothing about the present.
            setFound({ stats, jobs: link && !link.includes("order=newest") ? null : jobs, more: link !== "" });
        }
        return DELAY_MS;
    }, []);
    const title = html`<h1>Overview</h1>`;
    if (found === null) {
        return html`${title}${error ? html`<${Problem} error=${error} />` : html`<p class="loading" role="status">Loading …</p>`}`;
    }
    return html`${title}
        <${Connection} error=${error} />
        ${found.stats && html`<${Totals} stats=${found.stats} />`}
        ${found.jobs === null && html`<p class="hint">Charts are not available, because this server cannot list its newest jobs first.</p>`}
        ${found.jobs?.length === 0 && html`<p class="empty">No jobs yet.</p>`}
        ${found.jobs?.length > 0 && html`<${Charts} jobs=${found.jobs} more=${found.more} />`}`;
}

function Totals({ stats }) {
    const ofKind = (kind) => KINDS[kind].statuses.reduce((sum, status) => sum + (stats.jobs[status] ?? 0), 0);
    return html`<ul class="tiles">
        ${Object.entries(KINDS).map(
            ([kind, { title, symbol }]) => html`<li key=${kind}>
                <a class=${`tile ${kind}`} href=${address(["jobs"], new URLSearchParams({ status: kind }))}>
                    <span><span class="symbol" aria-hidden="true">${symbol}</span> ${title}</span>
                    <strong>${ofKind(kind).toLocaleString()}</strong>
                </a>
            </li>`,
        )}
        ${
            typeof stats.bytesStored === "number" &&
            html`<li><div class="tile"><span>Stored</span> <strong>${bytes(stats.bytesStored)}</strong></div></li>`
        }
    </ul>`;
}

function Charts({ jobs, more }) {
    const finished = useMemo(() => jobs.filter(isFinished), [jobs]);
    const perHour = useMemo(() => jobsPerHour(finished), [finished]);
    const points = useMemo(() => times(jobs), [jobs]);
    const bars = useCallback(() => {
        const paths = uPlot.paths.bars({ size: [0.8, 60] });
        const series = OUTCOMES.map(({ title, variable }) => ({
            label: title,
            stroke: color(variable),
            fill: color(variable),
            paths,
            points: { show: false },
        }));
        return {
            scales: {
                x: { range: (_, first, last) => [first - HALF_AN_HOUR, last + HALF_AN_HOUR] },
                y: { range: (_, least, most) => [0, Math.max(1, most * 1.1)] },
            },
            axes: [TIME_AXIS, { incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000] }],
            // The bars are drawn one over the other, so each legend shows its own part of the sum.
            series: [
                { label: "Hour", value: TIME_VALUE },
                ...series.map((entry, index) => ({
                    ...entry,
                    value: (_, __, ___, at) => (at === null ? "" : perHour.parts[index][at]),
                })),
            ],
        };
    }, [perHour]);
    const scatter = useCallback(() => {
        const dots = (label, variable) => ({
            label,
            stroke: color(variable),
            fill: color(variable),
            paths: () => null,
            points: { show: true, size: 5, fill: color(variable) },
            value: (_, seconds) => duration(seconds),
        });
        const decades = (_, values) => values.map((value) => (isDecade(value) ? value : null));
        return {
            scales: {
                x: { range: (_, first, last) => [Math.min(first, last - SHORTEST_SPAN), last] },
                y: { distr: 3 },
            },
            axes: [
                TIME_AXIS,
                {
                    size: 70,
                    filter: decades,
                    grid: { filter: decades },
                    ticks: { filter: decades },
                    values: (_, values) =>
                        values.map((value) => (value === null ? null : `${value.toLocaleString()} s`)),
                },
            ],
            series: [
                { label: "Created", value: TIME_VALUE },
                dots("Queue time", "--chart-2"),
                dots("Run time", "--chart-1"),
            ],
        };
    }, [points]);
    const scope = more ? `The latest ${count(jobs.length, "job")}` : `All ${count(jobs.length, "job")}`;
    return html`<p class="hint">${scope}${medianSeconds(points)}</p>
        ${
            finished.length > 0 &&
            html`<section aria-labelledby="per-hour">
            <h2 id="per-hour">Ended jobs per hour</h2>
            <${Chart} describe=${bars} data=${perHour.data} label="Jobs that ended in each hour, by outcome" />
        </section>`
        }
        ${
            points[0].length > 0 &&
            html`<section aria-labelledby="times">
            <h2 id="times">Queue time and run time</h2>
            <${Chart} describe=${scatter} data=${points} label="Queue time and run time of each job, by the time it was created" />
        </section>`
        }`;
}

const isDecade = (value) => Number.isInteger(Math.round(Math.log10(value) * 1e6) / 1e6);
