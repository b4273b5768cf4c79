#!/usr/bin/env node
'use strict';

// Runs the Node sailor through the scenarios and compares what it does with recorded.json.
//
//   record.js [--only REGEX] [--write]
//
// --write puts what was seen into recorded.json. NODE_PATH names the folder with elasticio-sailor-nodejs and amqplib,
// SAILOR_TEST_AMQP_URI a RabbitMQ. README.md one folder up tells more.

const fs = require('fs');
const path = require('path');
const { spawn } = require('child_process');
const { once } = require('events');
const { isDeepStrictEqual, parseArgs } = require('util');
const amqp = require('amqplib');
const { PASSWORD, VECTOR, open, seal } = require('./cipher');
const { Platform } = require('./platform');

const SAILOR = path.dirname(require.resolve('elasticio-sailor-nodejs/package.json'));
const RECORDED = path.join(__dirname, '..', 'recorded.json');
const QUEUES = { input: 'recorder:in', output: 'recorder:out', dead: 'recorder:dead' };
const EXCHANGES = { output: 'recorder:exchange', dead: 'recorder:dead-exchange' };
const BROKER = process.env.SAILOR_TEST_AMQP_URI || 'amqp://guest:guest@127.0.0.1:5672';
/** Nothing happened for this long: nothing more will. Scenarios whose sailor waits longer between tries say so. */
const QUIET_S = 1.5;
const GIVE_UP_S = 25;
const GRACE_MS = 8000;

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

async function record(scenario, channel) {
    await declare(channel);
    const platform = new Platform(scenario);
    const base = await platform.start();
    const inputs = (scenario.messages || []).map((message) => send(channel, message));

    const script = scenario.service ? ['runService.js', scenario.service] : ['run.js'];
    const sailor = spawn(process.execPath, [path.join(SAILOR, script[0]), ...script.slice(1)], {
        cwd: path.join(__dirname, 'component'), env: environment(scenario, base), stdio: 'ignore',
    });
    const ended = once(sailor, 'exit');
    await (scenario.service ? ended : quiet(scenario, channel, platform, sailor));
    const ownEnd = sailor.exitCode !== null;
    if (!ownEnd) sailor.kill('SIGTERM');
    const late = setTimeout(() => sailor.kill('SIGKILL'), GRACE_MS);
    const [status] = await ended;
    clearTimeout(late);
    while ((await channel.checkQueue(QUEUES.input)).consumerCount) await pause(10);

    const seen = {
        published: (await drain(channel, QUEUES.output)).map((message) => published(message, inputs)),
        dead_lettered: (await drain(channel, QUEUES.dead)).length,
        left_in_queue: (await channel.checkQueue(QUEUES.input)).messageCount,
        exited_by_itself: ownEnd,
        exit_ok: status === 0,
        api: platform.calls,
    };
    platform.stop();
    return normalised(seen);
}

function environment(scenario, base) {
    const elasticio = {
        FLOW_ID: 'flow1', EXEC_ID: 'exec1', STEP_ID: 'step_1', CONTAINER_ID: 'cont1', WORKSPACE_ID: 'ws1',
        USER_ID: 'user1', COMP_ID: 'comp1', FUNCTION: 'script',
        API_URI: base, API_USERNAME: 'u', API_KEY: 'k', API_REQUEST_RETRY_DELAY: '50',
        OBJECT_STORAGE_URI: base, OBJECT_STORAGE_TOKEN: 'jwt-token',
        AMQP_URI: BROKER, LISTEN_MESSAGES_ON: QUEUES.input, PUBLISH_MESSAGES_TO: EXCHANGES.output,
        DATA_ROUTING_KEY: 'data.key', ERROR_ROUTING_KEY: 'error.key',
        REBOUND_ROUTING_KEY: 'rebound.key', SNAPSHOT_ROUTING_KEY: 'snapshot.key',
        MESSAGE_CRYPTO_IV: VECTOR, MESSAGE_CRYPTO_PASSWORD: PASSWORD,
        ...scenario.env,
    };
    const env = { PATH: process.env.PATH, NODE_PATH: process.env.NODE_PATH, LOG_LEVEL: 'error' };
    for (const [name, value] of Object.entries(elasticio)) {
        if (value !== null) env[`ELASTICIO_${name}`] = value.replaceAll('{base}', base);
    }
    return env;
}

// --- The broker ----------------------------------------------------------------------------------------------------

async function declare(channel) {
    for (const queue of Object.values(QUEUES)) await channel.deleteQueue(queue);
    for (const exchange of Object.values(EXCHANGES)) await channel.deleteExchange(exchange);
    await channel.assertExchange(EXCHANGES.output, 'topic');
    await channel.assertExchange(EXCHANGES.dead, 'fanout');
    await channel.assertQueue(QUEUES.input, { deadLetterExchange: EXCHANGES.dead });
    await channel.assertQueue(QUEUES.output);
    await channel.assertQueue(QUEUES.dead);
    await channel.bindQueue(QUEUES.output, EXCHANGES.output, '#');
    await channel.bindQueue(QUEUES.dead, EXCHANGES.dead, '');
}

