"""What librdkafka does beside the client under test; clients_suite.rs says what for."""
import sys

from confluent_kafka import Consumer, KafkaException, Producer


def partitions(bootstrap, topic, partitioner, count):
    """Sends keys and prints the partition of each."""
    where = {}
    producer = Producer({"bootstrap.servers": bootstrap, "partitioner": partitioner})
    for i in range(int(count)):
        producer.produce(topic, key=f"key-{i}", value="v",
                         on_delivery=lambda error, message: where.update({message.key().decode(): message.partition()}))
    assert producer.flush(30) == 0, "records were not delivered"
    for i in range(int(count)):
        print(where[f"key-{i}"])


def member(bootstrap, topic, group, assignor):
    """A member that prints what it reads until a record says stop and nothing is left in its partitions."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": group, "auto.offset.reset": "earliest",
                         "enable.auto.commit": False, "session.timeout.ms": 10000, "heartbeat.interval.ms": 300,
                         "partition.assignment.strategy": assignor})
    consumer.subscribe([topic])
    stopped = False
    while True:
        message = consumer.poll(0.1)
        if message is not None:
            assert not message.error(), message.error()
            try:
                consumer.commit(message, asynchronous=False)
            except KafkaException as error:
                # The group is going on without this member's last poll: the next one joins again.
                print(error, file=sys.stderr)
            if message.value() == b"stop":
                stopped = True
            else:
                print(message.partition(), message.offset(), flush=True)
        elif stopped:
            at = [p if p.offset >= 0 else consumer.committed([p])[0] for p in consumer.position(consumer.assignment())]
            if all(p.offset >= consumer.get_watermark_offsets(p)[1] for p in at):
                break
    consumer.close()


{"partitions": partitions, "member": member}[sys.argv[1]](*sys.argv[2:])
