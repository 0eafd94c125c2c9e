import java.util.*;
import org.apache.kafka.common.config.ConfigDef;

/** Prints the settings of Apache Kafka's clients: client, name, type, default, what is allowed. */
public class ClientConfigs {
    public static void main(String[] arguments) throws Exception {
        var clients = new TreeMap<String, ConfigDef>();
        clients.put("producer", org.apache.kafka.clients.producer.ProducerConfig.configDef());
        clients.put("consumer", org.apache.kafka.clients.consumer.ConsumerConfig.configDef());
        clients.put("admin", org.apache.kafka.clients.admin.AdminClientConfig.configDef());
        for (var client : clients.entrySet()) {
            for (var key : new TreeMap<>(client.getValue().configKeys()).values()) {
                Object value = key.defaultValue;
                String text = value == ConfigDef.NO_DEFAULT_VALUE ? "required"
                        : value == null ? "null"
                        : "=" + ConfigDef.convertToString(value, key.type);
                System.out.println(String.join("\t", client.getKey(), key.name, key.type.toString(), text,
                        String.valueOf(key.validator).replace("\n", " ")));
            }
        }
    }
}
