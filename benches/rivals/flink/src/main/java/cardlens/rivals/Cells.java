package cardlens.rivals;

/** What a customer spent in one category on one day, in the order of days, as columns. */
final class Cells {
    private static final int FEW = 8;

    int count;
    int[] days;
    byte[] categories;
    /** Minor units, refunds subtracted. */
    long[] amounts;
    /** Records, refunds counted. */
    int[] records;

    Cells() {
        this(FEW);
    }

    /** No cells, and room for so many. */
    Cells(int room) {
        days = new int[room];
        categories = new byte[room];
        amounts = new long[room];
        records = new int[room];
    }

    /** Adds to the cell of that day and category, which is among the last ones or new. */
    void add(int day, int category, long amount) {
        for (int cell = count - 1; cell >= 0 && days[cell] == day; cell--) {
            if (categories[cell] == category) {
                amounts[cell] += amount;
                records[cell]++;
                return;
            }
        }
        append(day, category, amount, 1);
    }

    void append(int day, int category, long amount, int recordCount) {
        days[count] = day;
        categories[count] = (byte) category;
        amounts[count] = amount;
        records[count] = recordCount;
        count++;
    }

    boolean full() {
        return count == days.length;
    }

    /** A copy of the cells from {@code first} on, in twice the room that they need. */
    Cells from(int first) {
        int kept = count - first;
        Cells copy = new Cells(Math.max(FEW, kept * 2));
        System.arraycopy(days, first, copy.days, 0, kept);
        System.arraycopy(categories, first, copy.categories, 0, kept);
        System.arraycopy(amounts, first, copy.amounts, 0, kept);
        System.arraycopy(records, first, copy.records, 0, kept);
        copy.count = kept;
        return copy;
    }
}
