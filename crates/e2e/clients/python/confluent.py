"""The story of ../README.md with confluent-kafka (librdkafka)."""
import json
import sys
import time

import confluent_kafka
from confluent_kafka import Consumer, Producer

bootstrap, topic, group = sys.argv[1:4]
CODECS = ["gzip", "snappy", "lz4", "zstd"]


def produce(first, last):
    failed = []
    for i, codec in enumerate(CODECS):
        producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True, "compression.type": codec, "linger.ms": 5})
        for n in range(first, last):
            if n % len(CODECS) == i:
                producer.produce(topic, key=f"key-{n}", value=f"value-{n}", headers={"h": str(n)},
                                 on_delivery=lambda error, _: failed.append(error) if error else None)
        assert producer.flush(30) == 0, "records were not delivered"
    assert not failed, failed


def member():
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": group, "auto.offset.reset": "earliest",
                         "enable.auto.commit": False, "session.timeout.ms": 10000, "heartbeat.interval.ms": 500})
    consumer.subscribe([topic])
    return consumer


def take(consumer, seen):
    message = consumer.poll(0.1)
    if message is None:
        return
    assert not message.error(), message.error()
    n = int(message.key().decode().split("-")[1])
    assert message.value().decode() == f"value-{n}"
    assert message.headers() == [("h", str(n).encode())], message.headers()
    seen.append(n)


def until(condition, step, limit=40):
    end = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < end, "out of time"
        step()


seen_a, seen_b = [], []
a = member()
until(lambda: len(a.assignment()) == 4, lambda: take(a, seen_a))
alone = len(a.assignment())
b = member()


def both():
    take(a, seen_a)
    take(b, seen_b)


until(lambda: (len(a.assignment()), len(b.assignment())) == (2, 2), both)
shared = [len(a.assignment()), len(b.assignment())]
produce(0, 100)
until(lambda: len(seen_a + seen_b) >= 100, both)
assert sorted(seen_a + seen_b) == list(range(100))
a.commit(asynchronous=False)
b.commit(asynchronous=False)
a.close()
b.close()
produce(100, 120)
seen_c = []
c = member()
until(lambda: len(seen_c) >= 20, lambda: take(c, seen_c))
take(c, seen_c)
c.commit(asynchronous=False)
c.close()
assert sorted(seen_c) == list(range(100, 120)), sorted(seen_c)
print(json.dumps({"client": f"confluent-kafka {confluent_kafka.__version__}, librdkafka {confluent_kafka.libversion()[0]}",
                  "produced": 120, "alone": alone, "shared": shared, "first": len(set(seen_a + seen_b)),
                  "resumed": len(seen_c), "headers": True}))
