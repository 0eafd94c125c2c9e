"""A data directory's worth of topics, written in rounds which anyone can recompute.

Arguments: BOOTSTRAP COMMAND LEDGER ROUND [killed]. `write` adds round ROUND to every topic and commits group offsets half
way; `transact` has a transactional producer commit, abort and commit; `check` reads everything and compares it with rounds 0..ROUND. What the broker acknowledged (offset of each
record, commits) is kept in LEDGER, a JSON file, beside what the rounds say. After a kill, deleted records may be
back: Kafka keeps the new log start in memory until its next checkpoint.
"""
import json
import os
import sys

from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec

bootstrap, command, ledger_path, round_number = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
killed = sys.argv[5:] == ["killed"]
RECORDS = 120
TOPICS = {
    "estate-none": ("none", {}),
    "estate-gzip": ("gzip", {}),
    "estate-snappy": ("snappy", {}),
    "estate-lz4": ("lz4", {}),
    "estate-zstd": ("zstd", {}),
    "estate-recompressed": ("none", {"compression.type": "zstd"}),
    "estate-stamped": ("lz4", {"message.timestamp.type": "LogAppendTime"}),
    "estate-rolled": ("none", {"internal.segment.bytes": "3000", "index.interval.bytes": "300"}),
    "estate-trimmed": ("none", {"internal.segment.bytes": "3000"}),
    "estate-compact": ("none", {"cleanup.policy": "compact", "internal.segment.bytes": "3000", "min.cleanable.dirty.ratio": "0.01",
                                "segment.ms": "100", "max.compaction.lag.ms": "200"}),
}
PARTITIONS = 2


def rounds(topic, last):
    """Records (partition, key, value) of the rounds up to `last`, in order."""
    for r in range(last + 1):
        for n in range(RECORDS):
            key = f"k{n % 10}" if topic == "estate-compact" else f"{r}-{n}"
            yield r, n % PARTITIONS, key, f"{topic} {r} {n} " + "x" * (n % 37)


def load():
    if os.path.exists(ledger_path):
        with open(ledger_path) as file:
            return json.load(file)
    return {"offsets": {}, "committed": {}, "trimmed": {}, "transactions": []}


def save(ledger):
    with open(ledger_path, "w") as file:
        json.dump(ledger, file)


def write(ledger):
    admin = AdminClient({"bootstrap.servers": bootstrap})
    if round_number == 0:
        made = admin.create_topics([NewTopic(t, PARTITIONS, 1, config=c) for t, (_, c) in TOPICS.items()])
        for future in made.values():
            future.result(20)
    for topic, (codec, _) in TOPICS.items():
        producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True, "compression.type": codec,
                             "linger.ms": 1, "batch.num.messages": 7})
        acked = []

        def delivered(error, message):
            assert error is None, error
            acked.append((message.partition(), message.offset(), message.key().decode(), message.value() and message.value().decode()))

        for r, partition, key, value in rounds(topic, round_number):
            if r == round_number:
                producer.produce(topic, key=key, value=value, partition=partition, on_delivery=delivered)
        assert producer.flush(30) == 0, "records left in the queue"
        assert len(acked) == RECORDS
        for partition, offset, key, value in acked:
            place = f"{topic} {partition} {offset}"
            assert place not in ledger["offsets"], f"{place} was given out twice"
            ledger["offsets"][place] = [key, value]
    # The group has read half of what there is.
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "estate-group", "enable.auto.commit": False})
    parts = []
    for topic in TOPICS:
        for partition in range(PARTITIONS):
            offset = (round_number + 1) * RECORDS // PARTITIONS // 2
            parts.append(TopicPartition(topic, partition, offset))
            ledger["committed"][f"{topic} {partition}"] = offset
    consumer.commit(offsets=parts, asynchronous=False)
    consumer.close()
    # And someone deleted what was before this round.
    trim = (round_number * RECORDS + RECORDS // 3) // PARTITIONS
    for future in admin.delete_records([TopicPartition("estate-trimmed", p, trim) for p in range(PARTITIONS)]).values():
        future.result(20)
    for p in range(PARTITIONS):
        ledger["trimmed"][f"estate-trimmed {p}"] = trim
    save(ledger)


def transact(ledger):
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.create_topics([NewTopic("estate-transactions", PARTITIONS, 1)])["estate-transactions"].result(20)
    producer = Producer({"bootstrap.servers": bootstrap, "transactional.id": "estate"})
    producer.init_transactions(30)
    for run, kept in enumerate([True, False, True, False, True]):
        producer.begin_transaction()
        for n in range(20):
            producer.produce("estate-transactions", key=f"{run}-{n}", value="kept" if kept else "dropped", partition=n % PARTITIONS)
            if kept:
                ledger["transactions"].append(f"{run}-{n}")
        producer.flush(30)
        producer.commit_transaction(30) if kept else producer.abort_transaction(30)
    save(ledger)


def read(topic):
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "estate-check", "enable.auto.commit": False, "check.crcs": True,
                         "enable.partition.eof": True, "auto.offset.reset": "earliest"})
    consumer.assign([TopicPartition(topic, p, 0) for p in range(PARTITIONS)])
    ended, records = set(), []
    while len(ended) < PARTITIONS:
        message = consumer.poll(20)
        assert message is not None, f"no answer while reading {topic}"
        if message.error():
            assert message.error().code() == KafkaError._PARTITION_EOF, message.error()
            ended.add(message.partition())
        else:
            records.append((message.partition(), message.offset(), message.key().decode(), message.value() and message.value().decode()))
    consumer.close()
    return records


