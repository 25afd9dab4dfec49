package cardlens.rivals;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import java.io.IOException;
import java.util.Arrays;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.connector.file.src.reader.SimpleStreamFormat;
import org.apache.flink.connector.file.src.reader.StreamFormat;
import org.apache.flink.core.fs.FSDataInputStream;

/**
 * Transactions from a file of JSON objects, one a line.
 *
 * <p>Jackson reads the stream of bytes itself, so no line becomes a string, and values that nobody
 * asks for are never decoded.
 */
public final class TransactionFormat extends SimpleStreamFormat<Transaction> {
    private static final long DAY_MS = 86_400_000;
    /** The merchant category code of each category. */
    private static final int[] CODES = {
        5411, 5812, 5541, 4111, 4511, 7011, 5964, 5311, 5651, 5732,
        5712, 8011, 6300, 8211, 8351, 4900, 4814, 7832, 7230, 5999,
    };
    private static final int OTHER = 19;
    private static final byte[] CATEGORIES = new byte[10_000];

    static {
        Arrays.fill(CATEGORIES, (byte) OTHER);
        for (int category = 0; category < CODES.length; category++) {
            CATEGORIES[CODES[category]] = (byte) category;
        }
    }

    private static final JsonFactory JSON = new JsonFactory();

    @Override
    public StreamFormat.Reader<Transaction> createReader(
            Configuration config, FSDataInputStream stream) throws IOException {
        return new Reader(JSON.createParser(stream));
    }

    @Override
    public TypeInformation<Transaction> getProducedType() {
        return TypeInformation.of(Transaction.class);
    }

    private record Reader(JsonParser parser) implements StreamFormat.Reader<Transaction> {
        @Override
        public Transaction read() throws IOException {
            if (parser.nextToken() == null) {
                return null;
            }
            Transaction transaction = new Transaction();
            boolean refund = false;
            String name;
            while ((name = parser.nextFieldName()) != null) {
                parser.nextToken();
                switch (name) {
                    case "customer" -> transaction.customer = parser.getText();
                    case "time" -> transaction.time = time();
                    case "kind" -> refund = parser.getText().equals("refund");
                    case "amount_minor" -> transaction.amount = parser.getLongValue();
                    case "mcc" -> transaction.category = category();
                    default -> parser.skipChildren();
                }
            }
            if (refund) {
                transaction.amount = -transaction.amount;
            }
            return transaction;
        }

        @Override
        public void close() throws IOException {
            parser.close();
        }

        private int category() throws IOException {
            return CATEGORIES[digits(parser.getTextCharacters(), parser.getTextOffset(), 4)];
        }

        /**
         * Milliseconds since 1970 of {@code 2025-01-01T00:00:17.280Z}. Written out, because {@link
         * java.time.Instant#parse} costs as much as all the rest of a record.
         */
        private long time() throws IOException {
            char[] text = parser.getTextCharacters();
            int at = parser.getTextOffset();
            if (parser.getTextLength() != 24 || text[at + 10] != 'T' || text[at + 23] != 'Z') {
                throw new IOException("a time is not as written: " + parser.getText());
            }
            int month = digits(text, at + 5, 2);
            int day = digits(text, at + 8, 2);
            // Days from 1970 by the civil calendar, years beginning in March.
            long year = digits(text, at, 4) - (month <= 2 ? 1 : 0);
            long dayOfYear = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
            long days = year * 365 + year / 4 - year / 100 + year / 400 + dayOfYear - 719_468;
            int minutes = digits(text, at + 11, 2) * 60 + digits(text, at + 14, 2);
            int seconds = minutes * 60 + digits(text, at + 17, 2);
            return days * DAY_MS + seconds * 1_000L + digits(text, at + 20, 3);
        }

        private static int digits(char[] text, int from, int count) throws IOException {
            int number = 0;
            for (int at = from; at < from + count; at++) {
                int digit = text[at] - '0';
                if (digit < 0 || digit > 9) {
                    throw new IOException("`" + text[at] + "` where a digit belongs");
                }
                number = number * 10 + digit;
            }
            return number;
        }
    }
}
