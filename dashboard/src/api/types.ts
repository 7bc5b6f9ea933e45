// The answers of the API that the dashboard reads. The description of the API is at /v1/openapi.json.

export type JobStatus =
  | 'CREATED' | 'RUNNING' | 'FAILING' | 'RESTARTING' | 'SUSPENDED' | 'CANCELLING'
  | 'FINISHED' | 'CANCELED' | 'FAILED';

export interface SavepointRequest {
  request_id: string;
  status: 'in-progress' | 'completed' | 'failed';
  location: string | null;
  failure: string | null;
}

export interface JobSummary {
  id: string;
  name: string;
  status: JobStatus;
  restoring: boolean;
  stop: SavepointRequest | null;
  submitted_at_ms: number;
  ended_at_ms: number | null;
  restarts: number;
  records_in: number;
  records_late: number;
  records_skipped: number;
  records_dead_lettered: number;
  last_checkpoint: number | null;
  restored_checkpoint: number | null;
}

export interface FailedRecord {
  subtask: number;
  record: number;
  timestamp_ms: number | null;
  key: string | null;
  value: string;
  origin: string | null;
  file: string | null;
  line: number | null;
}

export interface JobFailure {
  code: string;
  message: string;
  operator: string | null;
  subtask: number | null;
  fault: { code: string; message: string; backtrace: string[] } | null;
  record: FailedRecord | null;
}

export interface PastFailure {
  at_ms: number;
  attempt: number;
  outcome: 'restart' | 'region-restart' | 'failed';
  code: string;
  message: string;
  operator: string | null;
  subtask: number | null;
}

export interface Health {
  state: 'healthy' | 'degraded' | 'down';
  since_ms: number;
  message: string;
  lag: number | null;
}

export interface OperatorDetail {
  id: string;
  kind: 'source' | 'operator' | 'sink';
  parallelism: number;
  attempt: number;
  grants: string[];
  non_deterministic: string[];
  log_level?: string;
}

export interface JobDetail extends JobSummary {
  failure: JobFailure | null;
  failures: PastFailure[];
  abandoned_threads: number;
  guarantee: string;
  warnings: string[];
  operators: OperatorDetail[];
  state_bytes: number;
  state_entries: number;
  manifest: string;
}

export interface Shares {
  busy: number;
  idle: number;
  backpressured: number;
  throttled: number;
}

export interface Totals {
  records_in: number;
  records_out: number;
  faults: number;
  records_without_timestamp: number;
  records_skipped: number;
  records_dead_lettered: number;
  records_late: number;
  busy_seconds: number;
}

export interface SubtaskMetrics {
  subtask: number;
  shares: Shares | null;
  records_in_per_second: number | null;
  records_out_per_second: number | null;
  totals: Totals;
  state_bytes: number;
  watermark_ms: number | null;
  event_time_idle: boolean;
  gauges?: Record<string, number>;
}

export interface Histogram {
  count: number;
  sum: number;
  buckets: { up_to: number | null; count: number }[];
}

export interface OperatorMetrics {
  id: string;
  kind: 'source' | 'operator' | 'sink';
  parallelism: number;
  shares: Shares | null;
  worst: Shares | null;
  records_in_per_second: number | null;
  records_out_per_second: number | null;
  totals: Totals;
  queued_bytes: number;
  channel_fill: number | null;
  state_bytes: number;
  state_entries: number;
  watermark_ms: number | null;
  event_time_idle_subtasks: number;
  health?: Health;
  faults_by_code?: Record<string, number>;
  log_lines_dropped: number;
  counters?: Record<string, number>;
  gauges?: Record<string, { min: number; max: number; mean: number }>;
  histograms?: Record<string, Histogram>;
  subtasks?: SubtaskMetrics[];
}

export interface JobMetrics {
  id: string;
  at_ms: number;
  window_ms: number | null;
  bottleneck: string | null;
  operators: OperatorMetrics[];
}

export interface GraphNode {
  id: string;
  kind: 'source' | 'operator' | 'sink';
  function?: string;
  component?: string;
  component_hash?: string;
  parallelism: number;
  chain: number;
}

export interface GraphEdge {
  from: string;
  to: string;
  output: string;
  input: string;
  partition: 'chained' | 'forward' | 'rebalance' | 'broadcast' | 'keyed';
}

export interface JobGraph {
  nodes: GraphNode[];
  edges: GraphEdge[];
}

