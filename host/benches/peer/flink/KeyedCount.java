// The Flink job of `cargo xtask bench keyed-count --peer flink`. It runs the same job as host/benches/keyed-count.rs.
//
// Runs in one process, as a cluster of one task manager with one slot per subtask. Prints one line of JSON.
//
// Usage: KeyedCount BACKEND INPUT_FOLDER PARALLELISM MANAGED_BYTES STATE_FOLDER

import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.concurrent.atomic.AtomicLong;

import com.sun.management.OperatingSystemMXBean;

import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.api.common.functions.RichMapFunction;
import org.apache.flink.api.common.state.ValueState;
import org.apache.flink.api.common.state.ValueStateDescriptor;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.api.connector.sink2.Sink;
import org.apache.flink.api.connector.sink2.SinkWriter;
import org.apache.flink.api.connector.sink2.WriterInitContext;
import org.apache.flink.api.java.tuple.Tuple2;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.configuration.MemorySize;
import org.apache.flink.configuration.PipelineOptions;
import org.apache.flink.configuration.StateBackendOptions;
import org.apache.flink.configuration.TaskManagerOptions;
import org.apache.flink.connector.file.src.FileSource;
import org.apache.flink.connector.file.src.reader.TextLineInputFormat;
import org.apache.flink.state.rocksdb.RocksDBConfigurableOptions;
import org.apache.flink.state.rocksdb.RocksDBOptions;
import org.apache.flink.streaming.api.environment.LocalStreamEnvironment;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.streaming.api.functions.KeyedProcessFunction;
import org.apache.flink.util.Collector;

public final class KeyedCount {
    /** When the first record was parsed and when the last one was dropped, of all subtasks: they share this process. */
    private static final AtomicLong FIRST_NS = new AtomicLong(Long.MAX_VALUE);
    private static final AtomicLong LAST_NS = new AtomicLong(Long.MIN_VALUE);
    private static final AtomicLong FIRST_CPU_NS = new AtomicLong(Long.MAX_VALUE);
    private static final AtomicLong LAST_CPU_NS = new AtomicLong(Long.MIN_VALUE);
    private static final AtomicLong RECORDS = new AtomicLong();
    private static final OperatingSystemMXBean PROCESS =
            (OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean();

    public static void main(String[] arguments) throws Exception {
        String backend = arguments[0];
        Path input = Path.of(arguments[1]);
        int parallelism = Integer.parseInt(arguments[2]);

        Configuration settings = new Configuration();
        settings.set(StateBackendOptions.STATE_BACKEND, backend);
        settings.set(TaskManagerOptions.NUM_TASK_SLOTS, parallelism);
        settings.set(TaskManagerOptions.MANAGED_MEMORY_SIZE, new MemorySize(Long.parseLong(arguments[3])));
        settings.set(RocksDBOptions.LOCAL_DIRECTORIES, arguments[4]);
        // Without these two options, a state that exceeds the memory reads whole indexes and filters for each key.
        settings.set(RocksDBConfigurableOptions.USE_BLOOM_FILTER, true);
        settings.set(RocksDBOptions.USE_PARTITIONED_INDEX_FILTERS, true);
        settings.set(PipelineOptions.OBJECT_REUSE, true);
        settings.set(PipelineOptions.AUTO_WATERMARK_INTERVAL, Duration.ZERO);

        LocalStreamEnvironment environment = StreamExecutionEnvironment.createLocalEnvironment(parallelism, settings);
        FileSource<String> lines = FileSource
                .forRecordStreamFormat(new TextLineInputFormat(), new org.apache.flink.core.fs.Path(input.toUri()))
                .build();
        environment.fromSource(lines, WatermarkStrategy.noWatermarks(), "lines")
                .map(new Parse()).returns(Types.TUPLE(Types.STRING, Types.LONG))
                .keyBy(event -> event.f0, Types.STRING)
                .process(new Count())
                .sinkTo(new Drop());
        environment.execute("keyed-count");

        System.out.printf("{\"records\":%d,\"nanoseconds\":%d,\"cpu_nanoseconds\":%d,\"resident_bytes\":%d}%n",
                RECORDS.get(), LAST_NS.get() - FIRST_NS.get(), LAST_CPU_NS.get() - FIRST_CPU_NS.get(), residentBytesMax());
    }

    /** {@code KEY,PAYLOAD} becomes (KEY, 1). */
    private static final class Parse extends RichMapFunction<String, Tuple2<String, Long>> {
        private transient Tuple2<String, Long> event;

        @Override
        public void open(OpenContext context) {
            event = Tuple2.of("", 1L);
            FIRST_NS.accumulateAndGet(System.nanoTime(), Math::min);
            FIRST_CPU_NS.accumulateAndGet(PROCESS.getProcessCpuTime(), Math::min);
        }

        @Override
        public Tuple2<String, Long> map(String line) {
            event.f0 = line.substring(0, line.indexOf(','));
            return event;
        }
    }

    /** Emits the count of the record's key, with it. */
    private static final class Count extends KeyedProcessFunction<String, Tuple2<String, Long>, Long> {
        private transient ValueState<Long> count;

        @Override
        public void open(OpenContext context) {
            count = getRuntimeContext().getState(new ValueStateDescriptor<>("count", Types.LONG));
        }

        @Override
        public void processElement(Tuple2<String, Long> event, Context context, Collector<Long> out) throws IOException {
            Long before = count.value();
            Long now = before == null ? event.f1 : before + event.f1;
            count.update(now);
            out.collect(now);
        }
    }

    /** Counts the records and drops them. */
    private static final class Drop implements Sink<Long> {
        @Override
        public SinkWriter<Long> createWriter(WriterInitContext context) {
            return new SinkWriter<>() {
                private long records;

                @Override
                public void write(Long count, Context context) {
                    records++;
                }

                @Override
                public void flush(boolean endOfInput) {
                    if (endOfInput) {
                        LAST_NS.accumulateAndGet(System.nanoTime(), Math::max);
                        LAST_CPU_NS.accumulateAndGet(PROCESS.getProcessCpuTime(), Math::max);
                        RECORDS.addAndGet(records);
                    }
                }

                @Override
                public void close() {}
            };
        }
    }

    /** The most memory that this process has had resident. */
    private static long residentBytesMax() throws IOException {
        for (String line : Files.readAllLines(Path.of("/proc/self/status"))) {
            if (line.startsWith("VmHWM:")) {
                return Long.parseLong(line.replaceAll("[^0-9]", "")) << 10;
            }
        }
        throw new IOException("no VmHWM");
    }
}
