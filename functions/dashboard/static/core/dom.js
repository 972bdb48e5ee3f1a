// The markup function and the hooks that all components use.
import { h, htm } from "../vendor.js";

export { render, useCallback, useEffect, useLayoutEffect, useMemo, useRef, useState } from "../vendor.js";

/** Markup as virtual nodes: values become text nodes or properties, never HTML. */
export const html = htm.bind(h);
