// Uses a blob folder with WebGME's own code for files, as its server and its commands do: stores a file and prints its
// hash, then prints the content of another blob.
// Usage: node blob_folder.js FOLDER HASH     (NODE_PATH must name a node_modules folder with webgme-engine)
'use strict';
const path = require('path');
const engine = path.dirname(require.resolve('webgme-engine/package.json'));
require('webgme-engine');
const BlobClient = require(path.join(engine, 'src/server/middleware/blob/BlobClientWithFSBackend'));

const quiet = () => {};
const logger = {debug: quiet, log: quiet, info: quiet, warn: quiet, error: quiet, fork: () => logger};
const [folder, hash] = process.argv.slice(2);
const blob = new BlobClient({blob: {type: 'FS', fsDir: folder}, server: {port: 8888}}, logger);

async function main() {
    console.log(await blob.putFile('from-webgme.txt', 'written by WebGME\n'));
    process.stdout.write(Buffer.from(await blob.getObject(hash)));
}

main().catch(error => {
    console.error(error);
    process.exit(1);
});
