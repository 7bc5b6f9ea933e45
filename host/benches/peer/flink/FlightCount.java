// The Flink job of `cargo xtask bench rows --peer flink`. It runs the same job as host/benches/rows.rs.
//
// Runs in one process, as a cluster of one task manager with one slot per subtask. Prints one line of JSON.
//
// Usage: FlightCount BACKEND INPUT_FOLDER PARALLELISM STATE_FOLDER

import java.io.IOException;
import java.nio.file.Path;
import java.time.Duration;
import java.util.concurrent.atomic.AtomicLong;

import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.api.common.functions.RichFlatMapFunction;
import org.apache.flink.api.common.state.ValueState;
import org.apache.flink.api.common.state.ValueStateDescriptor;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.api.connector.sink2.Sink;
import org.apache.flink.api.connector.sink2.SinkWriter;
import org.apache.flink.api.connector.sink2.WriterInitContext;
import org.apache.flink.api.java.tuple.Tuple2;
import org.apache.flink.api.java.tuple.Tuple3;
import org.apache.flink.configuration.CheckpointingOptions;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.configuration.PipelineOptions;
import org.apache.flink.configuration.StateBackendOptions;
import org.apache.flink.configuration.TaskManagerOptions;
import org.apache.flink.connector.file.src.FileSource;
import org.apache.flink.connector.file.src.reader.TextLineInputFormat;
import org.apache.flink.state.rocksdb.RocksDBOptions;
import org.apache.flink.streaming.api.environment.LocalStreamEnvironment;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.streaming.api.functions.KeyedProcessFunction;
import org.apache.flink.util.Collector;

public final class FlightCount {
    /** Columns of the file. */
    private static final int DEP_DELAY = 5;
    private static final int TAILNUM = 11;

    /** When the first record was parsed and when the last one was dropped, of all subtasks: they share this process. */
    private static final AtomicLong FIRST_NS = new AtomicLong(Long.MAX_VALUE);
    private static final AtomicLong LAST_NS = new AtomicLong(Long.MIN_VALUE);
    private static final AtomicLong RECORDS = new AtomicLong();

    public static void main(String[] arguments) throws Exception {
        Path input = Path.of(arguments[1]);
        int parallelism = Integer.parseInt(arguments[2]);
        Path folder = Path.of(arguments[3]);

        Configuration settings = new Configuration();
        settings.set(StateBackendOptions.STATE_BACKEND, arguments[0]);
        settings.set(TaskManagerOptions.NUM_TASK_SLOTS, parallelism);
        settings.set(RocksDBOptions.LOCAL_DIRECTORIES, folder.resolve("rocksdb").toString());
        settings.set(CheckpointingOptions.CHECKPOINT_STORAGE, "filesystem");
        settings.set(CheckpointingOptions.CHECKPOINTS_DIRECTORY, folder.resolve("checkpoints").toUri().toString());
        settings.set(CheckpointingOptions.CHECKPOINTING_INTERVAL, Duration.ofSeconds(1));
        settings.set(PipelineOptions.OBJECT_REUSE, true);
        settings.set(PipelineOptions.AUTO_WATERMARK_INTERVAL, Duration.ZERO);

        LocalStreamEnvironment environment = StreamExecutionEnvironment.createLocalEnvironment(parallelism, settings);
        FileSource<String> lines = FileSource
                .forRecordStreamFormat(new TextLineInputFormat(), new org.apache.flink.core.fs.Path(input.toUri()))
                .build();
        environment.fromSource(lines, WatermarkStrategy.noWatermarks(), "lines")
                .flatMap(new Parse()).returns(Types.TUPLE(Types.STRING, Types.INT))
                .keyBy(flight -> flight.f0, Types.STRING)
                .process(new Track())
                .returns(Types.TUPLE(Types.STRING, Types.LONG, Types.LONG))
                .sinkTo(new Drop());
        environment.execute("flight-count");

        System.out.printf("{\"records\":%d,\"nanoseconds\":%d}%n", RECORDS.get(), LAST_NS.get() - FIRST_NS.get());
    }

    /** A line becomes (tailnum, dep_delay), with no delay for flights that did not depart. Leaves out the headers. */
    private static final class Parse extends RichFlatMapFunction<String, Tuple2<String, Integer>> {
        private transient Tuple2<String, Integer> flight;

        @Override
        public void open(OpenContext context) {
            flight = Tuple2.of("", 0);
            FIRST_NS.accumulateAndGet(System.nanoTime(), Math::min);
        }

        @Override
        public void flatMap(String line, Collector<Tuple2<String, Integer>> out) {
            String[] fields = line.split(",");
            if (fields[TAILNUM].equals("tailnum")) {
                return;
            }
            flight.f0 = fields[TAILNUM];
            flight.f1 = fields[DEP_DELAY].isEmpty() ? 0 : Integer.parseInt(fields[DEP_DELAY]);
            out.collect(flight);
        }
    }

    /** Emits the aircraft with its number of flights and its total delay. */
    private static final class Track
            extends KeyedProcessFunction<String, Tuple2<String, Integer>, Tuple3<String, Long, Long>> {
        private transient ValueState<Tuple2<Long, Long>> stats;
        private transient Tuple3<String, Long, Long> delay;

        @Override
        public void open(OpenContext context) {
            stats = getRuntimeContext()
                    .getState(new ValueStateDescriptor<>("stats", Types.TUPLE(Types.LONG, Types.LONG)));
            delay = Tuple3.of("", 0L, 0L);
        }

        @Override
        public void processElement(
                Tuple2<String, Integer> flight, Context context, Collector<Tuple3<String, Long, Long>> out)
                throws IOException {
            Tuple2<Long, Long> now = stats.value();
            if (now == null) {
                now = Tuple2.of(0L, 0L);
            }
            now.f0 += 1;
            now.f1 += flight.f1;
            stats.update(now);
            delay.f0 = flight.f0;
            delay.f1 = now.f0;
            delay.f2 = now.f1;
            out.collect(delay);
        }
    }

    /** Counts the records and drops them. */
    private static final class Drop implements Sink<Tuple3<String, Long, Long>> {
        @Override
        public SinkWriter<Tuple3<String, Long, Long>> createWriter(WriterInitContext context) {
            return new SinkWriter<>() {
                private long records;

                @Override
                public void write(Tuple3<String, Long, Long> delay, Context context) {
                    records++;
                }

                @Override
                public void flush(boolean endOfInput) {
                    if (endOfInput) {
                        LAST_NS.accumulateAndGet(System.nanoTime(), Math::max);
                        RECORDS.addAndGet(records);
                    }
                }

                @Override
                public void close() {}
            };
        }
    }
}
