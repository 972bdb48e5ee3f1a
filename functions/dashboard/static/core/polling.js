// Repeated requests: they pause while the tab is hidden, and back off after errors.
import { useEffect, useState } from "./dom.js";

const LONGEST_BACK_OFF_MS = 30_000;

/**
 * Call `step(signal)` again and again. It returns the delay before the next call in milliseconds, or null for none.
 * Hiding the tab aborts the call; showing it starts the next one at once. Returns a function that stops all of it.
 */
export function poll(step, onError = () => {}) {
    let timer = 0;
    let failures = 0;
    let controller = new AbortController();

    async function run() {
        controller = new AbortController();
        const { signal } = controller;
        let delay;
        try {
            delay = await step(signal);
            failures = 0;
            if (!signal.aborted) {
                onError(null);
            }
        } catch (error) {
            if (signal.aborted) {
                return;
            }
            failures += 1;
            onError(error);
            delay = Math.min(LONGEST_BACK_OFF_MS, 1000 * 2 ** failures) * (0.75 + Math.random() / 2);
        }
        if (!signal.aborted && delay !== null) {
            timer = setTimeout(run, delay);
        }
    }

    function pause() {
        clearTimeout(timer);
        controller.abort();
    }

    function onVisibility() {
        pause();
        if (!document.hidden) {
            run();
        }
    }

    document.addEventListener("visibilitychange", onVisibility);
    if (!document.hidden) {
        run();
    }
    return () => {
        document.removeEventListener("visibilitychange", onVisibility);
        pause();
    };
}

/** Poll while the component is shown, from the start again when a dependency changes. Returns the last error, or null. */
export function usePolling(step, dependencies) {
    const [error, setError] = useState(null);
    useEffect(() => poll(step, setError), dependencies);
    return error;
}

/** A delay that grows while nothing changes: call it with whether something changed. */
export function growingDelay(shortest, longest) {
    let delay = shortest;
    return (changed) => {
        delay = changed ? shortest : Math.min(longest, delay * 1.5);
        return delay;
    };
}
