package cardlens.rivals;

/**
 * A customer's exact windows: cells, and totals of each window over them.
 *
 * <p>Totals are added to as records arrive; a new day takes the cells that left a window out of its
 * totals.
 */
final class Customer {
    static final int NO_CODE = -1;
    private static final int WINDOWS = 4;
    private static final int LONGEST = WINDOWS - 1;
    private static final int CATEGORIES = 20;
    /** Days of the windows, which end on and include the day of the last transaction. */
    private static final int[] DAYS = {7, 30, 90, 365};

    /** The code that was published last. */
    int code = NO_CODE;

    private int day;
    private Cells cells;
    /** The first cell inside each window. */
    private final int[] tails = new int[WINDOWS];
    /** Sums and counts by window and category. */
    private final long[] sums = new long[WINDOWS * CATEGORIES];
    private final int[] records = new int[WINDOWS * CATEGORIES];
    /** Sums and counts by window, of all categories. */
    private final long[] sum = new long[WINDOWS];
    private final int[] record = new int[WINDOWS];

    Customer() {
        cells = new Cells();
    }

    /** A customer as it was: cells of the longest window, from which all totals follow. */
    Customer(int code, int day, Cells cells) {
        this.code = code;
        this.day = day;
        this.cells = cells;
        for (int window = 0; window < WINDOWS; window++) {
            int tail = cells.count;
            while (tail > 0 && cells.days[tail - 1] > day - DAYS[window]) {
                tail--;
                total(window, cells.categories[tail], cells.amounts[tail], cells.records[tail]);
            }
            tails[window] = tail;
        }
    }

    /** A copy that shares nothing; may be made while another thread reads this one. */
    Customer copy() {
        return new Customer(code, day, cells.from(first()));
    }

    int day() {
        return day;
    }

    /** All cells; those before {@link #first} have left the longest window. */
    Cells cells() {
        return cells;
    }

    int first() {
        return tails[LONGEST];
    }

    /** Takes a transaction in; days never go back. */
    void add(int onDay, int category, long amount) {
        if (onDay > day) {
            advance(onDay);
        }
        if (cells.full()) {
            makeRoom();
        }
        cells.add(onDay, category, amount);
        for (int window = 0; window < WINDOWS; window++) {
            total(window, category, amount, 1);
        }
    }

    private void advance(int toDay) {
        day = toDay;
        for (int window = 0; window < WINDOWS; window++) {
            int tail = tails[window];
            for (; tail < cells.count && cells.days[tail] <= toDay - DAYS[window]; tail++) {
                total(window, cells.categories[tail], -cells.amounts[tail], -cells.records[tail]);
            }
            tails[window] = tail;
        }
    }

    private void total(int window, int category, long amount, int count) {
        sums[window * CATEGORIES + category] += amount;
        records[window * CATEGORIES + category] += count;
        sum[window] += amount;
        record[window] += count;
    }

    private void makeRoom() {
        int gone = first();
        cells = cells.from(gone);
        for (int window = 0; window < WINDOWS; window++) {
            tails[window] -= gone;
        }
    }

    /** The rule of W1. */
    int classify() {
        int burst = record[0] >= 3 && sum[0] * 10 > sum[1] * 4 ? 1 : 0;
        int rise = record[1] >= 3 && sum[1] * 2 > sum[2] ? 1 : 0;
        return need() + 16 * tier() + 64 * rise + 128 * burst;
    }

    private int need() {
        long all = sum[2];
        if (record[2] < 3) {
            return 0;
        }
        if ((quarter(4) + quarter(5)) * 100 >= all * 25) {
            return 1;
        }
        if ((quarter(0) + quarter(14) + quarter(13) + quarter(10)) * 100 >= all * 40) {
            return 2;
        }
        if ((quarter(1) + quarter(17)) * 100 >= all * 35) {
            return 3;
        }
        if ((quarter(6) + quarter(9) + quarter(8)) * 100 >= all * 35) {
            return 4;
        }
        return (quarter(2) + quarter(3)) * 100 >= all * 25 ? 5 : 6;
    }

    /** The sum of a category over 90 days. */
    private long quarter(int category) {
        return sums[2 * CATEGORIES + category];
    }

    private int tier() {
        long year = sum[LONGEST];
        if (year >= 500_000) {
            return 3;
        }
        if (year >= 200_000) {
            return 2;
        }
        return year >= 50_000 ? 1 : 0;
    }
}
