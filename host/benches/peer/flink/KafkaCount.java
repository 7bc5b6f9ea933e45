// The Flink job of `cargo xtask bench kafka --peer flink`. It runs the same job as host/benches/kafka.rs.
//
// Runs in one process, as a cluster of one task manager with one slot per subtask. Prints `started` when all operators are open,
// and runs until it is killed.
//
// Usage: KafkaCount GUARANTEE BROKERS INPUT_TOPIC OUTPUT_TOPIC PARALLELISM INTERVAL_MS STATE_FOLDER
// GUARANTEE is `at-least-once` or `exactly-once`.

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;

import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.api.common.functions.RichMapFunction;
import org.apache.flink.api.common.serialization.SerializationSchema;
import org.apache.flink.api.common.serialization.SimpleStringSchema;
import org.apache.flink.api.common.state.ValueState;
import org.apache.flink.api.common.state.ValueStateDescriptor;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.api.java.tuple.Tuple2;
import org.apache.flink.configuration.CheckpointingOptions;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.configuration.PipelineOptions;
import org.apache.flink.configuration.StateBackendOptions;
import org.apache.flink.configuration.TaskManagerOptions;
import org.apache.flink.connector.base.DeliveryGuarantee;
import org.apache.flink.connector.kafka.sink.KafkaRecordSerializationSchema;
import org.apache.flink.connector.kafka.sink.KafkaSink;
import org.apache.flink.connector.kafka.source.KafkaSource;
import org.apache.flink.connector.kafka.source.enumerator.initializer.OffsetsInitializer;
import org.apache.flink.streaming.api.environment.LocalStreamEnvironment;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.streaming.api.functions.KeyedProcessFunction;
import org.apache.flink.util.Collector;

public final class KafkaCount {
    /** Counts the operators that are not open yet: all subtasks share this process. */
    private static CountDownLatch closed;

    public static void main(String[] arguments) throws Exception {
        boolean exactlyOnce = arguments[0].equals("exactly-once");
        String brokers = arguments[1];
        int parallelism = Integer.parseInt(arguments[4]);
        Duration interval = Duration.ofMillis(Long.parseLong(arguments[5]));
        Path folder = Path.of(arguments[6]);
        closed = new CountDownLatch(2 * parallelism);

        Configuration settings = new Configuration();
        settings.set(StateBackendOptions.STATE_BACKEND, "hashmap");
        settings.set(TaskManagerOptions.NUM_TASK_SLOTS, parallelism);
        settings.set(CheckpointingOptions.CHECKPOINT_STORAGE, "filesystem");
        settings.set(CheckpointingOptions.CHECKPOINTS_DIRECTORY, folder.resolve("checkpoints").toUri().toString());
        settings.set(CheckpointingOptions.CHECKPOINTING_INTERVAL, interval);
        settings.set(PipelineOptions.OBJECT_REUSE, true);
        settings.set(PipelineOptions.AUTO_WATERMARK_INTERVAL, Duration.ZERO);

        KafkaSource<String> lines = KafkaSource.<String>builder()
                .setBootstrapServers(brokers)
                .setTopics(arguments[2])
                .setGroupId("flink-" + arguments[3])
                .setStartingOffsets(OffsetsInitializer.earliest())
                .setValueOnlyDeserializer(new SimpleStringSchema())
                .build();
        // Larger batches than the defaults, with which Kafka's producer is slower.
        Properties producer = new Properties();
        producer.setProperty("linger.ms", "20");
        producer.setProperty("batch.size", "262144");
        producer.setProperty("buffer.memory", "67108864");
        producer.setProperty("transaction.timeout.ms", "60000");
        KafkaSink<Tuple2<String, Long>> counts = KafkaSink.<Tuple2<String, Long>>builder()
                .setBootstrapServers(brokers)
                .setKafkaProducerConfig(producer)
                .setDeliveryGuarantee(exactlyOnce ? DeliveryGuarantee.EXACTLY_ONCE : DeliveryGuarantee.AT_LEAST_ONCE)
                .setTransactionalIdPrefix(arguments[3])
                .setRecordSerializer(KafkaRecordSerializationSchema.<Tuple2<String, Long>>builder()
                        .setTopic(arguments[3])
                        .setKeySerializationSchema(new Key())
                        .setValueSerializationSchema(new Value())
                        .build())
                .build();

        LocalStreamEnvironment environment = StreamExecutionEnvironment.createLocalEnvironment(parallelism, settings);
        environment.fromSource(lines, WatermarkStrategy.noWatermarks(), "lines")
                .map(new Parse()).returns(Types.TUPLE(Types.STRING, Types.LONG))
                .keyBy(event -> event.f0, Types.STRING)
                .process(new Count()).returns(Types.TUPLE(Types.STRING, Types.LONG))
                .sinkTo(counts);
        Thread reporter = new Thread(() -> {
            try {
                closed.await();
                System.out.println("started");
            } catch (InterruptedException ended) {
                Thread.currentThread().interrupt();
            }
        });
        reporter.setDaemon(true);
        reporter.start();
        environment.execute("kafka-count");
    }

    /** {@code KEY,PAYLOAD} becomes (KEY, 1). */
    private static final class Parse extends RichMapFunction<String, Tuple2<String, Long>> {
        private transient Tuple2<String, Long> event;

        @Override
        public void open(OpenContext context) {
            event = Tuple2.of("", 1L);
            closed.countDown();
        }

        @Override
        public Tuple2<String, Long> map(String line) {
            event.f0 = line.substring(0, line.indexOf(','));
            return event;
        }
    }

    /** Emits the count of the record's key, with the key and the rest of the record's number. */
    private static final class Count extends KeyedProcessFunction<String, Tuple2<String, Long>, Tuple2<String, Long>> {
        private transient ValueState<Long> count;

        @Override
        public void open(OpenContext context) {
            count = getRuntimeContext().getState(new ValueStateDescriptor<>("count", Types.LONG));
            closed.countDown();
        }

        @Override
        public void processElement(Tuple2<String, Long> event, Context context, Collector<Tuple2<String, Long>> out)
                throws IOException {
            Long before = count.value();
            Long now = before == null ? event.f1 : before + event.f1;
            count.update(now);
            event.f1 = now;
            out.collect(event);
        }
    }

    private static final class Key implements SerializationSchema<Tuple2<String, Long>> {
        @Override
        public byte[] serialize(Tuple2<String, Long> count) {
            return count.f0.getBytes(StandardCharsets.UTF_8);
        }
    }

    /** The same text as that of the other side. */
    private static final class Value implements SerializationSchema<Tuple2<String, Long>> {
        @Override
        public byte[] serialize(Tuple2<String, Long> count) {
            return ("{\"key\":\"" + count.f0 + "\",\"count\":" + count.f1 + "}").getBytes(StandardCharsets.UTF_8);
        }
    }
}
