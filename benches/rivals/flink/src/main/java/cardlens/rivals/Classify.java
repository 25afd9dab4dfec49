package cardlens.rivals;

import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.api.common.state.ValueState;
import org.apache.flink.api.common.state.ValueStateDescriptor;
import org.apache.flink.streaming.api.functions.KeyedProcessFunction;
import org.apache.flink.util.Collector;

/** The task: after each transaction, its customer's windows, the rule, and the change if any. */
public final class Classify extends KeyedProcessFunction<String, Transaction, Change> {
    private static final long DAY_MS = 86_400_000;

    private transient ValueState<Customer> customers;
    /** The one object that is sent on: what follows in the chain has written it when it returns. */
    private transient Change change;

    @Override
    public void open(OpenContext open) {
        var customer = new ValueStateDescriptor<>("customer", CustomerSerializer.INSTANCE);
        customers = getRuntimeContext().getState(customer);
        change = new Change();
    }

    @Override
    public void processElement(Transaction transaction, Context context, Collector<Change> out)
            throws Exception {
        Customer customer = customers.value();
        if (customer == null) {
            customer = new Customer();
        }
        int day = (int) (transaction.time / DAY_MS);
        customer.add(day, transaction.category, transaction.amount);
        int code = customer.classify();
        if (code != customer.code) {
            change.customer = transaction.customer;
            change.time = transaction.time;
            change.from = customer.code;
            change.to = code;
            out.collect(change);
            customer.code = code;
        }
        customers.update(customer);
    }
}
