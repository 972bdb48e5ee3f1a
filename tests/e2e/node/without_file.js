// webgme-executor-worker takes the `File` of Node 20 and newer for a browser's, and ends.
delete globalThis.File;
