import com.sun.net.httpserver.HttpServer;
import java.net.InetSocketAddress;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;

/** Answers every request, and keeps a buffer a hundred times a second: outside of the heap that Java collects. */
public class Field {
    private static final List<ByteBuffer> KEPT = Collections.synchronizedList(new ArrayList<>());

    public static void main(String[] arguments) throws Exception {
        Runnable keep = () -> KEPT.add(ByteBuffer.allocateDirect(4096));
        Executors.newSingleThreadScheduledExecutor().scheduleAtFixedRate(keep, 0, 10, TimeUnit.MILLISECONDS);
        InetSocketAddress address = new InetSocketAddress("127.0.0.1", Integer.parseInt(arguments[0]));
        HttpServer server = HttpServer.create(address, 0);
        server.createContext("/", exchange -> {
            byte[] answer = (KEPT.size() + "\n").getBytes();
            exchange.sendResponseHeaders(200, answer.length);
            exchange.getResponseBody().write(answer);
            exchange.close();
        });
        server.start();
    }
}