def check(ledger):
    wrong = []
    admin = AdminClient({"bootstrap.servers": bootstrap})
    for topic in TOPICS:
        expected, ends = [], [0] * PARTITIONS
        for _, partition, key, value in rounds(topic, round_number):
            expected.append((partition, ends[partition], key, value))
            ends[partition] += 1
        expected = [e for e in expected if e[1] >= ledger["trimmed"].get(f"{topic} {e[0]}", 0)]
        got = read(topic)
        for partition, offset, key, value in got:
            if ledger["offsets"].get(f"{topic} {partition} {offset}") != [key, value]:
                wrong.append(f"{topic}-{partition} has at {offset} what was never acknowledged there: {key}")
        if topic == "estate-compact":
            # Compaction may have taken what a later record replaces; the last of each key must be there.
            latest = {(e[0], e[2]): e for e in expected}
            if not set(latest.values()) <= set(got):
                wrong.append(f"{topic} lacks {sorted(set(latest.values()) - set(got))[:3]}")
            if not set(got) <= set(expected) or len(set(got)) != len(got):
                wrong.append(f"{topic} has records that do not belong there")
        elif topic == "estate-trimmed" and killed:
            if not set(expected) <= set(got) or len(set(got)) != len(got):
                wrong.append(f"{topic} lacks {sorted(set(expected) - set(got))[:3]} or has records twice")
        elif sorted(got) != sorted(expected):
            missing, extra = sorted(set(expected) - set(got)), sorted(set(got) - set(expected))
            wrong.append(f"{topic}: {len(got)} records for {len(expected)}; missing {missing[:2]}, extra {extra[:2]}")
        for partition in range(PARTITIONS):
            where = TopicPartition(topic, partition)
            end = list(admin.list_offsets({where: OffsetSpec.latest()}).values())[0].result(20).offset
            if end != ends[partition]:
                wrong.append(f"{topic}-{partition} ends at {end}, not {ends[partition]}")
    if ledger["transactions"]:
        # librdkafka reads what is committed only.
        got = [key for _, _, key, _ in read("estate-transactions")]
        if sorted(got) != sorted(ledger["transactions"]):
            wrong.append(f"estate-transactions: {len(got)} committed records for {len(ledger['transactions'])}")
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "estate-group"})
    parts = [TopicPartition(*place.split(" ")[:1], int(place.split(" ")[1])) for place in ledger["committed"]]
    for part in consumer.committed(parts, timeout=20):
        if part.offset != ledger["committed"][f"{part.topic} {part.partition}"]:
            wrong.append(f"the group is at {part.offset} of {part.topic}-{part.partition}, not {ledger['committed'][f'{part.topic} {part.partition}']}")
    consumer.close()
    return wrong


ledger = load()
if command == "write":
    write(ledger)
elif command == "transact":
    transact(ledger)
else:
    wrong = check(ledger)
    if wrong:
        sys.exit("\n".join(wrong[:12]))
print(f"{command} {round_number}: {len(ledger['offsets'])} records")
