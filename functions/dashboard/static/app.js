// The dashboard: navigation, and the page that the address names.
import { onMissingNonce, setNonce } from "./core/api.js";
import { html, render, useEffect, useRef, useState } from "./core/dom.js";
import { useRoute } from "./core/router.js";
import { Dialog } from "./core/ui.js";
import { JobPage } from "./job/page.js";
import { JobList } from "./jobs/list.js";
import { Submit } from "./submit/page.js";
import { Overview } from "./system/overview.js";
import { Workers } from "./system/workers.js";

const PAGES = { jobs: "Jobs", submit: "New job", workers: "Workers", overview: "Overview" };

function App() {
    const { path, query } = useRoute();
    const [name = "jobs", id] = path;
    const shown = name in PAGES || (name === "job" && id !== undefined) ? name : "missing";
    const isFirst = useRef(true);
    useEffect(() => {
        document.title = `${shown === "job" ? id : (PAGES[shown] ?? "Not found")} · Cloud Executor`;
        if (!isFirst.current) {
            scrollTo(0, 0);
            document.getElementById("main").focus({ preventScroll: true });
        }
        isFirst.current = false;
    }, [shown, id]);
    return html`<a class="skip" href="#main" onClick=${skip}>Skip to the content</a>
        <header class="top">
            <a class="brand" href="#/jobs"><img src=${new URL("icon.svg", import.meta.url).href} alt="" /> Cloud Executor</a>
            <nav aria-label="Pages">
                ${Object.entries(PAGES).map(
                    ([page, title]) => html`<a
                        key=${page}
                        href=${`#/${page}`}
                        aria-current=${page === shown || (page === "jobs" && shown === "job") ? "page" : undefined}
                        >${title}</a
                    >`,
                )}
            </nav>
        </header>
        <main id="main" tabindex="-1">
            ${shown === "jobs" && html`<${JobList} query=${query} />`}
            ${shown === "job" && html`<${JobPage} key=${id} id=${id} />`}
            ${shown === "submit" && html`<${Submit} />`}
            ${shown === "workers" && html`<${Workers} />`}
            ${shown === "overview" && html`<${Overview} />`}
            ${shown === "missing" && html`<h1>Not found</h1><p>There is no such page.</p>`}
        </main>
        <${NonceDialog} />`;
}

function skip(event) {
    event.preventDefault();
    document.getElementById("main").focus();
}

/** Asks for the server's nonce when a request needs it. */
function NonceDialog() {
    const [resolve, setResolve] = useState(null);
    const [text, setText] = useState("");
    useEffect(() => onMissingNonce(() => new Promise((given) => setResolve(() => given))), []);
    if (resolve === null) {
        return null;
    }
    function submit(event) {
        event.preventDefault();
        setNonce(text);
        setText("");
        setResolve(null);
        resolve();
    }
    return html`<${Dialog} title="Password" onClose=${() => {}}>
        <form onSubmit=${submit} onKeyDown=${(event) => event.key === "Escape" && event.preventDefault()}>
            <p>This server asks for its password, the value of EXECUTOR_NONCE. It is kept until this tab is closed.</p>
            <label>
                Password
                <input type="password" value=${text} onInput=${(event) => setText(event.target.value)} required autofocus autocomplete="current-password" />
            </label>
            <div class="buttons"><button class="primary">Continue</button></div>
        </form>
    <//>`;
}

const root = document.getElementById("app");
root.replaceChildren();
render(html`<${App} />`, root);
