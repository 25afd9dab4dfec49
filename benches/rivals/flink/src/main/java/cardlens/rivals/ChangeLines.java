package cardlens.rivals;

import java.io.BufferedOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import org.apache.flink.api.common.serialization.BulkWriter;

/**
 * Changes as W1's lines of JSON.
 *
 * <p>A bulk writer, because what a row format writes goes to the file by a system call each time.
 */
final class ChangeLines implements BulkWriter<Change> {
    private static final int BUFFER_BYTES = 1 << 18;

    private final OutputStream out;
    private final StringBuilder line = new StringBuilder();

    ChangeLines(OutputStream stream) {
        out = new BufferedOutputStream(stream, BUFFER_BYTES);
    }

    @Override
    public void addElement(Change change) throws IOException {
        line.setLength(0);
        line.append("{\"customer\":\"").append(change.customer);
        line.append("\",\"time\":").append(change.time);
        line.append(",\"from\":").append(change.from);
        line.append(",\"to\":").append(change.to).append("}\n");
        out.write(line.toString().getBytes(StandardCharsets.UTF_8));
    }

    @Override
    public void flush() throws IOException {
        out.flush();
    }

    @Override
    public void finish() throws IOException {
        out.flush();
    }
}
