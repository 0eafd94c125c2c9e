import java.util.*;
import java.util.stream.*;
import org.apache.kafka.clients.consumer.ConsumerPartitionAssignor;
import org.apache.kafka.clients.consumer.ConsumerPartitionAssignor.GroupSubscription;
import org.apache.kafka.clients.consumer.ConsumerPartitionAssignor.Subscription;
import org.apache.kafka.clients.consumer.RangeAssignor;
import org.apache.kafka.clients.consumer.RoundRobinAssignor;
import org.apache.kafka.clients.consumer.StickyAssignor;
import org.apache.kafka.common.Cluster;
import org.apache.kafka.common.Node;
import org.apache.kafka.common.PartitionInfo;

/** Prints groups of many shapes, and what Kafka's assignors give their members. */
public class Assignments {
    private static final int GROUPS = 150;
    /** A broker in each of these racks, and one in none. */
    private static final List<Node> BROKERS = List.of(new Node(0, "h", 1, "a"), new Node(1, "h", 1, "b"),
        new Node(2, "h", 1, "c"), new Node(3, "h", 1, null));

    public static void main(String[] arguments) {
        for (int seed = 0; seed < GROUPS; seed++) {
            group(new Random(seed));
        }
    }

    private static void group(Random random) {
        boolean alike = random.nextBoolean();
        int topics = 1 + random.nextInt(3), count = random.nextInt(9), brokers = 1 + random.nextInt(BROKERS.size());
        var partitions = new ArrayList<PartitionInfo>();
        for (int t = 0; t < topics; t++) {
            var line = new StringBuilder("topic t" + t);
            for (int p = 0; p < (alike ? count : random.nextInt(9)); p++) {
                var on = new ArrayList<>(BROKERS.subList(0, brokers));
                Collections.shuffle(on, random);
                on.subList(1 + random.nextInt(brokers), brokers).clear();
                var replicas = on.toArray(Node[]::new);
                partitions.add(new PartitionInfo("t" + t, p, replicas[0], replicas, replicas));
                line.append(' ').append(on.stream().map(Node::rack).filter(Objects::nonNull).sorted()
                    .collect(Collectors.joining(",", "[", "]")));
            }
            System.out.println(line);
        }
        var members = new TreeMap<String, Subscription>();
        for (int m = 1 + random.nextInt(6); m > 0; m--) {
            var wanted = new ArrayList<String>();
            for (int t = 0; t < topics; t++) {
                if (alike || random.nextInt(3) > 0) {
                    wanted.add("t" + t);
                }
            }
            // Some in a rack without brokers, some in none.
            Optional<String> rack = Optional.of(List.of("a", "b", "c", "d", "").get(random.nextInt(5))).filter(r -> !r.isEmpty());
            var subscription = new Subscription(wanted, null, List.of(), -1, rack);
            Optional<String> instance = Optional.of("i" + random.nextInt(100)).filter(i -> random.nextInt(4) == 0);
            subscription.setGroupInstanceId(instance);
            members.put("m" + m, subscription);
            System.out.println(String.join(" ", "member", "m" + m, instance.orElse("-"), rack.orElse("-"),
                wanted.toString().replace(" ", "")));
        }
        var cluster = new Cluster("c", BROKERS, partitions, Set.of(), Set.of());
        assign(new RangeAssignor(), cluster, members);
        assign(new RoundRobinAssignor(), cluster, members);
        assign(new StickyAssignor(), cluster, members);
    }

    private static void assign(ConsumerPartitionAssignor assignor, Cluster cluster, TreeMap<String, Subscription> members) {
        var given = new TreeMap<>(assignor.assign(cluster, new GroupSubscription(members)).groupAssignment());
        var line = given.entrySet().stream().map(e -> e.getKey() + "=" + e.getValue().partitions().stream()
            .map(Object::toString).sorted().collect(Collectors.joining(",")));
        System.out.println(assignor.name() + " " + line.collect(Collectors.joining(" ")));
    }
}
