package cardlens.rivals;

import java.io.File;
import java.time.Duration;
import org.apache.flink.api.common.RuntimeExecutionMode;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.configuration.CheckpointingOptions;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.configuration.ExecutionOptions;
import org.apache.flink.configuration.MemorySize;
import org.apache.flink.configuration.PipelineOptions;
import org.apache.flink.configuration.StateBackendOptions;
import org.apache.flink.configuration.TaskManagerOptions;
import org.apache.flink.connector.file.sink.FileSink;
import org.apache.flink.connector.file.src.FileSource;
import org.apache.flink.core.fs.Path;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.streaming.api.functions.sink.filesystem.bucketassigners.BasePathBucketAssigner;

/**
 * W1 in Flink: a file of transactions, keyed by customer, one process function, a file of changes.
 *
 * <p>{@code W1Job INPUT OUTPUT heap|rocksdb [CHECKPOINTS]}: OUTPUT becomes a folder of part files,
 * in the order of the numbers that their names end in; with a folder CHECKPOINTS a checkpoint is
 * taken every ten seconds.
 */
public final class W1Job {
    private static final Duration CHECKPOINT_INTERVAL = Duration.ofSeconds(10);

    private W1Job() {}

    public static void main(String[] arguments) throws Exception {
        if (arguments.length < 3) {
            throw new IllegalArgumentException("INPUT OUTPUT heap|rocksdb [CHECKPOINTS]");
        }
        Configuration settings = settings(arguments[2]);
        if (arguments.length > 3) {
            settings.set(CheckpointingOptions.CHECKPOINTING_INTERVAL, CHECKPOINT_INTERVAL);
            settings.set(
                    CheckpointingOptions.CHECKPOINTS_DIRECTORY,
                    new File(arguments[3]).toURI().toString());
        }
        StreamExecutionEnvironment environment =
                StreamExecutionEnvironment.createLocalEnvironment(1, settings);
        build(environment, new Path(arguments[0]), new Path(arguments[1]));
        environment.execute("w1");
    }

    private static void build(StreamExecutionEnvironment environment, Path input, Path output) {
        FileSource<Transaction> source =
                FileSource.forRecordStreamFormat(new TransactionFormat(), input).build();
        FileSink<Change> sink =
                FileSink.forBulkFormat(output, ChangeLines::new)
                        .withBucketAssigner(new BasePathBucketAssigner<>())
                        .build();
        environment
                .fromSource(source, WatermarkStrategy.noWatermarks(), "transactions")
                .keyBy(transaction -> transaction.customer)
                .process(new Classify())
                .name("classify")
                .sinkTo(sink)
                .name("changes");
    }

    private static Configuration settings(String state) {
        String backend =
                switch (state) {
                    case "heap" -> "hashmap";
                    case "rocksdb" -> "rocksdb";
                    default -> throw new IllegalArgumentException("heap or rocksdb: " + state);
                };
        Configuration settings = new Configuration();
        settings.set(StateBackendOptions.STATE_BACKEND, backend);
        settings.set(CheckpointingOptions.INCREMENTAL_CHECKPOINTS, true);
        // RocksDB's buffers and cache: more than all the state, so nothing is read from files.
        settings.set(TaskManagerOptions.MANAGED_MEMORY_SIZE, MemorySize.ofMebiBytes(512));
        settings.set(ExecutionOptions.RUNTIME_MODE, RuntimeExecutionMode.STREAMING);
        settings.set(PipelineOptions.OBJECT_REUSE, true);
        // No type may fall back to Kryo.
        settings.set(PipelineOptions.GENERIC_TYPES, false);
        settings.set(PipelineOptions.AUTO_WATERMARK_INTERVAL, Duration.ZERO);
        return settings;
    }
}
