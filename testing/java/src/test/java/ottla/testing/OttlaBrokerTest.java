package ottla.testing;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import java.time.Duration;
import java.util.List;
import java.util.Map;

import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.ExtendWith;
import org.junit.jupiter.api.extension.RegisterExtension;
import org.junit.jupiter.api.io.TempDir;

@ExtendWith(OttlaBroker.class)
class OttlaBrokerTest {
    @RegisterExtension
    final OttlaBroker own = OttlaBroker.withProperty("num.partitions", 3);

    @Test
    void recordsComeBack() throws Exception {
        Map<String, Object> address = Map.of("bootstrap.servers", own.bootstrapServers());
        try (var producer = new KafkaProducer<>(address, new StringSerializer(), new StringSerializer())) {
            producer.send(new ProducerRecord<>("orders", "one")).get();
            assertEquals(3, producer.partitionsFor("orders").size());
        }
        Map<String, Object> reader = Map.of(
            "bootstrap.servers", own.bootstrapServers(), "group.id", "test", "auto.offset.reset", "earliest");
        try (var consumer = new KafkaConsumer<>(reader, new StringDeserializer(), new StringDeserializer())) {
            consumer.subscribe(List.of("orders"));
            long deadline = System.nanoTime() + Duration.ofSeconds(30).toNanos();
            ConsumerRecords<String, String> records = ConsumerRecords.empty();
            while (records.isEmpty() && System.nanoTime() < deadline) {
                records = consumer.poll(Duration.ofMillis(200));
            }
            assertEquals(1, records.count());
            assertEquals("one", records.iterator().next().value());
        }
    }

    @Test
    void aParameterIsTheBrokerOfTheClass(OttlaBroker ofClass) {
        assertNotEquals(own.bootstrapServers(), ofClass.bootstrapServers());
    }

    @Test
    void aMissingProgramIsNamed() {
        expect("OTTLA_BIN is /nowhere/ottla, which is no program",
            () -> OttlaBroker.find(null, Map.of("OTTLA_BIN", "/nowhere/ottla")));
        expect("no `ottla` on the PATH", () -> OttlaBroker.find(null, Map.of("PATH", "/nowhere")));
        expect("the broker's binary is /nowhere/ottla", () -> new OttlaBroker().binary("/nowhere/ottla").start());
        expect("the broker does not run", () -> new OttlaBroker().bootstrapServers());
    }

    @Test
    void aBrokerThatEndsOrHangsTellsWhy(@TempDir Path dir) throws Exception {
        expect("num.partitions", () -> OttlaBroker.withProperty("num.partitions", "many").start());
        Path hangs = Files.writeString(dir.resolve("hangs"), "#!/bin/sh\necho I hang\nexec sleep 60\n");
        Files.setPosixFilePermissions(hangs, PosixFilePermissions.fromString("rwxr-xr-x"));
        OttlaBroker slow = new OttlaBroker().binary(hangs.toString()).readyLimit(Duration.ofMillis(500));
        expect("not ready after 500 ms; it said:\nI hang", slow::start);
    }

    private static void expect(String message, org.junit.jupiter.api.function.Executable call) {
        String said = assertThrows(IllegalStateException.class, call).getMessage();
        assertTrue(said.contains(message), said);
    }
}
