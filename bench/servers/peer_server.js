// WebGME's own blob and executor middleware behind Express, with in-memory collections in place of MongoDB.
// Each collection finds a document by its unique key without a scan, like a MongoDB index.
// Usage: node peer_server.js BLOB_FOLDER     (NODE_PATH must name a node_modules folder with webgme-engine)
'use strict';
const path = require('path');

const engine = path.dirname(require.resolve('webgme-engine/package.json'));
const requireOfEngine = require('module').createRequire(path.join(engine, 'package.json'));
require('webgme-engine');
const middleware = name => require(path.join(engine, 'src/server/middleware', name));
const express = requireOfEngine('express');

const OPERATORS = {
    $in: (value, list) => [value].flat().some(one => list.includes(one)),
    $nin: (value, list) => ![value].flat().some(one => list.includes(one)),
    $gte: (value, bound) => value >= bound,
    $lt: (value, bound) => value < bound,
    $regex: (value, pattern) => new RegExp(pattern).test(value),
    $elemMatch: (value, condition) => (value || []).some(one => fits(one, condition)),
    $not: (value, condition) => !fits(value, condition)
};

function fits(value, condition) {
    if (condition === null || typeof condition !== 'object') { return value === condition; }
    return Object.entries(condition).every(([operator, argument]) => OPERATORS[operator](value, argument));
}

const copy = (document, hidden = {}) => {
    const result = JSON.parse(JSON.stringify(document));
    Object.keys(hidden).forEach(field => delete result[field]);
    return result;
};

class Collection {
    constructor(key) {
        this.key = key;             // name of the unique field; _id has the same value
        this.documents = new Map(); // documents by the value of the unique field, oldest first
    }

    createIndex() {}

    * matching(query) {
        const value = [query[this.key], query._id].find(one => typeof one === 'string');
        const candidates = value === undefined ? this.documents.values() : [this.documents.get(value)];
        for (const document of candidates) {
            if (document && Object.entries(query).every(([field, condition]) => fits(document[field], condition))) {
                yield document;
            }
        }
    }

    find(query, options = {}) {
        let most = Infinity, order = null;
        const cursor = {
            limit: count => { most = count; return cursor; },
            sort: fields => { order = Object.keys(fields)[0]; return cursor; },
            toArray: async () => {
                const found = [];
                for (const document of this.matching(query)) {
                    if (!order && found.length >= most) { break; }
                    found.push(document);
                }
                if (order) { found.sort((a, b) => (a[order] > b[order]) - (a[order] < b[order])); }
                return found.slice(0, most).map(document => copy(document, options.projection));
            }
        };
        return cursor;
    }

    async findOne(query, options) { return (await this.find(query, options).limit(1).toArray())[0] || null; }

    async insertOne(document) {
        const stored = copy(document);
        this.documents.set(stored[this.key], Object.assign(stored, {_id: stored[this.key]}));
    }

    async replaceOne(query, document, {upsert} = {}) {
        for (const old of this.matching(query)) {
            this.documents.set(old[this.key], Object.assign(copy(document), {_id: old._id}));
            return {matchedCount: 1};
        }
        if (upsert) { await this.insertOne(document); }
        return {matchedCount: 0};
    }

    change(found, change) {
        found.forEach(document => Object.assign(document, copy(change.$set)));
        return {matchedCount: found.length};
    }

    async updateOne(query, change, {upsert} = {}) {
        const found = this.matching(query).next();
        if (found.done && upsert) { await this.insertOne({...query, ...change.$set}); }
        return this.change(found.done ? [] : [found.value], change);
    }

    async updateMany(query, change) { return this.change([...this.matching(query)], change); }

    async deleteMany(query) {
        const found = [...this.matching(query)];
        found.forEach(document => this.documents.delete(document[this.key]));
        return {deletedCount: found.length};
    }

    async deleteOne(query) { return this.deleteMany(query); }
}

const silent = () => {};
const logger = {debug: silent, info: silent, log: silent, warn: silent, error: console.error, fork: () => logger};
const options = {
    logger,
    getUserId: request => (request.userData && request.userData.userId) || 'guest',
    ensureAuthenticated: (request, response, next) => next(),
    accessTokens: {setUserFromToken: async () => {}},
    gmeConfig: {
        debug: false,
        server: {port: 0}, // used only in the name of the folder of uploads in flight
        authentication: {allowGuests: true, guestAccount: 'guest'},
        blob: {type: 'FS', fsDir: path.resolve(process.argv[2]), namespace: '', compressionLevel: 0, allowListAll: true},
        executor: {
            authentication: {enable: false, allowGuests: true}, nonce: null, labelJobs: './labelJobs.json',
            workerRefreshInterval: 5000, clearOutputTimeout: 60000 // WebGME's defaults
        }
    }
};
const collections = {
    _executorJobList: new Collection('hash'),
    _executorWorkerList: new Collection('clientId'),
    _executorOutput: new Collection('_id')
};
const ExecutorServer = middleware('executor/ExecutorServer');
const executor = new ExecutorServer(options);
const application = express();
application.use('/rest/blob', middleware('blob/BlobServer').createExpressBlob(options));
application.use(requireOfEngine('body-parser').json());
application.use((request, response, next) => { request.body = request.body || {}; next(); });
application.use('/rest/executor', executor.router);
executor.start({mongoClient: {collection: async name => collections[name]}}).then(() => {
    const server = application.listen(0, '127.0.0.1', () => console.log(`http://127.0.0.1:${server.address().port}`));
});
