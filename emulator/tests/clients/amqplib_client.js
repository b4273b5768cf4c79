'use strict';
// Talks to a broker with amqplib and checks every answer. Arguments: URI, prefix for names.

const assert = require('node:assert/strict');
const { once } = require('node:events');
const amqplib = require('amqplib');

const [uri, prefix] = process.argv.slice(2);
const [exchange, queue, dead, small] = ['exchange', 'queue', 'dead', 'small'].map((name) => `${prefix}.${name}`);

async function fetch(channel, name) {
    for (;;) {
        const message = await channel.get(name, { noAck: true });
        if (message) {
            return message;
        }
    }
}

function confirmed(channel, name, body, options = {}) {
    return new Promise((resolve, reject) => {
        channel.publish('', name, body, options, (error) => (error ? reject(error) : resolve()));
    });
}

async function main() {
    const connection = await amqplib.connect(uri);
    const channel = await connection.createConfirmChannel();

    // Topology
    await channel.assertExchange(exchange, 'topic', { autoDelete: true });
    await channel.assertQueue(dead, { exclusive: true });
    await channel.assertQueue(queue, { exclusive: true, deadLetterExchange: '', deadLetterRoutingKey: dead });
    await channel.bindQueue(queue, exchange, 'a.*');
    assert.equal((await channel.checkQueue(queue)).messageCount, 0);

    // Confirms and returns
    const headers = { text: 'é', number: 1099511627776, small: 7, flag: true, nested: { list: [1, 'two', null] } };
    channel.publish(exchange, 'a.b', Buffer.from('hello'), { headers, messageId: 'm1', persistent: true });
    await channel.waitForConfirms();
    const returned = once(channel, 'return');
    channel.publish(exchange, 'b', Buffer.from('back'), { mandatory: true });
    await channel.waitForConfirms();
    const [message] = await returned;
    assert.equal(message.fields.replyText, 'NO_ROUTE');
    assert.equal(message.content.toString(), 'back');

    // Get
    const first = await channel.get(queue);
    assert.deepEqual([first.content.toString(), first.properties.headers, first.properties.messageId], ['hello', headers, 'm1']);
    assert.deepEqual([first.fields.routingKey, first.fields.exchange, first.fields.redelivered], ['a.b', exchange, false]);
    channel.nack(first, false, true);
    const second = await channel.get(queue);
    assert.equal(second.fields.redelivered, true);
    channel.reject(second, false);
    const buried = await fetch(channel, dead);
    assert.equal(buried.properties.headers['x-death'][0].reason, 'rejected');
    assert.equal(buried.properties.headers['x-death'][0].count, 1);

    // Large bodies in frames of 4096 bytes, consuming with prefetch
    const large = Buffer.alloc(2 << 20, 'large');
    for (let i = 0; i < 5; i++) {
        channel.sendToQueue(queue, large);
    }
    await channel.waitForConfirms();
    await channel.prefetch(2);
    let seen = 0;
    await new Promise((resolve, reject) => {
        channel.consume(queue, async (delivery) => {
            try {
                assert.ok(delivery.content.equals(large));
                seen += 1;
                if (seen === 2) {
                    assert.equal((await channel.checkQueue(queue)).messageCount, 3);
                    channel.ack(delivery, true);
                } else if (seen > 2) {
                    channel.ack(delivery);
                }
                if (seen === 5) {
                    resolve();
                }
            } catch (error) {
                reject(error);
            }
        }, { consumerTag: 'c' }).catch(reject);
    });
    await channel.cancel('c');
    assert.equal((await channel.checkQueue(queue)).messageCount, 0);

    // A full queue
    await channel.assertQueue(small, { exclusive: true, maxLength: 1, arguments: { 'x-overflow': 'reject-publish' } });
    await confirmed(channel, small, Buffer.from('fits'));
    await assert.rejects(confirmed(channel, small, Buffer.from('does not')));

    // Errors close the channel, not the connection
    const other = await connection.createChannel();
    other.on('error', () => {});
    await assert.rejects(other.checkQueue(`${prefix}.missing`), /404/);
    assert.equal((await channel.purgeQueue(small)).messageCount, 1);
    await channel.unbindQueue(queue, exchange, 'a.*');

    // The broker cancels a consumer whose queue goes
    const cancelled = new Promise((resolve, reject) => {
        channel.consume(small, (delivery) => delivery === null && resolve()).catch(reject);
    });
    await channel.deleteQueue(small);
    await cancelled;
    await connection.close();
    console.log('all checks passed');
}

main().catch((error) => {
    console.error(error);
    process.exit(1);
});
