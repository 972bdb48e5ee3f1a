// The user's credential, a token or the server's nonce. It is kept until the tab is closed or the user signs out.

const TOKEN = "executor-token";
const NONCE = "executor-nonce";

/** Starts of the server's own tokens and of ID tokens. */
const TOKEN_START = /^(cex_|eyJ)/;

let ask = null;
let asked = null;

/** Set the function that gets the error of a refused request, and resolves when the user has given a credential. */
export function onMissingCredential(asker) {
    ask = asker;
}

/** Keep a credential instead of the one before. */
export function setCredential(text) {
    const key = TOKEN_START.test(text) ? TOKEN : NONCE;
    sessionStorage.removeItem(key === TOKEN ? NONCE : TOKEN);
    sessionStorage.setItem(key, text);
}

export const hasToken = () => sessionStorage.getItem(TOKEN) !== null;
export const isSignedIn = () => hasToken() || sessionStorage.getItem(NONCE) !== null;

/** Forget the credential and, by loading the page again, everything that was shown with it. */
export function signOut() {
    sessionStorage.removeItem(TOKEN);
    sessionStorage.removeItem(NONCE);
    location.reload();
}

/** The headers that identify the user. Every request to the server has them. */
export function credentials() {
    if (hasToken()) {
        return { Authorization: `Bearer ${sessionStorage.getItem(TOKEN)}` };
    }
    return isSignedIn() ? { "x-executor-nonce": sessionStorage.getItem(NONCE) } : {};
}

/** The same for curl, without the credential itself: a variable, and the header with it. */
export function headerForCurl() {
    return hasToken()
        ? { variable: "EXECUTOR_TOKEN", option: '-H "Authorization: Bearer $EXECUTOR_TOKEN"' }
        : { variable: "EXECUTOR_NONCE", option: '-H "x-executor-nonce: $EXECUTOR_NONCE"' };
}

/** Call `request(headers)`, and again with another credential while the server refuses the one that was sent. */
export async function withCredentials(request) {
    for (;;) {
        const sent = JSON.stringify(credentials());
        try {
            return await request(JSON.parse(sent));
        } catch (error) {
            if (ask === null || !(error.status === 401 || isNonceError(error))) {
                throw error;
            }
            // Requests that are refused at the same time ask once.
            if (JSON.stringify(credentials()) === sent) {
                asked ??= ask(error).finally(() => {
                    asked = null;
                });
                await asked;
            }
        }
    }
}

export const isNonceError = (error) => error.status === 403 && error.message.includes("x-executor-nonce");

/** Take a token from the page's address, `#token=…`, which then names the list of jobs. Returns whether there was one. */
function takeToken() {
    const [, token] = location.hash.match(/^#token=([!-~]+)$/) ?? [];
    if (token !== undefined) {
        history.replaceState(null, "", "#/jobs");
        setCredential(token);
    }
    return token !== undefined;
}

takeToken();
// The address was opened in a tab that already had the page, maybe with the jobs of another user.
addEventListener("hashchange", () => takeToken() && location.reload());
