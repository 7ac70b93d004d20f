import java.util.*;
public class Mix {
    interface Shape { double area(int depth); }
    static Shape square(double side) { return depth -> depth > 0 ? step(depth, side) : side * side; }
    static double step(int depth, double side) { return depth > 0 ? step(depth - 1, side) + 1 : side; }
    static int text(int seed) {
        Map<String, Integer> counts = new TreeMap<>();
        for (int i = 0; i < 50; i++) counts.merge("word" + (seed + i) % 17, i, Integer::sum);
        return counts.values().stream().mapToInt(n -> n).sum();
    }
    static int zip(byte[] bytes) throws Exception {
        var deflater = new java.util.zip.Deflater();
        deflater.setInput(bytes); deflater.finish();
        byte[] out = new byte[4096]; int n = deflater.deflate(out); deflater.end(); return n;
    }
    public static void main(String[] args) throws Exception {
        long kept = 0; byte[] bytes = new byte[2000];
        for (int seed = 0; ; seed++) {
            kept += text(seed) + (long) square(seed % 7).area(seed % 40);
            if (seed % 16 == 0) { bytes[seed % 2000]++; kept += zip(bytes); }
            if (kept == 42) System.out.println(kept);
        }
    }
}
