import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.BufferedWriter;
import java.io.File;
import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.OutputStreamWriter;
import java.nio.charset.StandardCharsets;
import java.security.KeyStore;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Base64;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.TreeMap;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.admin.TransactionListing;
import org.apache.kafka.clients.admin.TransactionState;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.acl.AccessControlEntry;
import org.apache.kafka.common.acl.AclBinding;
import org.apache.kafka.common.acl.AclOperation;
import org.apache.kafka.common.acl.AclPermissionType;
import org.apache.kafka.common.errors.InvalidReplicationFactorException;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.resource.PatternType;
import org.apache.kafka.common.resource.ResourcePattern;
import org.apache.kafka.common.resource.ResourceType;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * A broker that ends with its standard input, and a client that takes one request per line.
 *
 * <p>The client is Apache's own, so that tests do not check a client against itself. Requests and answers are JSON. The last
 * line of an answer has the member "done" or "error".
 */
public final class KafkaTool {
  private static final ObjectMapper JSON = new ObjectMapper();
  private static final Duration POLL = Duration.ofMillis(200);

  private final String servers;
  private final Admin admin;
  private final BufferedWriter out;
  private final Map<String, KafkaProducer<byte[], byte[]>> open = new HashMap<>();

  public static void main(String[] args) throws Exception {
    switch (args[0]) {
      case "broker":
        // `broker PROPERTIES`: ends when standard input does. `broker PROPERTIES detached`: ends by a signal.
        if (args.length < 3) {
          Thread watch = new Thread(KafkaTool::endWithInput, "stdin");
          watch.setDaemon(true);
          watch.start();
        }
        kafka.Kafka.main(new String[] {args[1]});
        break;
      case "client":
        new KafkaTool(args[1]).serve();
        break;
      case "private-key":
        System.out.print(privateKey(args[1], args[2].toCharArray(), args[3]));
        break;
      default:
        throw new IllegalArgumentException(args[0]);
    }
  }

  private static void endWithInput() {
    try {
      while (System.in.read() >= 0) {}
    } catch (IOException ended) {
      // The end is the end, however it came.
    }
    Runtime.getRuntime().halt(1);
  }

  /** Returns the key of an alias in a PKCS12 store as PEM. keytool exports certificates only. */
  private static String privateKey(String store, char[] password, String alias) throws Exception {
    byte[] key = KeyStore.getInstance(new File(store), password).getKey(alias, password).getEncoded();
    String lines = Base64.getMimeEncoder(64, new byte[] {'\n'}).encodeToString(key);
    return "-----BEGIN PRIVATE KEY-----\n" + lines + "\n-----END PRIVATE KEY-----\n";
  }

  private KafkaTool(String servers) {
    this.servers = servers;
    this.admin = Admin.create(Map.of("bootstrap.servers", servers, "default.api.timeout.ms", 60000));
    this.out = new BufferedWriter(
        new OutputStreamWriter(new FileOutputStream(FileDescriptor.out), StandardCharsets.UTF_8), 1 << 16);
  }

  private void serve() throws IOException {
    BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    for (String line = in.readLine(); line != null; line = in.readLine()) {
      ObjectNode last = JSON.createObjectNode();
      try {
        JsonNode result = answer(JSON.readTree(line));
        last.set("done", result);
      } catch (Exception error) {
        Throwable cause = error.getCause() == null ? error : error.getCause();
        last.put("error", cause.toString());
      }
      write(last);
      out.flush();
    }
    System.exit(0);
  }

  private void write(JsonNode node) throws IOException {
    out.write(JSON.writeValueAsString(node));
    out.write('\n');
  }

  private JsonNode answer(JsonNode request) throws Exception {
    switch (request.get("do").asText()) {
      case "create-topic":
        return createTopic(request);
      case "delete-topic":
        admin.deleteTopics(List.of(topic(request))).all().get();
        return null;
      case "add-partitions":
        admin.createPartitions(Map.of(topic(request), NewPartitions.increaseTo(request.get("total").asInt()))).all().get();
        return null;
      case "topics":
        return JSON.valueToTree(admin.listTopics().names().get());
      case "produce":
        return produce(request);
      case "generate":
        return generate(request);
      case "read":
        return read(request);
      case "end-offsets":
        return endOffsets(request);
      case "group-offsets":
        return groupOffsets(request);
      case "delete-group":
        admin.deleteConsumerGroups(List.of(request.get("group").asText())).all().get();
        return null;
      case "delete-records":
        admin.deleteRecords(Map.of(
            new TopicPartition(topic(request), request.get("partition").asInt()),
            RecordsToDelete.beforeOffset(request.get("before").asLong()))).all().get();
        return null;
      case "open-transactions":
        return openTransactions();
      case "end-transaction":
        return endTransaction(request);
      case "allow":
        return allow(request);
      default:
        throw new IllegalArgumentException("unknown request: " + request);
    }
  }

  private static String topic(JsonNode request) {
    return request.get("topic").asText();
  }

