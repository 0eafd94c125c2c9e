import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.Future;
import java.util.function.BooleanSupplier;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/** The story of ../README.md with kafka-clients. */
public final class JavaClient {
    private static final String[] CODECS = {"gzip", "snappy", "lz4", "zstd"};

    private final String bootstrap;
    private final String topic;
    private final String group;

    private JavaClient(String[] args) {
        bootstrap = args[0];
        topic = args[1];
        group = args[2];
    }

    public static void main(String[] args) throws Exception {
        new JavaClient(args).tell();
    }

    private void tell() throws Exception {
        List<Integer> seen = new ArrayList<>();
        KafkaConsumer<String, String> a = member();
        until(() -> a.assignment().size() == 4, () -> take(a, seen));
        int alone = a.assignment().size();
        KafkaConsumer<String, String> b = member();
        until(() -> a.assignment().size() == 2 && b.assignment().size() == 2, () -> {
            take(a, seen);
            take(b, seen);
        });
        int[] shared = {a.assignment().size(), b.assignment().size()};
        produce(0, 100);
        until(() -> seen.size() >= 100, () -> {
            take(a, seen);
            take(b, seen);
        });
        check(seen.size() == 100 && new HashSet<>(seen).size() == 100, "read " + seen);
        a.commitSync();
        b.commitSync();
        a.close();
        b.close();
        produce(100, 120);
        List<Integer> resumed = new ArrayList<>();
        KafkaConsumer<String, String> c = member();
        until(() -> resumed.size() >= 20, () -> take(c, resumed));
        take(c, resumed);
        c.commitSync();
        c.close();
        Set<Integer> rest = new TreeSet<>(resumed);
        check(resumed.size() == 20 && rest.size() == 20 && rest.iterator().next() == 100, "resumed with " + resumed);
        System.out.println("{\"client\": \"kafka-clients " + version() + "\", \"produced\": 120, \"alone\": " + alone
            + ", \"shared\": [" + shared[0] + ", " + shared[1] + "], \"first\": " + new HashSet<>(seen).size()
            + ", \"resumed\": " + resumed.size() + ", \"headers\": true}");
    }

    private static String version() throws Exception {
        Properties about = new Properties();
        about.load(KafkaConsumer.class.getResourceAsStream("/kafka/kafka-version.properties"));
        return about.getProperty("version");
    }

    private void produce(int first, int last) throws Exception {
        for (int i = 0; i < CODECS.length; i++) {
            Map<String, Object> config = new HashMap<>();
            config.put("bootstrap.servers", bootstrap);
            config.put("compression.type", CODECS[i]);
            config.put("enable.idempotence", true);
            try (KafkaProducer<String, String> producer = new KafkaProducer<>(config, new StringSerializer(), new StringSerializer())) {
                List<Future<RecordMetadata>> sent = new ArrayList<>();
                for (int n = first; n < last; n++) {
                    if (n % CODECS.length == i) {
                        ProducerRecord<String, String> record = new ProducerRecord<>(topic, "key-" + n, "value-" + n);
                        record.headers().add("h", Integer.toString(n).getBytes());
                        sent.add(producer.send(record));
                    }
                }
                for (Future<RecordMetadata> future : sent) {
                    future.get();
                }
            }
        }
    }

    private KafkaConsumer<String, String> member() {
        Map<String, Object> config = new HashMap<>();
        config.put("bootstrap.servers", bootstrap);
        config.put("group.id", group);
        config.put("auto.offset.reset", "earliest");
        config.put("enable.auto.commit", false);
        config.put("session.timeout.ms", 10000);
        config.put("heartbeat.interval.ms", 300);
        KafkaConsumer<String, String> consumer = new KafkaConsumer<>(config, new StringDeserializer(), new StringDeserializer());
        consumer.subscribe(List.of(topic));
        return consumer;
    }

    private static void take(KafkaConsumer<String, String> consumer, List<Integer> seen) {
        for (ConsumerRecord<String, String> record : consumer.poll(Duration.ofMillis(100))) {
            String n = record.key().substring(4);
            check(record.value().equals("value-" + n), "value of " + record);
            check(new String(record.headers().lastHeader("h").value()).equals(n), "header of " + record);
            seen.add(Integer.parseInt(n));
        }
    }

    private static void until(BooleanSupplier condition, Runnable step) {
        long end = System.nanoTime() + Duration.ofSeconds(40).toNanos();
        while (!condition.getAsBoolean()) {
            check(System.nanoTime() < end, "out of time");
            step.run();
        }
    }

    private static void check(boolean good, String what) {
        if (!good) {
            throw new IllegalStateException(what);
        }
    }
}
