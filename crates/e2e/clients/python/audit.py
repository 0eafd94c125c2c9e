"""Reads topics from the beginning to the end, checking CRCs, and prints every record as a JSON line.

Arguments: BOOTSTRAP TOPIC…; a line is [topic, partition, offset, key, value].
"""
import json
import sys

from confluent_kafka import Consumer, KafkaError, TopicPartition

bootstrap, topics = sys.argv[1], sys.argv[2:]
consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "audit", "enable.auto.commit": False, "check.crcs": True,
                     "enable.partition.eof": True, "auto.offset.reset": "earliest"})
text = lambda data: None if data is None else data.decode()
for topic in topics:
    metadata = consumer.list_topics(topic, timeout=10).topics[topic]
    assert metadata.error is None, metadata.error
    parts = list(metadata.partitions)
    consumer.assign([TopicPartition(topic, p, 0) for p in parts])
    ended = set()
    while len(ended) < len(parts):
        message = consumer.poll(20)
        assert message is not None, f"no answer while reading {topic}"
        if message.error():
            assert message.error().code() == KafkaError._PARTITION_EOF, message.error()
            ended.add(message.partition())
            continue
        print(json.dumps([topic, message.partition(), message.offset(), text(message.key()), text(message.value())]))
consumer.close()
