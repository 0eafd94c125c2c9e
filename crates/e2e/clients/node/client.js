// The story of ../README.md with kafkajs (plain JavaScript; it has no snappy, lz4 or zstd of its own).
const { Kafka, CompressionTypes, logLevel } = require('kafkajs')

const [bootstrap, topic, group] = process.argv.slice(2)
const kafka = new Kafka({ clientId: 'e2e', brokers: [bootstrap], logLevel: logLevel.NOTHING })

async function produce(first, last) {
  for (const [i, compression] of [CompressionTypes.None, CompressionTypes.GZIP].entries()) {
    const producer = kafka.producer({ idempotent: true, maxInFlightRequests: 1 })
    await producer.connect()
    const messages = []
    for (let n = first; n < last; n++) {
      if (n % 2 === i) messages.push({ key: `key-${n}`, value: `value-${n}`, headers: { h: String(n) } })
    }
    await producer.send({ topic, messages, acks: -1, compression })
    await producer.disconnect()
  }
}

async function join() {
  const consumer = kafka.consumer({ groupId: group, sessionTimeout: 10000, heartbeatInterval: 300, rebalanceTimeout: 10000, maxWaitTimeInMs: 100 })
  const member = { consumer, owned: 0, seen: [], next: new Map() }
  consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => {
    member.owned = (payload.memberAssignment[topic] || []).length
  })
  await consumer.connect()
  await consumer.subscribe({ topics: [topic], fromBeginning: true })
  await consumer.run({
    autoCommit: false,
    eachMessage: async ({ partition, message }) => {
      const n = Number(String(message.key).slice(4))
      if (String(message.value) !== `value-${n}` || String(message.headers.h) !== String(n)) throw new Error(`wrong record ${n}`)
      member.seen.push(n)
      member.next.set(partition, BigInt(message.offset) + 1n)
    },
  })
  return member
}

async function until(what, condition) {
  const end = Date.now() + 40000
  while (!condition()) {
    if (Date.now() > end) throw new Error(`out of time: ${what}`)
    await new Promise(resolve => setTimeout(resolve, 20))
  }
}

const distinct = (...members) => new Set(members.flatMap(m => m.seen)).size

async function leave(member) {
  await member.consumer.commitOffsets([...member.next].map(([partition, offset]) => ({ topic, partition, offset: String(offset) })))
  await member.consumer.disconnect()
}

async function main() {
  const a = await join()
  await until('A owns all', () => a.owned === 4)
  const alone = a.owned
  const b = await join()
  await until('both share', () => a.owned === 2 && b.owned === 2)
  const shared = [a.owned, b.owned]
  await produce(0, 100)
  await until('100 records', () => a.seen.length + b.seen.length >= 100)
  if (a.seen.length + b.seen.length !== 100 || distinct(a, b) !== 100) throw new Error(`read ${a.seen} and ${b.seen}`)
  await leave(a)
  await leave(b)
  await produce(100, 120)
  const c = await join()
  await until('20 records', () => c.seen.length >= 20)
  await leave(c)
  if (c.seen.length !== 20 || distinct(c) !== 20 || Math.min(...c.seen) !== 100) throw new Error(`resumed with ${c.seen}`)
  const version = require('kafkajs/package.json').version
  console.log(JSON.stringify({ client: `kafkajs ${version}`, produced: 120, alone, shared, first: distinct(a, b), resumed: c.seen.length, headers: true }))
}

main().then(() => process.exit(0), error => {
  console.error(error)
  process.exit(1)
})
