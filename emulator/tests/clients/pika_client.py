"""Talks to a broker with pika and checks every answer. Arguments: URI, prefix for names."""

import sys

import pika
from pika.exceptions import ChannelClosedByBroker, NackError, UnroutableError

uri, prefix = sys.argv[1:]
connection = pika.BlockingConnection(pika.URLParameters(uri))
channel = connection.channel()
exchange, queue, dead, small = (f"{prefix}.{name}" for name in ("exchange", "queue", "dead", "small"))


def check(condition, what):
    if not condition:
        sys.exit(f"failed: {what}")


def fetch(name):
    while True:
        method, properties, body = channel.basic_get(name, auto_ack=True)
        if method:
            return method, properties, body


# Topology
channel.exchange_declare(exchange, "topic", auto_delete=True)
channel.queue_declare(dead, exclusive=True)
channel.queue_declare(queue, exclusive=True, arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead})
channel.queue_bind(queue, exchange, "a.*")
check(channel.queue_declare(queue, passive=True).method.message_count == 0, "a new queue is empty")

# Confirms and returns
channel.confirm_delivery()
headers = {"text": "é", "number": 1 << 40, "flag": True, "nested": {"list": [1, "two", None]}}
properties = pika.BasicProperties(content_type="text/plain", delivery_mode=2, headers=headers, message_id="m1")
channel.basic_publish(exchange, "a.b", b"hello", properties, mandatory=True)
try:
    channel.basic_publish(exchange, "b", b"back", mandatory=True)
    check(False, "an unroutable message comes back")
except UnroutableError as error:
    check(error.messages[0].body == b"back", "the returned body is the same")

# Get
method, got, body = channel.basic_get(queue)
check((body, got.headers, got.message_id) == (b"hello", headers, "m1"), "a message arrives unchanged")
check((method.routing_key, method.exchange, method.redelivered) == ("a.b", exchange, False), "so does where it went")
channel.basic_nack(method.delivery_tag, requeue=True)
method, _, _ = channel.basic_get(queue)
check(method.redelivered, "a requeued message is redelivered")
channel.basic_reject(method.delivery_tag, requeue=False)
method, got, body = fetch(dead)
check(got.headers["x-death"][0]["reason"] == "rejected" and got.headers["x-death"][0]["count"] == 1, "x-death")

# Large bodies, consuming with prefetch
large = bytes(range(256)) * 8192
for _ in range(5):
    channel.basic_publish("", queue, large)
channel.basic_qos(prefetch_count=2)
seen = []
for method, _, body in channel.consume(queue, inactivity_timeout=10):
    check(method is not None and body == large, "a large body arrives unchanged")
    seen.append(method.delivery_tag)
    if len(seen) == 2:
        check(channel.queue_declare(queue, passive=True).method.message_count == 3, "prefetch holds")
        channel.basic_ack(seen[-1], multiple=True)
    if len(seen) > 2:
        channel.basic_ack(method.delivery_tag)
    if len(seen) == 5:
        break
channel.cancel()
check(channel.queue_declare(queue, passive=True).method.message_count == 0, "everything is acknowledged")

# A full queue
channel.queue_declare(small, exclusive=True, arguments={"x-max-length": 1, "x-overflow": "reject-publish"})
channel.basic_publish("", small, b"fits")
try:
    channel.basic_publish("", small, b"does not")
    check(False, "a full queue rejects")
except NackError:
    pass

# Errors close the channel, not the connection
other = connection.channel()
try:
    other.queue_declare(f"{prefix}.missing", passive=True)
    check(False, "a missing queue is refused")
except ChannelClosedByBroker as error:
    check(error.reply_code == 404, "with 404")
check(connection.is_open and channel.is_open, "the rest goes on")
check(channel.queue_purge(small).method.message_count == 1, "purge")
channel.queue_unbind(queue, exchange, "a.*")
connection.close()
print("all checks passed")
