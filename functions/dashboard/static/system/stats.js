// The server's totals, which an older server does not have.
import { getJson } from "../core/api.js";

/** `{jobs, pools, bytesStored}`; null if the server has no totals. */
export async function fetchStats(signal) {
    try {
        return await getJson("rest/executor/stats", { signal });
    } catch (error) {
        if (error.status === 404) {
            return null;
        }
        throw error;
    }
}
