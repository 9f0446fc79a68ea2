import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.MappedByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.channels.FileLock;
import java.nio.charset.StandardCharsets;
import java.nio.file.AtomicMoveNotSupportedException;
import java.nio.file.FileSystem;
import java.nio.file.FileSystems;
import java.nio.file.FileVisitResult;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.SimpleFileVisitor;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.nio.file.StandardWatchEventKinds;
import java.nio.file.WatchService;
import java.nio.file.attribute.BasicFileAttributes;
import java.nio.file.attribute.FileTime;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import java.util.zip.CRC32;

/**
 * Home keeps a folder the way a build server of Jenkins' kind keeps its home: one owner by
 * lock, configuration replaced atomically, an exploded archive, numbered builds with logs
 * and links to the last of them, a workspace that comes and goes, and a mapped cache.
 *
 *   Home run DIR BUILDS   set up, then build without end; prints "build N" once N is whole
 *   Home check DIR        look at a home after a crash, and build once more
 */
public class Home {
    private final Path dir;

    Home(Path dir) { this.dir = dir; }

    public static void main(String[] args) throws Exception {
        Home home = new Home(Path.of(args[1]));
        try (FileChannel owner = FileChannel.open(home.dir.resolve(".owner"), StandardOpenOption.CREATE, StandardOpenOption.WRITE);
             FileLock lock = owner.tryLock()) {
            if (lock == null) {
                System.out.println("locked by another");
                System.exit(3);
            }
            switch (args[0]) {
                case "run" -> home.run();
                case "check" -> home.check();
                default -> throw new IllegalArgumentException(args[0]);
            }
        }
    }

    void run() throws Exception {
        home();
        explode();
        watch();
        for (int n = 1; ; n++) {
            build(n);
            System.out.println("build " + n);
        }
    }

    /** Folders and secrets, with permissions that are asked for and read back. */
    private void home() throws IOException {
        for (String d : List.of("jobs/app/builds", "secrets", "war", "workspace", "caches")) {
            Files.createDirectories(dir.resolve(d));
        }
        Path secrets = dir.resolve("secrets");
        Files.setPosixFilePermissions(secrets, PosixFilePermissions.fromString("rwx------"));
        Path key = Files.createFile(secrets.resolve("master.key"),
            PosixFilePermissions.asFileAttribute(PosixFilePermissions.fromString("rw-------")));
        Files.writeString(key, "0123456789abcdef");
        expect("rwx------", PosixFilePermissions.toString(Files.getPosixFilePermissions(secrets)));
        expect("rw-------", PosixFilePermissions.toString(Files.getPosixFilePermissions(key)));
        FileTime time = FileTime.from(1_600_000_000_123_456_789L, TimeUnit.NANOSECONDS);
        Files.setLastModifiedTime(key, time);
        expect(time, Files.getLastModifiedTime(key));
    }

    /** Packs an archive on the folder, as a war is, and unpacks it there with times kept. */
    private void explode() throws IOException {
        Path war = dir.resolve("app.war");
        try (FileSystem zip = FileSystems.newFileSystem(war, Map.of("create", "true"))) {
            for (int i = 0; i < 100; i++) {
                Path p = zip.getPath("WEB-INF/lib" + i % 5 + "/class" + i);
                Files.createDirectories(p.getParent());
                Files.write(p, bytes(i, 1000 + i * 37));
            }
        }
        try (FileSystem zip = FileSystems.newFileSystem(war); Stream<Path> all = Files.walk(zip.getPath("/"))) {
            for (Path p : (Iterable<Path>) all::iterator) {
                Path to = dir.resolve("war").resolve(p.toString().substring(1));
                if (Files.isDirectory(p)) {
                    Files.createDirectories(to);
                } else {
                    Files.copy(p, to, StandardCopyOption.COPY_ATTRIBUTES);
                }
            }
        }
        for (int i = 0; i < 100; i++) {
            Path p = dir.resolve("war/WEB-INF/lib" + i % 5 + "/class" + i);
            expect(crc(bytes(i, 1000 + i * 37)), crc(Files.readAllBytes(p)));
        }
    }

    /** Sees its own changes through the kernel's notifications. */
    private void watch() throws Exception {
        Path drop = Files.createDirectories(dir.resolve("drop"));
        Set<String> want = new HashSet<>();
        try (WatchService service = FileSystems.getDefault().newWatchService()) {
            drop.register(service, StandardWatchEventKinds.ENTRY_CREATE, StandardWatchEventKinds.ENTRY_DELETE);
            for (int i = 0; i < 10; i++) {
                Files.writeString(drop.resolve("f" + i), "x");
                Files.delete(drop.resolve("f" + i));
                want.add("ENTRY_CREATE f" + i);
                want.add("ENTRY_DELETE f" + i);
            }
            while (!want.isEmpty()) {
                var key = service.poll(30, TimeUnit.SECONDS);
                if (key == null) {
                    throw new IllegalStateException("no event of " + want);
                }
                key.pollEvents().forEach(e -> want.remove(e.kind() + " " + e.context()));
                key.reset();
            }
        }
    }

