'use strict';

// A stand-in for the platform's REST API and object storage, which keeps a list of what it was asked.

const http = require('http');
const { open, seal } = require('./cipher');

const STEP = { config: { _account: 'acc1', apiKey: 'secret' }, snapshot: { last: 1 } };

exports.Platform = class Platform {
    constructor(scenario) {
        this.calls = [];
        this.step = scenario.step || STEP;
        this.startupData = scenario.hooks_data || null;
        this.objects = new Map(Object.entries(scenario.objects || {}).map(([id, value]) => [id, seal(value, 2)]));
        this.failures = Object.entries(scenario.api_fail || {}).map(([pattern, statuses]) => [new RegExp(pattern), [...statuses]]);
        this.server = http.createServer((request, response) => this.#answer(request, response));
    }

    /** Listens on a free port of loopback and gives the base address. */
    async start() {
        await new Promise((resolve) => this.server.listen(0, '127.0.0.1', resolve));
        return `http://127.0.0.1:${this.server.address().port}`;
    }

    stop() {
        this.server.close();
        this.server.closeAllConnections();
    }

    async #answer(request, response) {
        const chunks = [];
        for await (const chunk of request) chunks.push(chunk);
        const bytes = Buffer.concat(chunks);
        const call = { method: request.method, path: request.url, auth: credentials(request.headers.authorization) };
        const ordered = this.failures.find(([pattern, statuses]) => statuses.length && pattern.test(`${call.method} ${call.path}`));
        let [status, answer] = call.path.includes('/objects') ? this.#storage(call, request, bytes) : this.#api(call, bytes);
        if (ordered) [status, answer] = [ordered[1].shift(), {}];
        if (status >= 400 && !Buffer.isBuffer(answer) && !Object.keys(answer).length) answer = { error: 'failed' };
        this.calls.push({ ...call, status });
        const raw = Buffer.isBuffer(answer);
        response.writeHead(status, { 'content-type': raw ? 'application/octet-stream' : 'application/json' });
        response.end(raw ? answer : JSON.stringify(answer));
    }

    #storage(call, request, bytes) {
        if (call.method === 'POST') {
            const id = `obj-${this.objects.size + 1}`;
            this.objects.set(id, bytes);
            Object.assign(call, { object: open(bytes, 2), ctype: request.headers['content-type'] });
            return [200, { objectId: id }];
        }
        const object = this.objects.get(call.path.split('/').pop());
        return object ? [200, object] : [404, {}];
    }

    #api(call, bytes) {
        call.body = bytes.length ? JSON.parse(bytes) : null;
        if (call.path.includes('/steps/')) return [200, this.step];
        if (!call.path.endsWith('/startup/data')) return [200, {}];
        switch (call.method) {
            case 'POST':
                if (this.startupData) return [409, { error: 'exists' }];
                this.startupData = call.body;
                return [200, {}];
            case 'DELETE':
                this.startupData = null;
                return [200, {}];
            default:
                return [200, this.startupData || {}];
        }
    }
};

/** `user:key`, or `Bearer …` as it is, or nothing. */
function credentials(header = '') {
    return header.startsWith('Basic ') ? Buffer.from(header.slice(6), 'base64').toString() : header;
}
