import os

import pytest
from confluent_kafka import Consumer, Producer

from ottla_testing import Broker, BrokerError, find_binary


def test_records_come_back(ottla_broker):
    producer = Producer({"bootstrap.servers": ottla_broker.bootstrap_servers})
    producer.produce("orders", b"one")
    assert producer.flush(20) == 0
    consumer = Consumer(
        {
            "bootstrap.servers": ottla_broker.bootstrap_servers,
            "group.id": "test",
            "auto.offset.reset": "earliest",
        }
    )
    consumer.subscribe(["orders"])
    record = consumer.poll(20)
    assert record is not None and record.error() is None and record.value() == b"one"
    consumer.close()


def test_brokers_are_others_and_end(ottla_broker, ottla_session_broker):
    assert ottla_broker.bootstrap_servers != ottla_session_broker.bootstrap_servers
    broker = Broker(properties={"num.partitions": 3}).start()
    metadata = Producer({"bootstrap.servers": broker.bootstrap_servers}).list_topics("new", 20)
    home = broker._home
    broker.stop()
    assert len(metadata.topics) == 1 and not os.path.exists(home)


def test_a_missing_program_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("OTTLA_BIN", "/nowhere/ottla")
    with pytest.raises(BrokerError, match="OTTLA_BIN is /nowhere/ottla, which is no program"):
        find_binary()
    monkeypatch.delenv("OTTLA_BIN")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BrokerError, match="no `ottla` on the PATH"):
        find_binary()


def test_a_broker_that_ends_or_hangs_tells_why(tmp_path):
    with pytest.raises(BrokerError, match="(?s)ended with status .*num.partitions"):
        Broker(properties={"num.partitions": "many"}).start()
    program = tmp_path / "hangs"
    program.write_text("#!/bin/sh\necho I hang\nexec sleep 60\n")
    program.chmod(0o755)
    with pytest.raises(BrokerError, match="(?s)not ready after 0.5 s; it said:\nI hang"):
        Broker(binary=program, ready_seconds=0.5).start()
