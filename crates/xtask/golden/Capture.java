import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/** Writes the topics codec-* as testdata/golden/README.md describes them. Arguments: bootstrap servers. */
public class Capture {
    static final List<String> CODECS = List.of("none", "gzip", "snappy", "lz4", "zstd");

    public static void main(String[] arguments) throws Exception {
        Map<String, Object> server = Map.of("bootstrap.servers", arguments[0]);
        try (Admin admin = Admin.create(server)) {
            List<NewTopic> topics = CODECS.stream().map(c -> new NewTopic("codec-" + c, 1, (short) 1)).toList();
            // The client waits until there is a broker.
            admin.createTopics(topics).all().get(2, TimeUnit.MINUTES);
        }
        for (String codec : CODECS) {
            Map<String, Object> config = Map.of(
                "bootstrap.servers", arguments[0], "compression.type", codec, "enable.idempotence", false,
                "linger.ms", 60_000, "batch.size", 1 << 20);
            try (var producer = new KafkaProducer<>(config, new ByteArraySerializer(), new ByteArraySerializer())) {
                for (int n = 0; n < 15; n++) {
                    producer.send(record("codec-" + codec, n));
                    if (n % 5 == 4) {
                        producer.flush();
                    }
                }
            }
        }
    }

    static ProducerRecord<byte[], byte[]> record(String topic, int n) {
        long timestamp = 1_700_000_000_000L + n * 1000L - (n == 7 ? 5000 : 0);
        byte[] key = n % 5 == 3 ? null : bytes("key-" + n);
        byte[] value = n == 9 ? null : n == 10 ? bytes("") : bytes(("value " + n + " žluťoučký ").repeat(1 + 3 * n));
        List<Header> headers = new ArrayList<>();
        if (n % 2 == 0) {
            headers.add(new RecordHeader("h1", bytes("value-" + n)));
        }
        if (n % 3 == 0) {
            headers.add(new RecordHeader("h-null", (byte[]) null));
        }
        if (n == 4) {
            headers.add(new RecordHeader("dup", bytes("1")));
            headers.add(new RecordHeader("dup", bytes("2")));
            headers.add(new RecordHeader("", bytes("")));
        }
        return new ProducerRecord<>(topic, 0, timestamp, key, value, headers);
    }

    static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }
}