export interface CheckpointStats {
  end_to_end_ms: number;
  start_delay_ms: number;
  alignment_ms: number;
  sync_ms: number;
  async_ms: number;
  bytes: number;
  bytes_uploaded: number;
  in_flight_bytes: number;
  unaligned: boolean;
}

export interface CheckpointSummary extends CheckpointStats {
  id: number;
  kind: 'checkpoint' | 'savepoint' | 'final';
  status: 'in-progress' | 'completed' | 'failed';
  triggered_at_ms: number;
  duration_ms: number | null;
  failure: string | null;
  location: string | null;
}

export interface OperatorCheckpoint extends CheckpointStats {
  id: string;
  version?: { component?: string; function: string; generation: number; key_type?: string };
  subtasks: CheckpointStats[];
}

export interface CheckpointDetail extends CheckpointSummary {
  operators: OperatorCheckpoint[];
}

export interface StoredSavepoint {
  id: number;
  location: string;
  taken_at_ms: number | null;
  bytes: number | null;
  failure: string | null;
}

export interface DeadLetter {
  id: string;
  node: string;
  code: string;
  message: string;
  attempt: number;
  timestamp_ms: number | null;
  key: string | null;
  value: string;
  can_be_replayed: boolean;
}

export interface Replay {
  id: number;
  operator: string;
  requested_at_ms: number;
  letters: number;
  completed_in: number | null;
}

export interface DeadLetterPage {
  total: number;
  bytes: number;
  letters: DeadLetter[];
  replays: Replay[];
}

export interface Trial {
  component: string | null;
  checkpoint: number | null;
  succeeded: number;
  failed: number;
  letters: { id: string; code: string | null; message: string | null; outputs: { output: string; value: string }[] }[];
}

export interface JobEvent {
  number: number;
  at_ms: number;
  kind: string;
  message: string;
  status?: JobStatus;
  attempt?: number;
  code?: string;
  operator?: string;
  subtask?: number;
  checkpoint?: number;
  duration_ms?: number;
  bytes?: number;
}

export interface EventPage {
  events: JobEvent[];
  oldest: number | null;
  newest: number | null;
}

export interface LogLine {
  number: number;
  at_ms: number;
  level: 'error' | 'warn' | 'info' | 'debug' | 'trace';
  operator?: string;
  subtask?: number;
  code?: string;
  suppressed: number;
  message: string;
}

export interface LogPage {
  lines: LogLine[];
  next: number;
  has_gap: boolean;
  suppressed: number;
  ended: boolean;
}

export interface StateSummary {
  state: string;
  kind: string;
  codec: string;
  schema: string;
  map_key?: string;
  ttl?: unknown;
  entries?: number;
  bytes?: number;
}

export interface StateListing {
  checkpoint: number;
  taken_at_ms: number;
  max_parallelism: number;
  operators: { operator: string; parallelism: number; entries: number; bytes: number; states: StateSummary[] }[];
}

export interface KeyState {
  checkpoint: number;
  taken_at_ms: number;
  entries: Record<string, unknown>[];
}

export interface Port {
  name: string;
  codec: string;
  schema?: string;
  key_type?: string;
}

export interface FunctionView {
  name: string;
  kind: string;
  inputs: Port[];
  outputs: Port[];
  states: { name: string; kind: string; codec: string; schema: string; map_key: string; ttl: unknown }[];
}

export interface Component {
  sha256: string;
  names: string[];
  names_hidden?: number;
  bytes: number;
  uploaded_at_ms: number;
  sdk: string;
  functions: FunctionView[];
}

export interface Caller {
  token: string | null;
  token_name: string | null;
  role: 'read' | 'submit' | 'admin';
  namespace: string;
  expires_at_ms: number | null;
}

export interface Token {
  id: string;
  name: string;
  role: Caller['role'];
  namespace: string;
  created_at_ms: number;
  expires_at_ms: number | null;
}

export interface AuditEntry {
  number: number;
  at_ms: number;
  token: string | null;
  token_name: string | null;
  namespace: string;
  address: string;
  method: string;
  route: string;
  target: string;
  status: number;
  code?: string;
}

export interface TapRecord {
  subtask: number;
  input?: string;
  output?: string;
  timestamp_ms?: number;
  key?: string;
  value: unknown;
  is_cut?: boolean;
  bytes: number;
}
