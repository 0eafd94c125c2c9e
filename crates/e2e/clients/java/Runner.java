import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.EOFException;
import java.io.File;
import java.io.FileDescriptor;
import java.io.FileInputStream;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.io.PrintStream;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Proxy;
import java.net.URL;
import java.net.URLClassLoader;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/**
 * Runs the main methods of Apache Kafka's tools in one JVM, several at a time.
 *
 * A call on stdin: id, class path (0 and 1 tools, 2 broker), limit in ms, number of parts, then the parts as length
 * and bytes: class, arguments, stdin. The answer on stdout: id, status, stdout, stderr. A tool which is still
 * busy after its limit is interrupted and has status -1000.
 */
public final class Runner {
    /** What a call reads and writes; threads it starts inherit it. */
    private static final class Streams {
        final InputStream in;
        final ByteArrayOutputStream out = new ByteArrayOutputStream();
        final ByteArrayOutputStream err = new ByteArrayOutputStream();
        /** The status of the first exit; what a tool prints after it would never have been seen. */
        volatile Integer exited;
        final List<Runnable> hooks = new ArrayList<>();

        Streams(byte[] stdin) {
            in = new ByteArrayInputStream(stdin);
        }
    }

    /** Thrown in place of leaving the JVM. */
    private static final class Exit extends Error {
        Exit(int status) {
            super("exit " + status, null, false, false);
        }
    }

    private static final int OUT_OF_TIME = -1000;
    private static final InheritableThreadLocal<Streams> CURRENT = new InheritableThreadLocal<>();

    public static void main(String[] args) throws Exception {
        DataInputStream calls = new DataInputStream(new java.io.BufferedInputStream(new FileInputStream(FileDescriptor.in)));
        DataOutputStream answers = new DataOutputStream(new java.io.BufferedOutputStream(new FileOutputStream(FileDescriptor.out)));
        System.setIn(new InputStream() {
            @Override public int read() throws IOException {
                Streams streams = CURRENT.get();
                return streams == null ? -1 : streams.in.read();
            }

            @Override public int read(byte[] bytes, int offset, int length) throws IOException {
                Streams streams = CURRENT.get();
                return streams == null ? -1 : streams.in.read(bytes, offset, length);
            }
        });
        PrintStream stray = System.err;
        System.setOut(new Unclosable(new Demux(true, stray)));
        System.setErr(new Unclosable(new Demux(false, stray)));
        // A tool's static fields are per class loader, so calls at the same time need one each.
        ClassLoader[] lanes = {loader(args[0]), loader(args[0]), loader(args[1], args[2])};
        while (true) {
            int id;
            try {
                id = calls.readInt();
            } catch (EOFException end) {
                Runtime.getRuntime().halt(0);
                return;
            }
            ClassLoader classes = lanes[calls.readByte()];
            int limit = calls.readInt();
            byte[][] parts = new byte[calls.readInt()][];
            for (int i = 0; i < parts.length; i++) {
                parts[i] = calls.readNBytes(calls.readInt());
            }
            new Thread(() -> run(id, classes, limit, parts, answers), "call-" + id).start();
        }
    }

    private static void run(int id, ClassLoader classes, int limit, byte[][] parts, DataOutputStream answers) {
        Streams streams = new Streams(parts[parts.length - 1]);
        int[] status = {OUT_OF_TIME};
        Thread worker = new Thread(() -> {
            CURRENT.set(streams);
            Thread.currentThread().setContextClassLoader(classes);
            String[] arguments = new String[parts.length - 2];
            for (int i = 0; i < arguments.length; i++) {
                arguments[i] = new String(parts[i + 1], StandardCharsets.UTF_8);
            }
            int left = call(classes, new String(parts[0], StandardCharsets.UTF_8), arguments);
            // As when a process ends: what a tool still has to send is sent, what it has to say is said.
            for (Runnable hook : streams.hooks) {
                hook.run();
            }
            status[0] = left;
        }, "main-" + id);
        worker.start();
        try {
            worker.join(limit);
            if (worker.isAlive()) {
                worker.interrupt();
                worker.join(5000);
                status[0] = OUT_OF_TIME;
            }
            synchronized (answers) {
                answers.writeInt(id);
                answers.writeInt(status[0]);
                for (ByteArrayOutputStream text : new ByteArrayOutputStream[] {streams.out, streams.err}) {
                    byte[] bytes = text.toByteArray();
                    answers.writeInt(bytes.length);
                    answers.write(bytes);
                }
                answers.flush();
            }
        } catch (IOException | InterruptedException gone) {
            Runtime.getRuntime().halt(1);
        }
    }