    /** One build: workspace, log, results, links, and the configuration that counts it. */
    private void build(int n) throws IOException {
        Path build = Files.createDirectories(dir.resolve("jobs/app/builds/" + n));
        Path workspace = dir.resolve("workspace/app");
        removeAll(workspace);
        Files.createDirectories(workspace.resolve("src"));
        CRC32 sum = new CRC32();
        try (FileChannel log = FileChannel.open(build.resolve("log"), StandardOpenOption.CREATE, StandardOpenOption.APPEND)) {
            for (int i = 0; i < 20; i++) {
                byte[] source = bytes(n + i, 500);
                Path p = workspace.resolve("src/F" + i + ".java");
                Files.write(p, source);
                Files.move(p, workspace.resolve("F" + i + ".class"));
                byte[] line = ("compiled F" + i + " of build " + n + "\n").getBytes(StandardCharsets.UTF_8);
                sum.update(line);
                log.write(ByteBuffer.wrap(line));
            }
        }
        cache(n);
        replace(build.resolve("build.xml"), "<build><number>" + n + "</number><log>" + sum.getValue() + "</log></build>");
        link("lastBuild", n);
        link("lastSuccessful", n);
        replace(dir.resolve("jobs/app/config.xml"), "<job><last>" + n + "</last></job>");
    }

    /** Counts builds in a mapped file, and reads the count back through a channel. */
    private void cache(int n) throws IOException {
        try (FileChannel c = FileChannel.open(dir.resolve("caches/map"), StandardOpenOption.CREATE, StandardOpenOption.READ, StandardOpenOption.WRITE)) {
            MappedByteBuffer m = c.map(FileChannel.MapMode.READ_WRITE, 0, 1 << 16);
            m.putInt((n % 1000) * 4, n);
            m.force();
            ByteBuffer back = ByteBuffer.allocate(4);
            c.read(back, (n % 1000) * 4L);
            expect(n, back.flip().getInt());
        }
    }

    /** Replaces a file so that a reader sees the old or the new one, never a part. */
    private void replace(Path file, String text) throws IOException {
        Path tmp = Files.createTempFile(file.getParent(), "atomic", ".tmp");
        try (FileChannel c = FileChannel.open(tmp, StandardOpenOption.WRITE)) {
            c.write(ByteBuffer.wrap(text.getBytes(StandardCharsets.UTF_8)));
            c.force(true);
        }
        try {
            Files.move(tmp, file, StandardCopyOption.ATOMIC_MOVE);
        } catch (AtomicMoveNotSupportedException e) {
            throw new IllegalStateException("a move in one folder is not atomic", e);
        }
    }

    private void link(String name, int n) throws IOException {
        Path to = dir.resolve("jobs/app/builds/" + name);
        Path tmp = dir.resolve("jobs/app/builds/." + name + ".tmp");
        Files.deleteIfExists(tmp);
        Files.createSymbolicLink(tmp, Path.of(Integer.toString(n)));
        Files.move(tmp, to, StandardCopyOption.ATOMIC_MOVE);
    }

    void check() throws IOException {
        String config = Files.readString(dir.resolve("jobs/app/config.xml"));
        int last = Integer.parseInt(config.replaceAll("[^0-9]", ""));
        for (int n = 1; n <= last; n++) {
            Path build = dir.resolve("jobs/app/builds/" + n);
            byte[] log = Files.readAllBytes(build.resolve("log"));
            expect("<build><number>" + n + "</number><log>" + crc(log) + "</log></build>", Files.readString(build.resolve("build.xml")));
        }
        int linked = Integer.parseInt(Files.readSymbolicLink(dir.resolve("jobs/app/builds/lastSuccessful")).toString());
        if (linked != last && linked != last + 1) {
            throw new IllegalStateException("lastSuccessful is " + linked + " after build " + last);
        }
        removeAll(dir.resolve("jobs/app/builds/" + (last + 1))); // what the crash left of it
        build(last + 1);
        System.out.println("last " + last);
    }

    private static void removeAll(Path root) throws IOException {
        if (!Files.exists(root)) {
            return;
        }
        List<Path> folders = new ArrayList<>();
        Files.walkFileTree(root, new SimpleFileVisitor<>() {
            @Override public FileVisitResult visitFile(Path p, BasicFileAttributes a) throws IOException {
                Files.delete(p);
                return FileVisitResult.CONTINUE;
            }
            @Override public FileVisitResult postVisitDirectory(Path p, IOException e) {
                folders.add(p);
                return FileVisitResult.CONTINUE;
            }
        });
        for (Path p : folders) {
            Files.delete(p);
        }
    }

    private static byte[] bytes(int seed, int n) {
        byte[] b = new byte[n];
        new java.util.Random(seed).nextBytes(b);
        return b;
    }

    private static long crc(byte[] b) {
        CRC32 c = new CRC32();
        c.update(b);
        return c.getValue();
    }

    private static void expect(Object want, Object got) {
        if (!want.equals(got)) {
            throw new IllegalStateException("got " + got + ", want " + want);
        }
    }
}