/** Puts a message on the step's queue and gives its body. */
function send(channel, { message, raw, error_input: errorInput, proto = 1, amqp_headers: own = {} }) {
    const headers = {
        execId: 'exec1', taskId: 'flow1', userId: 'user1', stepId: 'step_0',
        threadId: 'thread-1', messageId: 'msg-1', parentMessageId: 'parent-1',
        ...(proto > 1 && { protocolVersion: proto }), ...own,
    };
    for (const name of Object.keys(headers)) if (headers[name] === null) delete headers[name];
    const sealedParts = (parts) => Object.entries(parts).map(([name, value]) => [name, seal(value, 1).toString()]);
    const body = raw !== undefined ? Buffer.from(raw)
        : errorInput ? Buffer.from(JSON.stringify(Object.fromEntries(sealedParts(errorInput))))
            : seal(message, proto);
    channel.sendToQueue(QUEUES.input, body, { headers });
    return body;
}

async function drain(channel, queue) {
    const messages = [];
    for (let message; (message = await channel.get(queue, { noAck: true }));) messages.push(message);
    return messages;
}

/** Resolves when the sailor has ended, or queues and API have been at rest long enough. */
async function quiet(scenario, channel, platform, sailor) {
    const start = Date.now();
    let last = '';
    let since = start;
    while (sailor.exitCode === null && Date.now() - start < (scenario.max || GIVE_UP_S) * 1000) {
        const output = await channel.checkQueue(QUEUES.output);
        const input = await channel.checkQueue(QUEUES.input);
        const now = [output.messageCount, input.messageCount, platform.calls.length].join();
        if (now !== last) [last, since] = [now, Date.now()];
        if (platform.calls.length && Date.now() - since > (scenario.settle || QUIET_S) * 1000) break;
        await pause(50);
    }
}

// --- What is written down --------------------------------------------------------------------------------------------

const PROPERTIES = {
    contentType: 'content_type', contentEncoding: 'content_encoding', deliveryMode: 'delivery_mode', expiration: 'expiration',
    correlationId: 'correlation_id', replyTo: 'reply_to', messageId: 'message_id', priority: 'priority', type: 'type', appId: 'app_id',
};

function published({ fields, properties, content }, inputs) {
    const { headers } = properties;
    const named = Object.entries(PROPERTIES).filter(([ours]) => properties[ours] !== undefined);
    const props = Object.fromEntries(named.map(([ours, name]) => [name, properties[ours]]));
    return { key: fields.routingKey, props, headers, body: clear(fields.routingKey, headers, content, inputs) };
}

/** A body in clear text, by the rules of the event that the routing key stands for. */
function clear(key, headers, content, inputs) {
    if (key === 'snapshot.key') return JSON.parse(content);
    if (key === 'rebound.key') return { same_bytes_as_input: inputs.some((input) => input.equals(content)) };
    if (key === 'error.key') {
        const parts = Object.entries(JSON.parse(content));
        return Object.fromEntries(parts.map(([name, value]) => [name, typeof value === 'string' ? open(Buffer.from(value), 1) : value]));
    }
    return open(content, headers['x-eio-error-response'] ? 1 : headers.protocolVersion || 1);
}

/** A copy with sorted members, where everything that differs from run to run is replaced. */
function normalised(value, name) {
    if (Array.isArray(value)) return value.map((element) => normalised(element));
    if (value && typeof value === 'object') {
        return Object.fromEntries(Object.keys(value).sort().map((key) => [key, normalised(value[key], key)]));
    }
    if (typeof value === 'number') return name === 'start' || name === 'end' ? '<ms>' : value;
    if (typeof value !== 'string') return value;
    if (name === 'stack') return '<stack>';
    if (value.length > 200) return `<${value.length} characters>`;
    return /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(value) ? '<uuid>' : value;
}

async function main() {
    const { values: options } = parseArgs({ options: { only: { type: 'string', default: '' }, write: { type: 'boolean' } } });
    const scenarios = JSON.parse(fs.readFileSync(path.join(__dirname, '..', 'scenarios.json')));
    const recorded = JSON.parse(fs.readFileSync(RECORDED));
    const connection = await amqp.connect(BROKER);
    const channel = await connection.createChannel();
    let differing = 0;
    for (const scenario of scenarios.filter(({ name }) => new RegExp(options.only).test(name))) {
        const seen = await record(scenario, channel);
        const same = isDeepStrictEqual(seen, recorded[scenario.name]);
        console.log(`${same ? 'as recorded' : 'DIFFERS    '}  ${scenario.name}`);
        if (!same) {
            differing += 1;
            console.log(`  seen      ${JSON.stringify(seen)}\n  recorded  ${JSON.stringify(recorded[scenario.name])}`);
        }
        recorded[scenario.name] = seen;
    }
    await connection.close();
    if (options.write) fs.writeFileSync(RECORDED, `${JSON.stringify(normalised(recorded), null, 1)}\n`);
    process.exitCode = differing && !options.write ? 1 : 0;
}

main();
