// Terminal output as text nodes with colors.
import { html } from "../core/dom.js";
import { Anser } from "../vendor.js";

/** Escape sequences other than colors: titles, links, cursor movements. */
const OTHER_SEQUENCES =
    /\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b\[[0-9;?<=>]*[@-ln-~]|\x1b[ #%()*+][0-9A-Za-z]|\x1b[0-Z\\^-~]/g;
const CONTROLS = /[\x00-\x08\x0b-\x1f\x7f]/g;
const COLOR = /^\d{1,3}(, \d{1,3}){2}$/;

/** The text as a terminal shows it at the end: progress bars overwrite themselves after a carriage return. */
export function visibleText(line) {
    const text = line.includes("\r") ? (line.split("\r").filter(Boolean).at(-1) ?? "") : line;
    return text.includes("\x1b") ? text.replace(OTHER_SEQUENCES, "") : text;
}

const symbolOf = (control) => (control === "\x7f" ? "\u2421" : String.fromCharCode(0x2400 + control.charCodeAt(0)));
const shown = (text) => text.replace(CONTROLS, symbolOf);

export function AnsiText({ text }) {
    const visible = visibleText(text);
    if (!visible.includes("\x1b")) {
        return shown(visible);
    }
    return Anser.ansiToJson(visible, { use_classes: true, remove_empty: true }).map((part, index) => {
        const names = [
            part.fg && `fg ${part.fg}`,
            part.bg && `bg ${part.bg}-bg`,
            ...part.decorations.map((name) => `text-${name}`),
        ];
        const style = {
            ...trueColor("color", part.fg, part.fg_truecolor),
            ...trueColor("background-color", part.bg, part.bg_truecolor),
        };
        return html`<span key=${index} class=${names.filter(Boolean).join(" ")} style=${style}>${shown(part.content)}</span>`;
    });
}

/** Colors outside the sixteen named ones, which the style sheet has. */
function trueColor(property, name, rgb) {
    const found = name === "ansi-truecolor" ? rgb : paletteColor(name);
    return found && COLOR.test(found) ? { [property]: `rgb(${found})` } : {};
}

function paletteColor(name) {
    const number = Number(/^ansi-palette-(\d+)$/.exec(name ?? "")?.[1] ?? Number.NaN);
    if (number >= 232) {
        const gray = 8 + (number - 232) * 10;
        return `${gray}, ${gray}, ${gray}`;
    }
    if (number >= 16) {
        const level = (index) => (index === 0 ? 0 : 55 + index * 40);
        const cube = number - 16;
        return [Math.floor(cube / 36), Math.floor(cube / 6) % 6, cube % 6].map(level).join(", ");
    }
    return null;
}
