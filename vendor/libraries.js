// Everything that the dashboard imports from libraries.
export { h, render } from "preact";
export { useCallback, useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
export { default as htm } from "htm";
export { default as uPlot } from "uplot";
export { default as Anser } from "anser";
export { downloadZip, predictLength } from "client-zip";
