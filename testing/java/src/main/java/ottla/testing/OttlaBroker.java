package ottla.testing;

import java.io.File;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;

import org.junit.jupiter.api.extension.AfterAllCallback;
import org.junit.jupiter.api.extension.AfterEachCallback;
import org.junit.jupiter.api.extension.BeforeAllCallback;
import org.junit.jupiter.api.extension.BeforeEachCallback;
import org.junit.jupiter.api.extension.ExtensionContext;
import org.junit.jupiter.api.extension.ParameterContext;
import org.junit.jupiter.api.extension.ParameterResolver;

/**
 * A Kafka broker for a test: {@code ottla dev} in a process of its own. As an extension of JUnit 5 it runs for the class
 * (in a static field, or with {@code @ExtendWith}) or for each test; without JUnit's help, from {@link #start} to
 * {@link #close}.
 */
public final class OttlaBroker implements BeforeAllCallback, AfterAllCallback, BeforeEachCallback, AfterEachCallback,
        ParameterResolver, AutoCloseable {
    private final Map<String, String> properties = new LinkedHashMap<>();
    private String binary;
    private Duration readyLimit = Duration.ofSeconds(10);
    private boolean ofClass;
    private Process process;
    private Thread ending;
    private Path home;
    private String bootstrapServers;

    /** A broker that has a property, such as {@code num.partitions}. */
    public static OttlaBroker withProperty(String name, Object value) {
        return new OttlaBroker().property(name, value);
    }

    /** Sets a property of the broker. */
    public OttlaBroker property(String name, Object value) {
        properties.put(name, String.valueOf(value));
        return this;
    }

    /** Names the program, which is otherwise OTTLA_BIN, or {@code ottla} on the PATH. */
    public OttlaBroker binary(String path) {
        binary = path;
        return this;
    }

    /** How long the broker may take to start; ten seconds unless told. */
    public OttlaBroker readyLimit(Duration limit) {
        readyLimit = limit;
        return this;
    }

    /** What clients take for bootstrap.servers. */
    public String bootstrapServers() {
        if (bootstrapServers == null) {
            throw new IllegalStateException("the broker does not run: register it with @RegisterExtension, or start() it");
        }
        return bootstrapServers;
    }

    /** Starts the broker and waits until it can be used. */
    public OttlaBroker start() {
        String program = find(binary, System.getenv());
        try {
            home = Files.createTempDirectory("ottla-test-");
            Path ready = home.resolve("ready");
            List<String> command = new ArrayList<>(List.of(program, "dev", "--ephemeral", "--port", "0",
                "--ready-file", ready.toString(), "--until-stdin-closes"));
            properties.forEach((name, value) -> command.addAll(List.of("--override", name + "=" + value)));
            process = new ProcessBuilder(command).redirectErrorStream(true).redirectOutput(log()).start();
            // Where nobody closes it, it ends with the JVM.
            ending = new Thread(process::destroy);
            Runtime.getRuntime().addShutdownHook(ending);
            long deadline = System.nanoTime() + readyLimit.toNanos();
            while (!Files.exists(ready)) {
                if (process.waitFor(5, TimeUnit.MILLISECONDS)) {
                    throw failed(program + " ended with status " + process.exitValue() + " before it was ready");
                }
                if (System.nanoTime() > deadline) {
                    throw failed(program + " is not ready after " + readyLimit.toMillis() + " ms");
                }
            }
            bootstrapServers = Files.readString(ready).strip();
            return this;
        } catch (IOException error) {
            close();
            throw new UncheckedIOException("cannot start " + program, error);
        } catch (InterruptedException error) {
            close();
            Thread.currentThread().interrupt();
            throw new IllegalStateException("interrupted while " + program + " started", error);
        }
    }

    /** Ends the broker and removes what it kept. */
    @Override
    public void close() {
        if (process != null) {
            process.destroy();
            try {
                if (!process.waitFor(10, TimeUnit.SECONDS)) {
                    process.destroyForcibly().waitFor();
                }
            } catch (InterruptedException error) {
                process.destroyForcibly();
                Thread.currentThread().interrupt();
            }
            try {
                Runtime.getRuntime().removeShutdownHook(ending);
            } catch (IllegalStateException theJvmEnds) {
                // The hook runs already.
            }
        }
        if (home != null) {
            for (File file : home.toFile().listFiles()) {
                file.delete();
            }
            home.toFile().delete();
        }
        process = null;
        home = null;
        bootstrapServers = null;
    }

    private File log() {
        return home.resolve("log").toFile();
    }

    private IllegalStateException failed(String reason) throws IOException {
        List<String> lines = Files.readAllLines(log().toPath());
        String said = String.join("\n", lines.subList(Math.max(0, lines.size() - 20), lines.size()));
        close();
        return new IllegalStateException(reason + "; it said:\n" + said);
    }

    static String find(String named, Map<String, String> environment) {
        String program = named != null ? named : environment.getOrDefault("OTTLA_BIN", "");
        if (!program.isEmpty()) {
            if (!isProgram(Path.of(program))) {
                String origin = named != null ? "the broker's binary" : "OTTLA_BIN";
                throw new IllegalStateException(origin + " is " + program + ", which is no program that can be run");
            }
            return program;
        }
        return Stream.of(environment.getOrDefault("PATH", "").split(File.pathSeparator))
            .filter(place -> !place.isEmpty())
            .map(place -> Path.of(place, "ottla"))
            .filter(OttlaBroker::isProgram)
            .map(Path::toString)
            .findFirst()
            .orElseThrow(() -> new IllegalStateException(
                "no `ottla` on the PATH: install it, or set OTTLA_BIN to where it is"));
    }

    private static boolean isProgram(Path path) {
        return Files.isRegularFile(path) && Files.isExecutable(path);
    }

    @Override
    public void beforeAll(ExtensionContext context) {
        ofClass = true;
        start();
    }

    @Override
    public void afterAll(ExtensionContext context) {
        close();
        ofClass = false;
    }

    @Override
    public void beforeEach(ExtensionContext context) {
        if (!ofClass) {
            start();
        }
    }

    @Override
    public void afterEach(ExtensionContext context) {
        if (!ofClass) {
            close();
        }
    }

    @Override
    public boolean supportsParameter(ParameterContext parameter, ExtensionContext context) {
        return ofClass && parameter.getParameter().getType() == OttlaBroker.class;
    }

    @Override
    public Object resolveParameter(ParameterContext parameter, ExtensionContext context) {
        return this;
    }
}
