'use strict';

// Carries out `body.script`, a list of [operation, argument], in turn. Without a script it echoes what it was given.

const events = new Set(['data', 'rebound', 'snapshot', 'updateSnapshot', 'updateKeys', 'httpReply']);

exports.process = async function (msg, cfg, snapshot) {
    for (const [name, argument] of (msg.body && msg.body.script) || [['echo']]) {
        // A copy, since the sailor adds the passthrough to what it is given, and that would make the message hold itself.
        if (events.has(name)) await this.emit(name, structuredClone(argument));
        else if (name === 'error') await this.emit('error', new Error(argument));
        else if (name === 'echo') {
            await this.emit('data', { headers: {}, body: { msg, cfg, snapshot, variables: this.getFlowVariables() } });
        } else if (name === 'many') {
            for (let i = 0; i < argument; i++) await this.emit('data', { headers: {}, body: { i } });
        } else if (name === 'big') await this.emit('data', { headers: {}, body: { pad: 'x'.repeat(argument) } });
        else if (name === 'sleep') await new Promise((resolve) => setTimeout(resolve, argument));
        else if (name === 'throw') throw new Error(argument);
        else if (name === 'return') return argument;
        else if (name !== 'end') throw new Error(`no operation is called "${name}"`);
    }
};

exports.init = async () => {};
exports.startup = async (cfg) => ({ subscription: 'sub-1', cfg });
exports.shutdown = async (cfg) => {
    if (cfg.failShutdown) throw new Error('shutdown failed');
};

exports.getMetaModel = async (cfg) => {
    if (cfg.fail) throw new Error('no model today');
    return { in: { type: 'object', properties: { a: { type: 'string' } } }, out: { cfg } };
};

exports.colours = async function (cfg) {
    if (cfg.keys) await this.emit('updateKeys', { oauth: cfg.keys });
    return { red: 'Red', blue: 'Blue' };
};

exports.failing = async () => {
    throw new Error('select failed');
};
