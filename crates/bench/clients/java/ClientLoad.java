import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Properties;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.locks.LockSupport;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/** The load of the client cells with kafka-clients: src/client/load.rs of the bench, call by call. */
public final class ClientLoad {
    private static final int PAYLOADS = 1024;
    private static final int LATENCY_WARM_UP = 1000;

    private final String topic;
    private final int partitions;
    private final int records;
    private final int recordBytes;
    private final int rounds;
    private final Properties settings = new Properties();

    /** MODE BOOTSTRAP TOPIC PARTITIONS RECORDS RECORD_BYTES ROUNDS [NAME=VALUE ...] */
    public static void main(String[] args) throws Exception {
        ClientLoad load = new ClientLoad(args);
        switch (args[0]) {
            case "produce" -> load.produce();
            case "consume" -> load.consume();
            case "latency" -> load.latency();
            default -> throw new IllegalArgumentException(args[0]);
        }
        for (String line : Files.readAllLines(Path.of("/proc/self/status"))) {
            if (line.startsWith("VmHWM")) {
                System.out.println("peak " + line.split("\\s+")[1]);
            }
        }
    }

    private ClientLoad(String[] args) {
        topic = args[2];
        partitions = Integer.parseInt(args[3]);
        records = Integer.parseInt(args[4]);
        recordBytes = Integer.parseInt(args[5]);
        rounds = Integer.parseInt(args[6]);
        settings.put("bootstrap.servers", args[1]);
        for (String pair : Arrays.copyOfRange(args, 7, args.length)) {
            String[] parts = pair.split("=", 2);
            settings.put(parts[0], parts[1]);
        }
    }

    private byte[][] payloads() {
        long state = 1;
        byte[][] payloads = new byte[PAYLOADS][recordBytes];
        for (byte[] value : payloads) {
            for (int at = 0; at + 1 < recordBytes; at += 2) {
                state = state * 6364136223846793005L + 1442695040888963407L;
                value[at] = (byte) ('a' + (state >>> 60));
                value[at + 1] = (byte) ('0' + (state >>> 58) % 4);
            }
        }
        return payloads;
    }

    private KafkaProducer<byte[], byte[]> producer() {
        return new KafkaProducer<>(settings, new ByteArraySerializer(), new ByteArraySerializer());
    }

    private void produce() throws Exception {
        byte[][] payloads = payloads();
        AtomicInteger acknowledged = new AtomicInteger();
        try (KafkaProducer<byte[], byte[]> producer = producer()) {
            for (int round = 1; round <= rounds; round++) {
                long begun = System.nanoTime();
                double cpu = cpuSeconds();
                for (int number = 0; number < records; number++) {
                    byte[] value = payloads[number % PAYLOADS];
                    producer.send(new ProducerRecord<>(topic, number % partitions, null, value), (to, error) -> {
                        if (error == null) {
                            acknowledged.incrementAndGet();
                        }
                    });
                }
                producer.flush();
                check(acknowledged.get() == records * round, acknowledged.get() + " acknowledged");
                end(begun, cpu);
            }
        }
    }

    private List<TopicPartition> all() {
        List<TopicPartition> all = new ArrayList<>();
        for (int partition = 0; partition < partitions; partition++) {
            all.add(new TopicPartition(topic, partition));
        }
        return all;
    }

    private KafkaConsumer<byte[], byte[]> consumer() {
        return new KafkaConsumer<>(settings, new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }

    private void consume() throws Exception {
        try (KafkaConsumer<byte[], byte[]> consumer = consumer()) {
            consumer.assign(all());
            for (int round = 0; round < rounds; round++) {
                consumer.seekToBeginning(all());
                long begun = System.nanoTime();
                double cpu = cpuSeconds();
                long count = 0;
                long bytes = 0;
                while (count < records) {
                    for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofSeconds(1))) {
                        bytes += record.value().length;
                        count++;
                    }
                }
                end(begun, cpu);
                check(bytes == count * recordBytes, bytes + " bytes in " + count + " records");
            }
        }
    }

    private void latency() throws Exception {
        for (int round = 0; round < rounds; round++) {
            try (KafkaConsumer<byte[], byte[]> consumer = consumer()) {
                consumer.assign(all());
                consumer.seekToEnd(all());
                all().forEach(consumer::position);
                long begun = System.nanoTime() + 200_000_000L;
                Thread sender = new Thread(() -> sendEveryMillisecond(begun));
                sender.start();
                long[] taken = new long[Math.max(records - LATENCY_WARM_UP, 1)];
                for (int seen = 0; seen < records; ) {
                    for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofSeconds(1))) {
                        int number = (int) ByteBuffer.wrap(record.value()).getLong();
                        if (number >= LATENCY_WARM_UP) {
                            taken[number - LATENCY_WARM_UP] = System.nanoTime() - begun - number * 1_000_000L;
                        }
                        seen++;
                    }
                }
                sender.join();
                Arrays.sort(taken);
                int p99 = Math.min((int) (taken.length * 0.99), taken.length - 1);
                System.out.println("latency " + taken[taken.length / 2] / 1e3 + " " + taken[p99] / 1e3 + " "
                        + taken[taken.length - 1] / 1e3);
            }
        }
    }

    private void sendEveryMillisecond(long begun) {
        try (KafkaProducer<byte[], byte[]> producer = producer()) {
            for (int number = 0; number < records; number++) {
                long left = begun + number * 1_000_000L - System.nanoTime();
                if (left > 0) {
                    LockSupport.parkNanos(left);
                }
                byte[] value = new byte[recordBytes];
                ByteBuffer.wrap(value).putLong(number);
                producer.send(new ProducerRecord<>(topic, number % partitions, null, value));
            }
        }
    }

    private static void end(long begun, double cpu) throws Exception {
        System.out.println("round " + (System.nanoTime() - begun) / 1e9 + " " + (cpuSeconds() - cpu));
    }

    /** User and system time of this process so far, from /proc as the other loads have it. */
    private static double cpuSeconds() throws Exception {
        String stat = Files.readString(Path.of("/proc/self/stat"));
        String[] fields = stat.substring(stat.lastIndexOf(')') + 2).split(" ");
        return (Long.parseLong(fields[11]) + Long.parseLong(fields[12])) / 100.0;
    }

    private static void check(boolean holds, String otherwise) {
        if (!holds) {
            throw new IllegalStateException(otherwise);
        }
    }
}
