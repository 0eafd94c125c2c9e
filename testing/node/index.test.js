"use strict";

const assert = require("node:assert/strict");
const fs = require("node:fs");
const os = require("node:os");
const path = require("node:path");
const { test } = require("node:test");
const { Kafka, logLevel } = require("kafkajs");
const { startBroker } = require("./index.js");

test("records come back", async () => {
  const broker = await startBroker({ properties: { "num.partitions": 1 } });
  const kafka = new Kafka({ brokers: [broker.bootstrapServers], logLevel: logLevel.NOTHING });
  const admin = kafka.admin();
  await admin.connect();
  await admin.createTopics({ topics: [{ topic: "orders", numPartitions: 1 }], waitForLeaders: true });
  await admin.disconnect();
  const producer = kafka.producer();
  await producer.connect();
  await producer.send({ topic: "orders", messages: [{ value: "one" }] });
  await producer.disconnect();
  const consumer = kafka.consumer({ groupId: "test" });
  await consumer.connect();
  await consumer.subscribe({ topic: "orders", fromBeginning: true });
  const value = await new Promise((resolve, reject) => {
    const eachMessage = async ({ message }) => resolve(message.value.toString());
    consumer.run({ eachMessage }).catch(reject);
  });
  await consumer.disconnect();
  assert.equal(value, "one");
  await broker.stop();
  assert.equal(fs.existsSync(broker.home), false);
});

test("a missing program is named", async () => {
  await assert.rejects(startBroker({ binary: "/nowhere/ottla" }), /binary is \/nowhere\/ottla, which is no program/);
  const { OTTLA_BIN, PATH } = process.env;
  try {
    delete process.env.OTTLA_BIN;
    process.env.PATH = "/nowhere";
    await assert.rejects(startBroker(), /no `ottla` on the PATH/);
  } finally {
    process.env.PATH = PATH;
    if (OTTLA_BIN) process.env.OTTLA_BIN = OTTLA_BIN;
  }
});

test("a broker that ends or hangs tells why", async (t) => {
  await assert.rejects(startBroker({ properties: { "num.partitions": "many" } }), /ended with status[^]*num.partitions/);
  const home = fs.mkdtempSync(path.join(os.tmpdir(), "ottla-hangs-"));
  t.after(() => fs.rmSync(home, { recursive: true }));
  const binary = path.join(home, "hangs");
  fs.writeFileSync(binary, "#!/bin/sh\necho I hang\nexec sleep 60\n", { mode: 0o755 });
  await assert.rejects(startBroker({ binary, readyMs: 500 }), /not ready after 500 ms; it said:\nI hang/);
});
