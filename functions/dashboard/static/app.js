// The dashboard: navigation, and the page that the address names.
import { isNonceError, isSignedIn, onMissingCredential, setCredential, signOut } from "./core/credentials.js";
import { html, render, useEffect, useRef, useState } from "./core/dom.js";
import { useRoute } from "./core/router.js";
import { Dialog, Problem } from "./core/ui.js";
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
    const [signedIn, setSignedIn] = useState(isSignedIn);
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
            ${signedIn && html`<button type="button" class="small" onClick=${signOut}>Sign out</button>`}
        </header>
        <main id="main" tabindex="-1">
            ${shown === "jobs" && html`<${JobList} query=${query} />`}
            ${shown === "job" && html`<${JobPage} key=${id} id=${id} />`}
            ${shown === "submit" && html`<${Submit} />`}
            ${shown === "workers" && html`<${Workers} />`}
            ${shown === "overview" && html`<${Overview} />`}
            ${shown === "missing" && html`<h1>Not found</h1><p>This page does not exist.</p>`}
        </main>
        <${SignIn} onDone=${() => setSignedIn(true)} />`;
}

function skip(event) {
    event.preventDefault();
    document.getElementById("main").focus();
}

/** Asks for a token, or for the server's nonce, when a request needs it. */
function SignIn({ onDone }) {
    const [asked, setAsked] = useState(null);
    const [text, setText] = useState("");
    useEffect(() => onMissingCredential((error) => new Promise((resolve) => setAsked({ error, resolve }))), []);
    if (asked === null) {
        return null;
    }
    const { error, resolve } = asked;
    const name = isNonceError(error) ? "Password" : "Token";
    function submit(event) {
        event.preventDefault();
        setCredential(text.trim());
        setText("");
        setAsked(null);
        onDone();
        resolve();
    }
    return html`<${Dialog} title=${name} onClose=${() => {}}>
        <form onSubmit=${submit} onKeyDown=${(event) => event.key === "Escape" && event.preventDefault()}>
            ${isNonceError(error) ? html`<p>This server asks for its password, the value of EXECUTOR_NONCE. It is kept until this tab is closed.</p>` : html`<${AboutTokens} error=${error} />`}
            <label>
                ${name}
                <input type="password" value=${text} onInput=${(event) => setText(event.target.value)} required autofocus autocomplete="current-password" />
            </label>
            <div class="buttons"><button class="primary">Continue</button></div>
        </form>
    <//>`;
}

function AboutTokens({ error }) {
    return html`${isSignedIn() && html`<${Problem} error=${error} />`}
        <p>
            This server asks for an access token. An administrator makes one with <code>executor token create NAME</code>. It is
            kept until this tab is closed or you sign out.
        </p>
        ${error.message.includes("x-executor-nonce") && html`<p>The server's password, the value of EXECUTOR_NONCE, works too.</p>`}
        ${error.message.includes("ID token") && html`<p>An ID token of a Google account works too.</p>`}`;
}

const root = document.getElementById("app");
root.replaceChildren();
render(html`<${App} />`, root);
