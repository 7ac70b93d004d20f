// A server in Java that keeps what it should not: 211 direct buffers at every `go`.
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;

public class Keep {
    static final List<ByteBuffer> held = new ArrayList<>();

    static void keepChat(int n) {
        held.add(ByteBuffer.allocateDirect(20000 + n % 7));
    }

    static void onMessage(int n) {
        keepChat(n);
    }

    public static void main(String[] arguments) throws Exception {
        BufferedReader input = new BufferedReader(new InputStreamReader(System.in));
        System.out.println("READY");
        for (String line = input.readLine(); line != null && line.equals("go"); line = input.readLine()) {
            for (int i = 0; i < 211; i++) onMessage(i);
            System.out.println("{}");
        }
    }
}
