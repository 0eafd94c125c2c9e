import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.consumer.CommitFailedException;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.errors.RebalanceInProgressException;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/** What kafka-clients does beside the client under test; `clients_suite.rs` says what for. */
public final class SuiteClient {
    private static final Map<String, String> ASSIGNORS = Map.of(
        "range", "RangeAssignor", "roundrobin", "RoundRobinAssignor",
        "sticky", "StickyAssignor", "cooperative-sticky", "CooperativeStickyAssignor");

    public static void main(String[] args) throws Exception {
        switch (args[0]) {
            case "partitions" -> partitions(args[1], args[2], Integer.parseInt(args[3]));
            case "transactions" -> transactions(args[1], args[2]);
            case "read" -> read(args[1], args[2], Integer.parseInt(args[3]));
            case "member" -> member(args[1], args[2], args[3], args[4]);
            default -> throw new IllegalArgumentException(args[0]);
        }
    }

    private static KafkaProducer<String, String> producer(String bootstrap, Map<String, Object> more) {
        Map<String, Object> config = new HashMap<>(more);
        config.put("bootstrap.servers", bootstrap);
        return new KafkaProducer<>(config, new StringSerializer(), new StringSerializer());
    }

    private static KafkaConsumer<String, String> consumer(String bootstrap, Map<String, Object> more) {
        Map<String, Object> config = new HashMap<>(more);
        config.put("bootstrap.servers", bootstrap);
        config.put("auto.offset.reset", "earliest");
        config.put("enable.auto.commit", false);
        return new KafkaConsumer<>(config, new StringDeserializer(), new StringDeserializer());
    }

    /** Sends keys and prints the partition of each. */
    private static void partitions(String bootstrap, String topic, int count) throws Exception {
        try (var producer = producer(bootstrap, Map.of())) {
            for (int i = 0; i < count; i++) {
                System.out.println(producer.send(new ProducerRecord<>(topic, "key-" + i, "v")).get().partition());
            }
        }
    }

    /** Ten committed records, ten aborted ones, ten committed ones, in partition 0. */
    private static void transactions(String bootstrap, String topic) throws Exception {
        try (var producer = producer(bootstrap, Map.of("transactional.id", topic))) {
            producer.initTransactions();
            for (int round = 0; round < 3; round++) {
                producer.beginTransaction();
                for (int i = 0; i < 10; i++) {
                    producer.send(new ProducerRecord<>(topic, 0, null, (round == 1 ? "gone-" : "kept-") + round + "-" + i));
                }
                producer.flush();
                if (round == 1) {
                    producer.abortTransaction();
                } else {
                    producer.commitTransaction();
                }
            }
        }
    }

    /** Reads so many records of a topic and prints them: partition, offset, key, value, header. */
    private static void read(String bootstrap, String topic, int count) {
        try (var consumer = consumer(bootstrap, Map.of())) {
            consumer.assign(consumer.partitionsFor(topic).stream()
                .map(p -> new org.apache.kafka.common.TopicPartition(topic, p.partition())).toList());
            for (int seen = 0; seen < count;) {
                for (var record : consumer.poll(Duration.ofMillis(100))) {
                    seen++;
                    System.out.println(record.partition() + " " + record.offset() + " " + record.key() + " " + record.value()
                        + " " + new String(record.headers().lastHeader("h").value()));
                }
            }
        }
    }

    /** A member that prints what it reads until a record says stop and nothing is left in its partitions. */
    private static void member(String bootstrap, String topic, String group, String assignor) {
        Map<String, Object> config = Map.of("group.id", group, "session.timeout.ms", 10000, "heartbeat.interval.ms", 300,
            "partition.assignment.strategy", "org.apache.kafka.clients.consumer." + ASSIGNORS.get(assignor));
        try (var consumer = consumer(bootstrap, config)) {
            consumer.subscribe(List.of(topic));
            boolean stopped = false;
            while (true) {
                for (var record : consumer.poll(Duration.ofMillis(100))) {
                    if (record.value().equals("stop")) {
                        stopped = true;
                    } else {
                        System.out.println(record.partition() + " " + record.offset());
                    }
                }
                try {
                    consumer.commitSync();
                } catch (RebalanceInProgressException | CommitFailedException e) {
                    // The group is going on without this member's last poll: the next one joins again.
                    continue;
                }
                var ends = consumer.endOffsets(consumer.assignment());
                if (stopped && ends.entrySet().stream().allMatch(e -> consumer.position(e.getKey()) >= e.getValue())) {
                    return;
                }
            }
        }
    }
}
