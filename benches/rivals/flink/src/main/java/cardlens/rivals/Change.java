package cardlens.rivals;

/** A customer's code changed. */
public final class Change {
    public String customer;
    /** Event time of the transaction that did it, in milliseconds since 1970. */
    public long time;
    /** The code before, {@link Customer#NO_CODE} for a new customer. */
    public int from;
    public int to;
}
