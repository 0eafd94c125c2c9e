"""Load that outlives its broker, with its own record of what was acknowledged.

Arguments: BOOTSTRAP TOPIC GROUP LEDGER. The topic has 3 partitions. Until stdin closes, an idempotent producer
sends numbers 0, 1, 2, … spread over the partitions, and a member of GROUP reads them and commits; with several
nodes a second member joins and leaves all the time, so that each fault meets a rebalance. LEDGER gets
one line per fact, flushed: `sent PARTITION OFFSET NUMBER` when the broker acknowledged a record (offset -1: as one it
had already), `committed PARTITION OFFSET` when it acknowledged a commit, `read PARTITION OFFSET NUMBER`, `strange 1` when a fetch met an
unknown server error. At the end the producer is
flushed, the member reads to the end, and `done COUNT` is the last line. Anything else is an error: exit 1.
"""
import sys
import threading
import time

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

bootstrap, topic, group, ledger_path = sys.argv[1:5]
ledger = open(ledger_path, "w", buffering=1)
lock = threading.Lock()
stopping = threading.Event()
QUICK = {"bootstrap.servers": bootstrap, "reconnect.backoff.ms": 20, "reconnect.backoff.max.ms": 100,
         "socket.timeout.ms": 5000, "topic.metadata.refresh.interval.ms": 1000, "log_level": 0}
failures = []
RATE = 2000  # records per second


def note(*words):
    with lock:
        ledger.write(" ".join(map(str, words)) + "\n")


def produce():
    producer = Producer({**QUICK, "enable.idempotence": True, "message.timeout.ms": 180000, "linger.ms": 2,
                         "retry.backoff.ms": 20, "retry.backoff.max.ms": 100, "queue.buffering.max.messages": 2000})

    def delivered(error, message):
        if error:
            failures.append(f"produce: {error}")
        else:
            # None: a leader that has taken over may know that it has the record, and not where.
            offset = -1 if message.offset() is None else message.offset()
            note("sent", message.partition(), offset, message.value().decode())

    number, begun = 0, time.monotonic()
    while not stopping.is_set():
        if number > (time.monotonic() - begun) * RATE + 100:
            producer.poll(0.005)
            continue
        try:
            producer.produce(topic, value=str(number), key=str(number), partition=number % 3, on_delivery=delivered)
            number += 1
        except BufferError:
            producer.poll(0.05)
        producer.poll(0.0005)
    if producer.flush(120):
        failures.append("produce: records left in the queue")
    return number


def consume(total, leaves_after):
    """A member that stays to the end, or leaves after so many seconds."""
    # Warnings go to stderr: one tells of each position that was given up, and which broker made it.
    consumer = Consumer({**QUICK, "log_level": 4, "group.id": group, "auto.offset.reset": "earliest",
                         "enable.auto.commit": False,
                         "session.timeout.ms": 30000, "heartbeat.interval.ms": 500, "isolation.level": "read_committed"})
    pending, last_commit, begun = {}, time.monotonic(), time.monotonic()
    # What was read of a partition that is another's by now must not be committed over the other's commits.
    consumer.subscribe([topic], on_revoke=lambda *_: pending.clear(), on_lost=lambda *_: pending.clear())
    deadline = None
    while True:
        for message in consumer.consume(200, 0.1):
            if message.error():
                if message.error().code() in (KafkaError._ALL_BROKERS_DOWN, KafkaError._TRANSPORT, KafkaError._RESOLVE) or message.error().retriable():
                    continue
                if message.error().code() == KafkaError.UNKNOWN:  # nothing is wrong with the data: the audit counts it
                    note("strange", 1)
                    continue
                failures.append(f"consume: {message.error()}")
                return
            number = int(message.value())
            note("read", message.partition(), message.offset(), number)
            seen.add(number)
            pending[message.partition()] = message.offset() + 1
        if pending and time.monotonic() - last_commit > 0.05:
            try:
                done = consumer.commit(offsets=[TopicPartition(topic, p, o) for p, o in pending.items()], asynchronous=False)
                for part in done:
                    if part.error is None:
                        note("committed", part.partition, part.offset)
                pending.clear()
            except KafkaException:
                pass  # the next round commits these or later offsets
            last_commit = time.monotonic()
        if time.monotonic() - begun > leaves_after:
            consumer.close()
            return
        if "count" in total:
            deadline = deadline or time.monotonic() + 60
            if len(seen) >= total["count"] and not pending:
                consumer.close()
                return
            if time.monotonic() > deadline:
                failures.append(f"consume: {len(seen)} of {total['count']} records after a minute")
                return


def visit(total):
    while "count" not in total and not failures:
        consume(total, 4)
        stopping.wait(3)


total, seen = {}, set()
threads = [threading.Thread(target=consume, args=(total, float("inf")))]
if "," in bootstrap:
    threads.append(threading.Thread(target=visit, args=(total,)))
writer = threading.Thread(target=lambda: total.__setitem__("count", produce()))
for thread in threads + [writer]:
    thread.start()
sys.stdin.read()
stopping.set()
writer.join()
for thread in threads:
    thread.join()
if failures:
    sys.exit("; ".join(failures[:5]))
note("done", total["count"])
