// Runs a job with the requests that DeepForge's compute backend sends, and prints the job's output as JSON.
// Usage: node deepforge_calls.js PORT MODULE...     (NODE_PATH must name a node_modules folder with webgme-engine)
'use strict';
const webgme = require('webgme-engine');
const BlobClient = webgme.requirejs('blob/BlobClient');
const ExecutorClient = webgme.requirejs('executor/ExecutorClient');

const [port, ...modules] = process.argv.slice(2);
const quiet = () => {};
const logger = {debug: quiet, log: quiet, info: quiet, warn: quiet, error: quiet, fork: () => logger};
const blob = new BlobClient({server: '127.0.0.1', serverPort: port, httpsecure: false, logger});
const executor = new ExecutorClient({serverPort: port, httpsecure: false, logger});

async function main() {
    const workers = Object.keys(await new Promise((resolve, reject) => {
        require('http').get(`http://127.0.0.1:${port}/rest/executor/worker`, response => {
            let text = '';
            response.on('data', data => text += data).on('end', () => resolve(JSON.parse(text)));
        }).on('error', reject);
    }));
    if (workers.length === 0) {
        throw new Error('No connected workers');
    }
    const script = `console.log('working'); ${modules.map(name => `require('${name}');`).join(' ')}
        setTimeout(() => {
            require('fs').writeFileSync('results.json', '{"x": 1}');
            console.log('done');
        }, 300);`;
    const config = {
        cmd: 'node', args: ['start.js'], outputInterval: 100, outputSegmentSize: 1,
        resultArtifacts: [
            {name: 'stdout', resultPatterns: ['job_stdout.txt']},
            {name: 'results', resultPatterns: ['results.json']}
        ]
    };
    const artifact = blob.createArtifact('job');
    await artifact.addFiles({'executor_config.json': JSON.stringify(config), 'start.js': script});
    const hash = await artifact.save();
    const {secret} = await executor.createJob({hash});

    let shown = '';
    let next = 0;
    let info;
    do {
        await new Promise(resolve => setTimeout(resolve, 50));
        info = await executor.getInfo(hash);
        if (info.outputNumber !== null && info.outputNumber >= next) {
            const segments = await executor.getOutput(hash, next, info.outputNumber + 1);
            shown += segments.map(segment => segment.output).join('');
            next = info.outputNumber + 1;
        }
    } while (info.status === 'CREATED' || info.status === 'RUNNING');

    const fileHash = async (name, file) =>
        (await blob.getArtifact(info.resultHashes[name])).descriptor.content[file].content;
    const stdout = await blob.getObjectAsString(await fileHash('stdout', 'job_stdout.txt'));
    const results = await blob.getObjectAsJSON(await fileHash('results', 'results.json'));
    console.log(JSON.stringify({status: info.status, secret: typeof secret, shown, stdout, results}));
}

main().catch(error => {
    console.error(error);
    process.exit(1);
});
