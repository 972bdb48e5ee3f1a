// Comma-separated values as rows of strings, and the columns of numbers among them.

const MOST_ROWS = 20_000;
const MOST_COLUMNS = 100;

/** Rows of a table, up to a limit. A row that may be cut off, because the text is not the whole file, is left out. */
export function parseCsv(text, separator, whole) {
    const rows = [];
    let row = [];
    let field = "";
    let isQuoted = false;
    const endField = () => {
        if (row.length < MOST_COLUMNS) {
            row.push(field);
        }
        field = "";
    };
    for (let at = 0; at < text.length && rows.length < MOST_ROWS; at += 1) {
        const character = text[at];
        if (isQuoted) {
            if (character !== '"') {
                field += character;
            } else if (text[at + 1] === '"') {
                field += '"';
                at += 1;
            } else {
                isQuoted = false;
            }
        } else if (character === '"' && field === "") {
            isQuoted = true;
        } else if (character === separator) {
            endField();
        } else if (character === "\n") {
            endField();
            rows.push(row);
            row = [];
        } else if (character !== "\r") {
            field += character;
        }
    }
    if (whole && rows.length < MOST_ROWS && (field !== "" || row.length > 0)) {
        endField();
        rows.push(row);
    }
    return rows;
}

const number = (text) => (text === undefined || text.trim() === "" ? null : Number(text));

/** `{header, body, columns}`; a column of numbers is `{name, values}`, and a missing value is null. */
export function tableOf(rows) {
    const isNumeric = (text) => !Number.isNaN(number(text) ?? Number.NaN);
    const hasHeader = rows.length > 1 && !rows[0].some(isNumeric);
    const body = hasHeader ? rows.slice(1) : rows;
    const header = hasHeader ? rows[0] : (rows[0] ?? []).map((_, index) => `Column ${index + 1}`);
    const columns = header
        .map((name, index) => ({ name, values: body.map((row) => number(row[index])) }))
        .filter(({ values }) => values.some((value) => value !== null) && !values.some((value) => Number.isNaN(value)));
    return { header, body, columns };
}
