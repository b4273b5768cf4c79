'use strict';

exports.process = async function echo(message) {
    await this.emit('data', { headers: {}, body: message.body });
};
