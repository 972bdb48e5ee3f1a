// webgme-executor-worker mistakes the global `File` of Node.js 20 and later for a browser's and exits.
delete globalThis.File;
