//! The metrics that `/metrics` exposes: name, kind, labels and help of each. `docs/metrics.md` explains them.

use prometheus_client::metrics::MetricType;

/// A metric that the server exposes.
#[derive(Debug)]
pub struct MetricDescription {
    /// The name as it is exposed. That of a counter ends with `_total`.
    pub name: &'static str,
    /// The kind.
    pub kind: MetricType,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// Describes the metric.
    pub help: &'static str,
}

/// Labels of a namespace.
const NAMESPACE: &[&str] = &["namespace"];
/// Labels of a job.
const JOB: &[&str] = &["namespace", "job_name"];
/// Labels of a node of a job.
const OPERATOR: &[&str] = &["namespace", "job_name", "operator"];

macro_rules! catalog {
    ($($constant:ident $kind:ident $name:literal $labels:expr, $help:literal;)*) => {
        $(
            #[doc = $help]
            pub const $constant: MetricDescription =
                MetricDescription { name: $name, kind: MetricType::$kind, labels: $labels, help: $help };
        )*
        /// Every metric that does not belong to a function. Tests compare it with what is shipped.
        #[cfg(test)]
        pub const ALL: &[&MetricDescription] = &[$(&$constant),*];
    };
}

catalog! {
    RECORDS_IN Counter "cofferdam_operator_records_in_total" OPERATOR, "Records received.";
    RECORDS_OUT Counter "cofferdam_operator_records_out_total" OPERATOR, "Records emitted.";
    BATCHES_IN Counter "cofferdam_operator_batches_in_total" OPERATOR, "Batches received.";
    BUSY Counter "cofferdam_operator_busy_seconds_total" OPERATOR, "Time in which subtasks worked, summed over them.";
    IDLE Counter "cofferdam_operator_idle_seconds_total" OPERATOR, "Time in which subtasks had nothing to process, summed over them.";
    BACKPRESSURED Counter "cofferdam_operator_backpressured_seconds_total" OPERATOR,
        "Time in which subtasks waited until their output was taken, summed over them.";
    THROTTLED Counter "cofferdam_operator_throttled_seconds_total" OPERATOR,
        "Time in which subtasks waited for a processor that another job used, summed over them.";
    BUSY_MAX Gauge "cofferdam_operator_busy_ratio_max" OPERATOR, "Share of time in which the busiest subtask worked, since an earlier scrape.";
    BACKPRESSURED_MAX Gauge "cofferdam_operator_backpressured_ratio_max" OPERATOR,
        "Share of time in which the most backpressured subtask waited for its output, since an earlier scrape.";
    BOTTLENECK Gauge "cofferdam_operator_bottleneck" OPERATOR, "1 for the operator that slows its job down.";
    SUBTASKS Gauge "cofferdam_operator_subtasks" OPERATOR, "Number of subtasks.";
    QUEUED_BYTES Gauge "cofferdam_operator_queued_bytes" OPERATOR, "Bytes of the records that wait in the channels to the operator.";
    WATERMARK Gauge "cofferdam_operator_watermark_timestamp_seconds" OPERATOR,
        "Smallest watermark of the subtasks that are not idle. Absent before the first one and after the end.";
    WATERMARK_LAG Gauge "cofferdam_operator_watermark_lag_seconds" OPERATOR, "How far the watermark is behind the clock.";
    IDLE_SUBTASKS Gauge "cofferdam_operator_event_time_idle_subtasks" OPERATOR, "Subtasks that do not hold back event time, because their inputs are idle.";
    LATE Counter "cofferdam_operator_late_records_total" &["namespace", "job_name", "operator", "handling"], "Late records, by what happened to them.";
    SKIPPED Counter "cofferdam_operator_records_skipped_total" OPERATOR, "Records dropped under on_fault or on_undecodable = skip.";
    DEAD_LETTERED Counter "cofferdam_operator_records_dead_lettered_total" OPERATOR, "Records sent to the output for dead letters.";
    WITHOUT_TIMESTAMP Counter "cofferdam_source_records_without_timestamp_total" OPERATOR, "Records of a source whose timestamp could not be read.";
    ROLLED_BACK Counter "cofferdam_operator_turns_rolled_back_total" OPERATOR, "Turns that were rolled back because of a fault.";
    FAULTS Counter "cofferdam_operator_faults_total" &["namespace", "job_name", "operator", "code"], "Faults of the function, by their code.";
    LOG_LINES_DROPPED Counter "cofferdam_function_log_lines_dropped_total" OPERATOR, "Log lines of the function that were dropped because of its limits.";
    TURN_SECONDS Histogram "cofferdam_function_turn_seconds" OPERATOR, "Time of a turn of the function, with the commit of its effects.";
    TIMERS_REGISTERED Counter "cofferdam_operator_timers_registered_total" &["namespace", "job_name", "operator", "domain"], "Timers that were registered.";
    TIMERS_FIRED Counter "cofferdam_operator_timers_fired_total" &["namespace", "job_name", "operator", "domain"], "Timers that have fired.";
    TIMERS_NEXT Gauge "cofferdam_operator_timers_next_timestamp_seconds" &["namespace", "job_name", "operator", "domain"],
        "No pending timer is earlier. Absent if none is pending.";
    ROCKSDB_FILES Gauge "cofferdam_rocksdb_files" OPERATOR, "Table files of the operator's databases.";
    ROCKSDB_FILE_BYTES Gauge "cofferdam_rocksdb_file_bytes" OPERATOR, "Bytes of the table files.";
    ROCKSDB_COMPACTION_DEBT Gauge "cofferdam_rocksdb_pending_compaction_bytes" OPERATOR, "Bytes that compactions are estimated to have to rewrite.";
    ROCKSDB_COMPACTIONS Gauge "cofferdam_rocksdb_running_compactions" OPERATOR, "Compactions that run.";
    ROCKSDB_STALLS Counter "cofferdam_rocksdb_write_stalls_total" OPERATOR, "How often RocksDB has delayed or stopped writes.";
    ROCKSDB_CACHE_BYTES Gauge "cofferdam_rocksdb_write_back_cache_bytes" OPERATOR, "Bytes of the write-back caches in front of the databases.";
    STATE_BYTES Gauge "cofferdam_state_bytes" OPERATOR, "Size of the operator's state. RocksDB estimates it.";
    STATE_ENTRIES Gauge "cofferdam_state_entries" OPERATOR, "Entries of the operator's state.";
    CONNECTOR_HEALTH Gauge "cofferdam_connector_health" OPERATOR, "Whether a source or sink reaches its peers: 0 healthy, 1 degraded, 2 down.";
    PENDING_RECORDS Gauge "cofferdam_source_pending_records" OPERATOR, "Records or bytes that wait at the peer of a source or sink, if it is known.";
    SINK_COMMITS Counter "cofferdam_sink_commits_total" &["namespace", "job_name", "operator", "result"], "Publications of a sink that have ended.";
    SINK_COMMIT Histogram "cofferdam_sink_commit_seconds" OPERATOR, "Time of completed publications of a sink.";
    CHECKPOINTS Counter "cofferdam_checkpoints_total" &["namespace", "job_name", "kind", "result"], "Checkpoints and savepoints that have ended.";
    CHECKPOINT_DURATION Histogram "cofferdam_checkpoint_duration_seconds" &["namespace", "job_name", "kind"], "Time from the trigger until the metadata was durable.";
    CHECKPOINT_PHASE Histogram "cofferdam_checkpoint_phase_seconds" &["namespace", "job_name", "phase"], "Longest time of a subtask in each phase of a completed checkpoint.";
    CHECKPOINTS_IN_PROGRESS Gauge "cofferdam_checkpoints_in_progress" JOB, "Checkpoints that have not ended.";
    CHECKPOINT_LAST_COMPLETED Gauge "cofferdam_checkpoint_last_completed_timestamp_seconds" JOB, "When the last completed checkpoint was triggered.";
    CHECKPOINT_LAST_BYTES Gauge "cofferdam_checkpoint_last_bytes" JOB, "Size of all files of the last completed checkpoint.";
    CHECKPOINT_IN_FLIGHT Gauge "cofferdam_checkpoint_last_in_flight_bytes" JOB, "Bytes of records that the barrier of the last completed checkpoint overtook.";
    CHECKPOINT_UPLOADED Counter "cofferdam_checkpoint_uploaded_bytes_total" JOB, "Bytes that completed checkpoints have uploaded.";
    RESTARTS Counter "cofferdam_job_restarts_total" JOB, "Restarts after a failure since the job was submitted.";
    ATTEMPTS Counter "cofferdam_job_attempts_total" JOB, "Starts and restarts of the job and its regions since it was submitted.";
    STATUS_SECONDS Counter "cofferdam_job_status_seconds_total" &["namespace", "job_name", "status"], "Time in each status that the job has had.";
    RESTORE Histogram "cofferdam_job_restore_seconds" &["namespace", "job_name", "from"], "Time from the start of an attempt until all subtasks had their state.";
    LAST_RESTORE Gauge "cofferdam_job_last_restore_timestamp_seconds" JOB, "When the last restore ended.";
    JOB_STATUS Gauge "cofferdam_job_status" &["namespace", "job_name", "status"], "1 for the status that the job has. An ended job has no series of the other statuses.";
    NAMESPACE_STATE Gauge "cofferdam_namespace_state_bytes" NAMESPACE, "Bytes of the running state of all jobs that count for the quota.";
    NAMESPACE_LETTERS Gauge "cofferdam_namespace_dead_letter_bytes" NAMESPACE, "Bytes of the dead letters that are kept for all jobs.";
    NAMESPACE_COMPONENTS Gauge "cofferdam_namespace_component_bytes" NAMESPACE, "Bytes of the uploaded components.";
    NAMESPACE_LOG Counter "cofferdam_namespace_log_bytes_total" NAMESPACE, "Bytes of log lines that functions have written.";
    NAMESPACE_QUOTA Gauge "cofferdam_namespace_quota_used_ratio" &["namespace", "quota"], "Used share of each quota that is set.";
    JOBS Gauge "cofferdam_jobs" &["status"], "Number of jobs, by their status.";
    STATE_MEMORY Gauge "cofferdam_rocksdb_shared_memory_bytes" &["part"], "Memory that all databases share. The block cache includes the memtables.";
    STATE_MEMORY_LIMIT Gauge "cofferdam_rocksdb_memory_limit_bytes" &[], "Limit of the shared memory and the write-back caches.";
    DATABASES Gauge "cofferdam_rocksdb_databases" &[], "Open databases.";
    COMPILE Histogram "cofferdam_component_compile_seconds" &["result"], "Time of compilations of components.";
    CODE_CACHE_HITS Counter "cofferdam_component_code_cache_hits_total" &[], "Components whose compiled code was loaded from the cache.";
    BUILD_INFO Gauge "cofferdam_build_info" &["version"], "1, with the version of the server.";
    HTTP_REQUESTS Counter "cofferdam_http_requests_total" &["route", "method", "status"], "Requests that were answered.";
    HTTP_SECONDS Histogram "cofferdam_http_request_seconds" &["route"], "Time until the head of the answer.";
    DROPPED_SERIES Gauge "cofferdam_metrics_dropped_series" &[], "Series that this scrape leaves out: beyond the limit, or with a name that another metric has.";
    TRACE_SPANS Counter "cofferdam_trace_spans_total" &["result"], "Spans of traces, by what became of them.";
    PROCESS_CPU Counter "process_cpu_seconds_total" &[], "Processor time of the server, without child processes.";
    PROCESS_MEMORY Gauge "process_resident_memory_bytes" &[], "Resident memory of the server.";
    PROCESS_FDS Gauge "process_open_fds" &[], "Open file descriptors.";
    PROCESS_MAX_FDS Gauge "process_max_fds" &[], "Limit of open file descriptors.";
    PROCESS_START Gauge "process_start_time_seconds" &[], "When the server began to listen.";
}
