// Runs the function of docs/how-to/webgme-plugin.md with WebGME's own clients, and prints its result as JSON.
// Usage: node plugin_example.js PORT FILE     (FILE defines `runJob`)
'use strict';
const webgme = require('webgme-engine');
const BlobClient = webgme.requirejs('blob/BlobClient');
const ExecutorClient = webgme.requirejs('executor/ExecutorClient');

const [port, file] = process.argv.slice(2);
const quiet = () => {};
const logger = {debug: quiet, log: quiet, info: quiet, warn: quiet, error: quiet, fork: () => logger};
const parameters = {server: '127.0.0.1', serverPort: port, httpsecure: false, logger};
const runJob = new Function(`${require('fs').readFileSync(file, 'utf8')}; return runJob;`)();

runJob(new BlobClient(parameters), new ExecutorClient(parameters), {'input.txt': 'from a plugin\n'}, 'cat', ['input.txt'])
    .then(result => console.log(JSON.stringify(result)), error => {
        console.error(error);
        process.exit(1);
    });
