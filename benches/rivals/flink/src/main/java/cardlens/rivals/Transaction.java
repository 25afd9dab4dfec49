package cardlens.rivals;

/** What the task needs of a transaction. */
public final class Transaction {
    public String customer;
    /** Milliseconds since 1970. */
    public long time;
    /** Number of the category, in the order of W1. */
    public int category;
    /** Minor units; negative for a refund. */
    public long amount;
}
