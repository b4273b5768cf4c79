'use strict';

// The platform's encryption with the password and the vector that the scenarios use (contract: AES-256-CBC).

const { createCipheriv, createDecipheriv, createHash } = require('crypto');

exports.PASSWORD = 'testCryptoPassword';
exports.VECTOR = 'iv=any16_symbols';

const key = createHash('sha256').update(exports.PASSWORD).digest();

const whole = (stream, bytes) => Buffer.concat([stream.update(bytes), stream.final()]);

/** A value as the bytes of a message body: base64 text below protocol 2. */
exports.seal = (value, protocol) => {
    const sealed = whole(createCipheriv('aes-256-cbc', key, exports.VECTOR), Buffer.from(JSON.stringify(value)));
    return protocol < 2 ? Buffer.from(sealed.toString('base64')) : sealed;
};

/** The value in a message body, or a mark that it cannot be read. */
exports.open = (bytes, protocol) => {
    try {
        const sealed = protocol < 2 ? Buffer.from(bytes.toString(), 'base64') : bytes;
        return JSON.parse(whole(createDecipheriv('aes-256-cbc', key, exports.VECTOR), sealed));
    } catch {
        return '<undecodable>';
    }
};
