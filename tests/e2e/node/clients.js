// Calls a server with WebGME's own clients and prints the results as JSON: {scenario: its result, or {failed: message}}.
// Usage: node clients.js URL FOLDER     (NODE_PATH must name a node_modules folder with webgme-engine)
'use strict';
const crypto = require('crypto');
const fs = require('fs');
const path = require('path');
const webgme = require('webgme-engine');
const BlobClient = webgme.requirejs('blob/BlobClient');
const ExecutorClient = webgme.requirejs('executor/ExecutorClient');

const url = new URL(process.argv[2]);
const folder = process.argv[3];
const quiet = () => {};
const logger = {debug: quiet, log: quiet, info: quiet, warn: quiet, error: quiet};
const parameters = {server: url.hostname, serverPort: url.port, httpsecure: false, logger};

const sha1 = bytes => crypto.createHash('sha1').update(bytes).digest('hex');
const failure = promise => promise.then(() => null, error => ({message: error.message, status: error.status}));

async function finished(executor, hash) {
    for (;;) {
        const info = await executor.getInfo(hash);
        if (info.status !== 'CREATED' && info.status !== 'RUNNING') {
            return info;
        }
        await new Promise(resolve => setTimeout(resolve, 20));
    }
}

async function saveJob(blob, executor, name, script, outputInterval) {
    const config = executor.getNewExecutorConfig('sh', ['-c', script], outputInterval, 1);
    config.defineResultArtifact('all', []);
    config.defineResultArtifact('csv', ['**/*.csv']);
    const artifact = blob.createArtifact(name);
    await artifact.addFile('executor_config.json', JSON.stringify(config, null, 4));
    return artifact.save();
}

const scenarios = {
    async buffers(blob) {
        const names = ['a.txt', 'ü &%+#?;=.bin', 'folder', 'empty'];
        const contents = [Buffer.from('hello\n'), Buffer.from([0, 255, 13, 10]), 'text', Buffer.alloc(0)];
        const result = {};
        for (const [i, name] of names.entries()) {
            const hash = await blob.putFile(name, contents[i]);
            const metadata = await blob.getMetadata(hash);
            const object = await blob.getObject(hash);
            result[name] = {name: metadata.name, size: metadata.size, mime: metadata.mime, object: object.toString('latin1')};
        }
        return result;
    },

    async streams(blob) {
        const bytes = crypto.randomBytes(3 * 1024 * 1024 + 1);
        fs.writeFileSync(path.join(folder, 'sent'), bytes);
        const hash = await blob.putFile('stream.bin', fs.createReadStream(path.join(folder, 'sent')));
        const received = fs.createWriteStream(path.join(folder, 'received'));
        const closed = new Promise((resolve, reject) => received.on('finish', resolve).on('error', reject));
        blob.getStreamObject(hash, received);
        await closed;
        const metadata = await blob.getMetadata(hash);
        return {
            sent: sha1(bytes), content: metadata.content, size: metadata.size,
            received: sha1(fs.readFileSync(path.join(folder, 'received')))
        };
    },

    async artifacts(blob) {
        const artifact = blob.createArtifact('many');
        await artifact.addFile('dir/ü.json', '{"a": 1}');
        await artifact.addFileAsSoftLink('dir/soft.txt', Buffer.from('soft'));
        await artifact.addFiles({'10': 'ten', '9': 'nine'});
        await artifact.addMetadataHash('linked', await blob.putFile('linked', 'link'));
        const hash = await artifact.save();
        const metadata = await blob.getMetadata(hash);
        const zip = await blob.getObject(hash);
        fs.writeFileSync(path.join(folder, 'many.zip'), zip);
        const objects = {};
        for (const name of Object.keys(metadata.content)) {
            objects[name] = (await blob.getObject(hash, null, name)).toString();
        }
        const again = await blob.getArtifact(hash);
        return {
            hash, name: metadata.name, size: metadata.size, objects, again: await again.save(),
            json: await blob.getObjectAsJSON(await blob.putFile('x.json', '{"b": [1, "ü"]}')),
            text: await blob.getObjectAsString(metadata.content['dir/soft.txt'].content)
        };
    },

    async jobs(blob, executor) {
        const hash = await saveJob(blob, executor, 'job', 'echo one; sleep 0.3; echo two; echo 1,2 > r.csv; echo e >&2', 50);
        const created = await executor.createJob({hash});
        const info = await finished(executor, hash);
        const again = await executor.createJob(hash);
        const segments = await executor.getOutput(hash);
        const all = await blob.getObject(info.resultHashes.all, null, 'job_stdout.txt');
        const csv = await blob.getMetadata(info.resultHashes.csv);
        return {
            created: {status: created.status, secret: typeof created.secret, hash: created.hash === hash},
            info, again, stdout: all.toString(), csv: Object.keys(csv.content),
            segments: segments.map(segment => segment.output),
            first: (await executor.getOutput(hash, 0, 1)).map(segment => segment.outputNumber),
            rest: (await executor.getOutput(hash, 1)).map(segment => segment.outputNumber),
            listed: (await executor.getAllInfo())[hash],
            byStatus: Object.keys(await executor.getInfoByStatus('SUCCESS')).includes(hash)
        };
    },

    async cancel(blob, executor) {
        const hash = await saveJob(blob, executor, 'long', 'sleep 600', -1);
        const {secret} = await executor.createJob({hash});
        const wrong = await failure(executor.cancelJob(hash, 'guess'));
        const right = await executor.cancelJob({hash}, secret);
        const {status} = await finished(executor, hash);
        const second = await executor.createJob({hash});
        const old = await failure(executor.cancelJob(hash, secret));
        await executor.cancelJob(hash, second.secret);
        return {wrong, right, status, second: second.status, newSecret: second.secret !== secret, old,
            last: (await finished(executor, hash)).status};
    },

    async external(blob, executor) {
        const hash = 'not a hash: some/external job ü';
        const created = await executor.createJob({hash: encodeURIComponent(hash), labels: ['without workers']});
        const id = encodeURIComponent(hash);
        const output = await failure(executor.sendOutput({hash: id, output: 'piece', outputNumber: 0}));
        const update = await executor.updateJob({hash: id, status: 'SUCCESS', resultHashes: {all: 'x'}});
        return {created: created.hash, output, update, info: await executor.getInfo(id),
            segments: await executor.getOutput(id)};
    },

    async workers(blob, executor) {
        return executor.getWorkersInfo();
    },

    async errors(blob, executor) {
        const unknown = 'a'.repeat(40);
        const file = await blob.putFile('file.txt', 'text');
        const artifact = blob.createArtifact('one');
        await artifact.addFile('there', 'x');
        const hash = await artifact.save();
        return {
            getMetadata: await failure(blob.getMetadata(unknown)),
            getObject: await failure(blob.getObject(unknown)),
            twoHashes: await failure(blob.getMetadata(`${file},${file}`)),
            subpath: await failure(blob.getObject(hash, null, 'missing')),
            info: await failure(executor.getInfo(unknown)),
            output: await failure(executor.getOutput(unknown)),
            update: await failure(executor.updateJob({hash: unknown, status: 'SUCCESS'})),
            cancel: await failure(executor.cancelJob(unknown, 'secret'))
        };
    }
};

async function main() {
    const results = {};
    for (const [name, scenario] of Object.entries(scenarios)) {
        try {
            results[name] = await scenario(new BlobClient(parameters), new ExecutorClient(parameters));
        } catch (error) {
            results[name] = {failed: error.stack || String(error)};
        }
    }
    fs.writeSync(1, JSON.stringify(results));
    process.exit(0);
}

main();