  private JsonNode createTopic(JsonNode request) throws Exception {
    NewTopic topic = new NewTopic(topic(request), request.get("partitions").asInt(), (short) 1);
    Map<String, String> config = new HashMap<>();
    if (request.has("config")) {
      request.get("config").fields().forEachRemaining(entry -> config.put(entry.getKey(), entry.getValue().asText()));
    }
    long deadline = System.nanoTime() + Duration.ofSeconds(60).toNanos();
    while (true) {
      try {
        admin.createTopics(List.of(topic.configs(config))).all().get();
        break;
      } catch (java.util.concurrent.ExecutionException error) {
        // A broker on a busy machine loses its session for a moment.
        if (!(error.getCause() instanceof InvalidReplicationFactorException) || System.nanoTime() > deadline) {
          throw error;
        }
        Thread.sleep(100);
      }
    }
    // The broker knows the topic a moment later than the controller.
    while (!isKnown(topic(request))) {
      if (System.nanoTime() > deadline) {
        throw new IllegalStateException("the topic has no leader");
      }
      Thread.sleep(20);
    }
    return null;
  }

  private boolean isKnown(String topic) throws InterruptedException {
    try {
      return admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic).partitions().stream()
          .allMatch(partition -> partition.leader() != null && !partition.leader().isEmpty());
    } catch (java.util.concurrent.ExecutionException unknown) {
      return false;
    }
  }

  private KafkaProducer<byte[], byte[]> producer(String transactionalId, int timeoutMs) {
    Properties settings = new Properties();
    settings.put("bootstrap.servers", servers);
    settings.put("linger.ms", "5");
    settings.put("batch.size", "262144");
    settings.put("buffer.memory", "67108864");
    settings.put("compression.type", "none");
    if (transactionalId != null) {
      settings.put("transactional.id", transactionalId);
      settings.put("transaction.timeout.ms", timeoutMs);
    }
    return new KafkaProducer<>(settings, new ByteArraySerializer(), new ByteArraySerializer());
  }

  private static byte[] bytes(JsonNode text) {
    return text == null || text.isNull() ? null : text.asText().getBytes(StandardCharsets.UTF_8);
  }

  /**
   * Sends records. With "transaction", the transaction of that id is opened if necessary and stays open, for at most
   * "timeout_ms".
   */
  private JsonNode produce(JsonNode request) throws Exception {
    String id = request.has("transaction") ? request.get("transaction").asText() : null;
    KafkaProducer<byte[], byte[]> producer = id == null ? producer(null, 0) : open.get(id);
    if (producer == null) {
      producer = producer(id, request.path("timeout_ms").asInt(60_000));
      producer.initTransactions();
      producer.beginTransaction();
      open.put(id, producer);
    }
    for (JsonNode record : request.get("records")) {
      Integer partition = record.hasNonNull("partition") ? record.get("partition").asInt() : null;
      Long timestamp = record.hasNonNull("timestamp") ? record.get("timestamp").asLong() : null;
      ProducerRecord<byte[], byte[]> sent = new ProducerRecord<>(
          topic(request), partition, timestamp, bytes(record.get("key")), bytes(record.get("value")));
      if (record.has("headers")) {
        record.get("headers").fields().forEachRemaining(
            header -> sent.headers().add(header.getKey(), bytes(header.getValue())));
      }
      producer.send(sent, (metadata, error) -> { if (error != null) System.err.println(error); });
    }
    producer.flush();
    if (id == null) {
      producer.close();
    }
    return JSON.getNodeFactory().numberNode(request.get("records").size());
  }

  private JsonNode endTransaction(JsonNode request) {
    KafkaProducer<byte[], byte[]> producer = open.remove(request.get("transaction").asText());
    if (request.get("commit").asBoolean()) {
      producer.commitTransaction();
    } else {
      producer.abortTransaction();
    }
    producer.close();
    return null;
  }

  /**
   * Sends the records "from" (inclusive) to "to" (exclusive). In "template", {n} is the number and {k} the number modulo "keys".
   * Record n goes to partition n modulo their number, or by its key k{k} if "keyed" is true. Its time is "start" + n * "step".
   */
  private JsonNode generate(JsonNode request) throws Exception {
    String[] pieces = request.get("template").asText().split("(?=\\{[nk]\\})|(?<=\\{[nk]\\})");
    long keys = request.path("keys").asLong(1);
    long start = request.path("start").asLong(0);
    long step = request.path("step").asLong(1);
    boolean keyed = request.path("keyed").asBoolean(false);
    String topic = topic(request);
    try (KafkaProducer<byte[], byte[]> producer = producer(null, 0)) {
      int partitions = producer.partitionsFor(topic).size();
      StringBuilder value = new StringBuilder();
      for (long n = request.get("from").asLong(); n < request.get("to").asLong(); n++) {
        value.setLength(0);
        for (String piece : pieces) {
          switch (piece) {
            case "{n}" -> value.append(n);
            case "{k}" -> value.append(n % keys);
            default -> value.append(piece);
          }
        }
        byte[] key = keyed ? ("k" + n % keys).getBytes(StandardCharsets.UTF_8) : null;
        Integer partition = keyed ? null : (int) (n % partitions);
        byte[] bytes = value.toString().getBytes(StandardCharsets.UTF_8);
        producer.send(new ProducerRecord<>(topic, partition, start + n * step, key, bytes),
            (metadata, error) -> { if (error != null) System.err.println(error); });
      }
      producer.flush();
    }
    return null;
  }

  private KafkaConsumer<byte[], byte[]> consumer(String isolation) {
    Properties settings = new Properties();
    settings.put("bootstrap.servers", servers);
    settings.put("isolation.level", isolation);
    settings.put("enable.auto.commit", "false");
    settings.put("auto.offset.reset", "earliest");
    settings.put("max.poll.records", "10000");
    settings.put("fetch.max.wait.ms", "50");
    return new KafkaConsumer<>(settings, new ByteArrayDeserializer(), new ByteArrayDeserializer());
  }

  private static List<TopicPartition> partitions(KafkaConsumer<?, ?> consumer, String topic) {
    List<TopicPartition> partitions = new ArrayList<>();
    consumer.partitionsFor(topic).forEach(info -> partitions.add(new TopicPartition(topic, info.partition())));
    return partitions;
  }

  private static String isolation(JsonNode request) {
    return request.path("isolation").asText("read_committed");
  }

  /** Writes one line per record from the beginning, or from the offsets of "from", to the end at the time of the request. */
  private JsonNode read(JsonNode request) throws Exception {
    long count = 0;
    try (KafkaConsumer<byte[], byte[]> consumer = consumer(isolation(request))) {
      List<TopicPartition> partitions = partitions(consumer, topic(request));
      Map<TopicPartition, Long> ends = consumer.endOffsets(partitions);
      consumer.assign(partitions);
      for (TopicPartition partition : partitions) {
        JsonNode from = request.path("from").path(String.valueOf(partition.partition()));
        if (from.isNumber()) {
          consumer.seek(partition, from.asLong());
        } else {
          consumer.seekToBeginning(List.of(partition));
        }
      }
      while (partitions.stream().anyMatch(partition -> consumer.position(partition) < ends.get(partition))) {
        for (ConsumerRecord<byte[], byte[]> record : consumer.poll(POLL)) {
          if (record.offset() < ends.get(new TopicPartition(record.topic(), record.partition()))) {
            write(describe(record));
            count++;
          }
        }
      }
    }
    return JSON.getNodeFactory().numberNode(count);
  }

  private static ObjectNode describe(ConsumerRecord<byte[], byte[]> record) {
    ObjectNode line = JSON.createObjectNode();
    line.put("partition", record.partition()).put("offset", record.offset()).put("timestamp", record.timestamp());
    line.put("key", text(record.key())).put("value", text(record.value()));
    if (record.headers().toArray().length > 0) {
      ArrayNode headers = line.putArray("headers");
      for (Header header : record.headers()) {
        headers.addArray().add(header.key()).add(text(header.value()));
      }
    }
    return line;
  }

  private static String text(byte[] bytes) {
    return bytes == null ? null : new String(bytes, StandardCharsets.UTF_8);
  }

  private JsonNode endOffsets(JsonNode request) {
    try (KafkaConsumer<byte[], byte[]> consumer = consumer(isolation(request))) {
      List<TopicPartition> partitions = partitions(consumer, topic(request));
      Map<String, Long> ends = new TreeMap<>();
      consumer.endOffsets(partitions).forEach((partition, end) -> ends.put(String.valueOf(partition.partition()), end));
      return JSON.valueToTree(ends);
    }
  }

  private JsonNode groupOffsets(JsonNode request) throws Exception {
    ObjectNode offsets = JSON.createObjectNode();
    Map<TopicPartition, OffsetAndMetadata> committed = admin.listConsumerGroupOffsets(request.get("group").asText())
        .partitionsToOffsetAndMetadata().get();
    committed.forEach((partition, offset) -> {
      if (offset != null) {
        offsets.putObject(partition.toString()).put("offset", offset.offset()).put("metadata", offset.metadata());
      }
    });
    return offsets;
  }

  /** Lists the transactions that are neither complete nor empty. */
  private JsonNode openTransactions() throws Exception {
    Collection<TransactionState> ended =
        Arrays.asList(TransactionState.COMPLETE_COMMIT, TransactionState.COMPLETE_ABORT, TransactionState.EMPTY);
    ArrayNode ids = JSON.createArrayNode();
    for (TransactionListing transaction : admin.listTransactions().all().get()) {
      if (!ended.contains(transaction.state())) {
        ids.add(transaction.transactionalId() + " is " + transaction.state());
      }
    }
    return ids;
  }

  /** Lets "user" do "operation" with the "resource" ("topic", "group" or "transactional_id") of this "name". */
  private JsonNode allow(JsonNode request) throws Exception {
    ResourcePattern resource = new ResourcePattern(
        ResourceType.fromString(request.get("resource").asText()), request.get("name").asText(), PatternType.LITERAL);
    AccessControlEntry entry = new AccessControlEntry("User:" + request.get("user").asText(), "*",
        AclOperation.fromString(request.get("operation").asText()), AclPermissionType.ALLOW);
    admin.createAcls(List.of(new AclBinding(resource, entry))).all().get();
    return null;
  }
}
