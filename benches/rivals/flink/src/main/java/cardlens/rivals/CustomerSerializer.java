package cardlens.rivals;

import java.io.IOException;
import org.apache.flink.api.common.typeutils.SimpleTypeSerializerSnapshot;
import org.apache.flink.api.common.typeutils.TypeSerializerSnapshot;
import org.apache.flink.api.common.typeutils.base.TypeSerializerSingleton;
import org.apache.flink.core.memory.DataInputView;
import org.apache.flink.core.memory.DataOutputView;

/**
 * A customer as bytes: for RocksDB with every record, for the heap in checkpoints.
 *
 * <p>Only the cells are written, in variable-length numbers, mostly five bytes each; totals follow
 * from them. That is several times less to write and read than the totals would be.
 */
public final class CustomerSerializer extends TypeSerializerSingleton<Customer> {
    public static final CustomerSerializer INSTANCE = new CustomerSerializer();

    @Override
    public void serialize(Customer customer, DataOutputView out) throws IOException {
        Cells cells = customer.cells();
        out.writeShort(customer.code);
        writeNumber(customer.day(), out);
        writeNumber(cells.count - customer.first(), out);
        int day = 0;
        for (int cell = customer.first(); cell < cells.count; cell++) {
            long amount = cells.amounts[cell];
            writeNumber(cells.days[cell] - day, out);
            out.writeByte(cells.categories[cell]);
            writeNumber(amount << 1 ^ amount >> 63, out);
            writeNumber(cells.records[cell], out);
            day = cells.days[cell];
        }
    }

    @Override
    public Customer deserialize(DataInputView in) throws IOException {
        int code = in.readShort();
        int lastDay = (int) readNumber(in);
        int count = (int) readNumber(in);
        // And room for one more, which is mostly why the customer is read.
        Cells cells = new Cells(count + 1);
        int day = 0;
        for (int cell = 0; cell < count; cell++) {
            day += (int) readNumber(in);
            int category = in.readByte();
            long amount = readNumber(in);
            cells.append(day, category, amount >>> 1 ^ -(amount & 1), (int) readNumber(in));
        }
        return new Customer(code, lastDay, cells);
    }

    private static void writeNumber(long number, DataOutputView out) throws IOException {
        long rest = number;
        for (; (rest & ~0x7f) != 0; rest >>>= 7) {
            out.writeByte((int) (rest & 0x7f | 0x80));
        }
        out.writeByte((int) rest);
    }

    private static long readNumber(DataInputView in) throws IOException {
        long number = 0;
        for (int shift = 0; ; shift += 7) {
            byte part = in.readByte();
            number |= (long) (part & 0x7f) << shift;
            if (part >= 0) {
                return number;
            }
        }
    }

    @Override
    public void copy(DataInputView in, DataOutputView out) throws IOException {
        serialize(deserialize(in), out);
    }

    @Override
    public Customer copy(Customer from) {
        return from.copy();
    }

    @Override
    public Customer copy(Customer from, Customer reuse) {
        return from.copy();
    }

    @Override
    public Customer deserialize(Customer reuse, DataInputView in) throws IOException {
        return deserialize(in);
    }

    @Override
    public Customer createInstance() {
        return new Customer();
    }

    @Override
    public boolean isImmutableType() {
        return false;
    }

    @Override
    public int getLength() {
        return -1;
    }

    @Override
    public TypeSerializerSnapshot<Customer> snapshotConfiguration() {
        return new Snapshot();
    }

    /** The format has no versions. Public, because Flink makes it by name. */
    public static final class Snapshot extends SimpleTypeSerializerSnapshot<Customer> {
        public Snapshot() {
            super(() -> INSTANCE);
        }
    }
}
