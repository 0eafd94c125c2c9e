"""The story of ../README.md with kafka-python."""
import json
import sys
import threading
import time

import kafka
from kafka import KafkaConsumer, KafkaProducer

bootstrap, topic, group = sys.argv[1:4]
CODECS = ["gzip", "snappy", "lz4", "zstd"]


def produce(first, last):
    for i, codec in enumerate(CODECS):
        producer = KafkaProducer(bootstrap_servers=bootstrap, enable_idempotence=True, compression_type=codec, linger_ms=5)
        sent = [producer.send(topic, key=f"key-{n}".encode(), value=f"value-{n}".encode(), headers=[("h", str(n).encode())])
                for n in range(first, last) if n % len(CODECS) == i]
        for future in sent:
            future.get(timeout=30)
        producer.close()


def member():
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, group_id=group, auto_offset_reset="earliest",
                             enable_auto_commit=False, session_timeout_ms=10000, heartbeat_interval_ms=500)
    consumer.subscribe([topic])
    return consumer


def take(consumer, seen):
    for records in consumer.poll(timeout_ms=100).values():
        for record in records:
            n = int(record.key.decode().split("-")[1])
            assert record.value.decode() == f"value-{n}"
            assert list(record.headers) == [("h", str(n).encode())], record.headers
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

# A rebalance needs both members to poll at once: B polls on a thread of its own.
joined = threading.Event()


def poll_b():
    while not joined.is_set():
        take(b, seen_b)


thread = threading.Thread(target=poll_b)
thread.start()
try:
    until(lambda: (len(a.assignment()), len(b.assignment())) == (2, 2), lambda: take(a, seen_a))
    shared = [len(a.assignment()), len(b.assignment())]
    produce(0, 100)
    until(lambda: len(seen_a + seen_b) >= 100, lambda: take(a, seen_a))
finally:
    joined.set()
    thread.join()
assert sorted(seen_a + seen_b) == list(range(100))
a.commit()
b.commit()
a.close()
b.close()
produce(100, 120)
seen_c = []
c = member()
until(lambda: len(seen_c) >= 20, lambda: take(c, seen_c))
take(c, seen_c)
c.commit()
c.close()
assert sorted(seen_c) == list(range(100, 120)), sorted(seen_c)
print(json.dumps({"client": f"kafka-python {kafka.__version__}", "produced": 120, "alone": alone, "shared": shared,
                  "first": len(set(seen_a + seen_b)), "resumed": len(seen_c), "headers": True}))
