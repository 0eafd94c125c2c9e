// The story of ../README.md with node-rdkafka (librdkafka, compiled by npm).
const Kafka = require('node-rdkafka')

const [bootstrap, topic, group] = process.argv.slice(2)
// zstd only where its headers were installed when npm compiled librdkafka.
const CODECS = ['gzip', 'snappy', 'lz4']

async function until(what, condition) {
  const end = Date.now() + 40000
  while (!condition()) {
    if (Date.now() > end) throw new Error(`out of time: ${what}`)
    await new Promise(resolve => setTimeout(resolve, 10))
  }
}

async function produce(first, last) {
  for (const [i, codec] of CODECS.entries()) {
    const producer = new Kafka.Producer({ 'bootstrap.servers': bootstrap, 'enable.idempotence': true, 'compression.type': codec, 'linger.ms': 5, dr_cb: true })
    let delivered = 0
    let sent = 0
    let failure
    producer.on('delivery-report', error => error ? (failure = error) : delivered++)
    await new Promise((resolve, reject) => producer.connect({}, error => error ? reject(error) : resolve()))
    producer.setPollInterval(10)
    for (let n = first; n < last; n++) {
      if (n % CODECS.length !== i) continue
      producer.produce(topic, null, Buffer.from(`value-${n}`), `key-${n}`, null, undefined, [{ h: String(n) }])
      sent++
    }
    await until('deliveries', () => failure || delivered === sent)
    if (failure) throw failure
    await new Promise(resolve => producer.disconnect(resolve))
  }
}

async function join() {
  const consumer = new Kafka.KafkaConsumer({ 'bootstrap.servers': bootstrap, 'group.id': group, 'enable.auto.commit': false, 'session.timeout.ms': 10000, 'heartbeat.interval.ms': 500 }, { 'auto.offset.reset': 'earliest' })
  const member = { consumer, seen: [], owned: () => consumer.isConnected() ? consumer.assignments().length : 0 }
  consumer.on('data', message => {
    const n = Number(String(message.key).slice(4))
    const header = String(message.headers[0].h)
    if (String(message.value) !== `value-${n}` || header !== String(n)) throw new Error(`wrong record ${n}`)
    member.seen.push(n)
  })
  await new Promise((resolve, reject) => consumer.connect({}, error => error ? reject(error) : resolve()))
  consumer.subscribe([topic])
  consumer.consume()
  return member
}

async function leave(member) {
  member.consumer.commitSync()
  await new Promise(resolve => member.consumer.disconnect(resolve))
}

async function main() {
  const a = await join()
  await until('A owns all', () => a.owned() === 4)
  const alone = a.owned()
  const b = await join()
  await until('both share', () => a.owned() === 2 && b.owned() === 2)
  const shared = [a.owned(), b.owned()]
  await produce(0, 100)
  await until('100 records', () => a.seen.length + b.seen.length >= 100)
  const first = new Set([...a.seen, ...b.seen]).size
  if (a.seen.length + b.seen.length !== 100 || first !== 100) throw new Error(`read ${a.seen} and ${b.seen}`)
  await leave(a)
  await leave(b)
  await produce(100, 120)
  const c = await join()
  await until('20 records', () => c.seen.length >= 20)
  await leave(c)
  if (c.seen.length !== 20 || new Set(c.seen).size !== 20 || Math.min(...c.seen) !== 100) throw new Error(`resumed with ${c.seen}`)
  const version = require('node-rdkafka/package.json').version
  console.log(JSON.stringify({ client: `node-rdkafka ${version}, librdkafka ${Kafka.librdkafkaVersion}`, produced: 120, alone, shared, first, resumed: c.seen.length, headers: true }))
}

main().then(() => process.exit(0), error => {
  console.error(error)
  process.exit(1)
})
