// Predators and prey (the Lotka-Volterra equations) for three growth rates: a table for each, and a report.
'use strict';
const fs = require('fs');

const STEP = 0.001;
const END = 30;

const rates = ([prey, predators], growth) => [prey * (growth - 0.1 * predators), predators * (0.075 * prey - 1)];
const plus = (state, by, step) => state.map((value, i) => value + step * by[i]);

function simulate(growth) {
    const rows = [];
    let state = [10, 5];
    for (let i = 0; i <= END / STEP; i++) {
        if (i % 100 === 0) {
            rows.push([i * STEP, ...state]);
        }
        // The midpoint method.
        state = plus(state, rates(plus(state, rates(state, growth), STEP / 2), growth), STEP);
    }
    return rows;
}

const lines = [];
for (const growth of ['0.8', '1.0', '1.2']) {
    const rows = simulate(Number(growth));
    const folder = `tables/growth-${growth}`;
    fs.mkdirSync(folder, {recursive: true});
    const table = rows.map(row => row.map(value => value.toFixed(3)).join(','));
    fs.writeFileSync(`${folder}/population.csv`, ['time,prey,predators', ...table, ''].join('\n'));
    lines.push(`growth ${growth}: up to ${Math.max(...rows.map(row => row[1])).toFixed(1)} prey`);
}
fs.writeFileSync('report.html', `<h1>Predators and prey</h1><pre>${lines.join('\n')}</pre>\n`);
console.log(lines.join('\n'));