    private static int call(ClassLoader classes, String name, String[] arguments) {
        try {
            classes.loadClass(name).getMethod("main", String[].class).invoke(null, (Object) arguments);
            return CURRENT.get().exited == null ? 0 : CURRENT.get().exited;
        } catch (InvocationTargetException thrown) {
            Throwable cause = thrown.getCause();
            if (CURRENT.get().exited != null) {
                return CURRENT.get().exited;
            }
            System.err.println("Exception in thread \"main\" " + cause);
            if (System.getProperty("e2e.trace") != null) {
                cause.printStackTrace();
            }
            return 1;
        } catch (ReflectiveOperationException missing) {
            System.err.println("Runner: " + missing);
            return 127;
        }
    }

    /** A class path of its own whose Exit throws instead of leaving, and which keeps shutdown hooks for the call's end. */
    private static ClassLoader loader(String... paths) throws Exception {
        List<URL> urls = new ArrayList<>();
        for (String path : paths) {
            if (path.endsWith("/*")) {
                File[] jars = new File(path.substring(0, path.length() - 2)).listFiles((dir, file) -> file.endsWith(".jar"));
                Arrays.sort(jars);
                for (File jar : jars) {
                    urls.add(jar.toURI().toURL());
                }
            } else {
                urls.add(new File(path).toURI().toURL());
            }
        }
        ClassLoader classes = new URLClassLoader(urls.toArray(new URL[0]), ClassLoader.getPlatformClassLoader());
        String home = "org.apache.kafka.common.utils.";
        if (classes.getResource(home.replace('.', '/') + "Exit.class") == null) {
            home += "internals."; // where 4.4 has it
        }
        Class<?> exit = classes.loadClass(home + "Exit");
        Class<?> procedure = classes.loadClass(home + "Exit$Procedure");
        Object leave = Proxy.newProxyInstance(classes, new Class<?>[] {procedure}, (self, method, given) -> {
            if (method.getName().equals("execute")) {
                Streams streams = CURRENT.get();
                if (streams != null && streams.exited == null) {
                    streams.exited = (Integer) given[0];
                }
                throw new Exit((Integer) given[0]);
            }
            return method.getName().equals("hashCode") ? (Object) 1 : method.getName().equals("equals") ? (Object) false : "exit";
        });
        exit.getMethod("setExitProcedure", procedure).invoke(null, leave);
        exit.getMethod("setHaltProcedure", procedure).invoke(null, leave);
        Class<?> adder = classes.loadClass(home + "Exit$ShutdownHookAdder");
        Object keep = Proxy.newProxyInstance(classes, new Class<?>[] {adder}, (self, method, given) -> {
            Streams streams = CURRENT.get();
            if (streams != null && method.getName().equals("addShutdownHook")) {
                streams.hooks.add((Runnable) given[1]);
            }
            return method.getName().equals("hashCode") ? (Object) 1 : method.getName().equals("equals") ? (Object) false : null;
        });
        exit.getMethod("setShutdownHookAdder", adder).invoke(null, keep);
        return classes;
    }

    /** The metadata shell closes stdout when it is done; the next call needs it. */
    private static final class Unclosable extends PrintStream {
        Unclosable(OutputStream out) {
            super(out, true, StandardCharsets.UTF_8);
        }

        @Override public void close() {
            flush();
        }
    }

    /** Sends what a thread prints to the call it belongs to. */
    private static final class Demux extends OutputStream {
        private final boolean out;
        private final OutputStream stray;

        Demux(boolean out, OutputStream stray) {
            this.out = out;
            this.stray = stray;
        }

        private OutputStream target() {
            Streams streams = CURRENT.get();
            if (streams != null && streams.exited != null) {
                return OutputStream.nullOutputStream();
            }
            return streams == null ? stray : out ? streams.out : streams.err;
        }

        @Override public void write(int octet) throws IOException {
            target().write(octet);
        }

        @Override public void write(byte[] bytes, int offset, int length) throws IOException {
            target().write(bytes, offset, length);
        }
    }
}
