//! The `cofferdam` binary: parses the command line and runs `serve`. [`cofferdam::cli`] runs the other commands.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::net::SocketAddr;
use std::panic::PanicHookInfo;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use cofferdam::auth::{AuditLog, TokenFile, TokenStore};
use cofferdam::cli::{self, CliCommand, ServeArgs};
use cofferdam::clock::{SharedClock, SystemClock};
use cofferdam::error::{Error, Result, data_dir_failed, internal, listen_insecure, request_invalid};
use cofferdam::http::{self, AllowedHosts, ApiOptions, HttpListener, ServerPhase, TlsIdentity};
use cofferdam::job::{Host, HostOptions, Namespaces, QuotaList, Quotas};
use cofferdam::pipeline::LimitCeilings;
use cofferdam::stdio;
use cofferdam::tracer::{Collector, Tracer};
use cofferdam::{allocator, escape, state};
use tokio::runtime::Runtime;
use tokio::sync::watch;

/// Interval at which the server checks that its data folder still exists.
const DATA_DIR_CHECK: Duration = Duration::from_millis(500);
/// The variable with headers for the collector of traces. There is no option for it, because other users can see the options of a process.
const OTLP_HEADERS_VARIABLE: &str = "OTEL_EXPORTER_OTLP_HEADERS";
/// Interval of the samples of the series of jobs. They are taken in the middle of a second, so that each second has one.
const SERIES_INTERVAL: Duration = Duration::from_secs(1);
/// Time that a stopping server waits for its jobs beyond `--shutdown-timeout`. They resume from their checkpoints in any case.
const JOBS_TIME: Duration = Duration::from_secs(50);
/// Time that a stopping server then waits for requests in progress.
const REQUESTS_TIME: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let cli: cli::Cli = cli::parse_arguments();
    let json = cli.json;
    std::panic::set_hook(Box::new(report_panic));
    allocator::return_large_blocks();
    // The default limit on open files is too low for RocksDB and many connections.
    let _ = rlimit::increase_nofile_limit(u64::MAX);
    if let Ok(program) = std::env::current_exe() {
        state::check_foreign_files_with(program);
    }
    let done = match &cli.command {
        CliCommand::Serve(args) => {
            cli::start_log("info", cli.log_format);
            serve(args).map(|()| ExitCode::SUCCESS)
        }
        _ => {
            // The output of functions is shown, because their author runs the command to see it. A certificate that is refused is
            // the error of the command already.
            cli::start_log("warn,guest=info,rustls_platform_verifier=off", cli.log_format);
            cli::execute(cli)
        }
    };
    let code = done.unwrap_or_else(|error| cli::report(error, json));
    stdio::flush();
    code
}

/// Reports a panic like the standard library, but never waits for the reader of stderr.
fn report_panic(panic: &PanicHookInfo<'_>) {
    let thread = std::thread::current();
    let (name, panic) = (thread.name().unwrap_or("unnamed"), panic.to_string());
    let mut text = format!("thread `{}` {}", escape::one_line(name), escape::one_line(&panic));
    let backtrace = Backtrace::capture();
    if backtrace.status() == BacktraceStatus::Captured {
        text.push_str(&format!("\n{backtrace}"));
    }
    stdio::tell_lines(text);
}

/// Creates a Tokio runtime.
fn runtime(name: &str) -> Result<Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder
        .enable_all()
        .thread_name(name)
        .build()
        .map_err(|error| internal(format!("the runtime `{name}` cannot be started: {error}")))
}

/// Serves until SIGINT or SIGTERM. Jobs keep their status and resume when the server starts again.
fn serve(args: &ServeArgs) -> Result<()> {
    state::set_memory_limit(usize::try_from(args.state_memory.as_u64()).unwrap_or(usize::MAX));
    // Storage has its own runtime, so that requests cannot occupy the threads that store checkpoints.
    let (requests, storage) = (runtime("http")?, runtime("storage")?);
    // The path is absolute, so that locations of savepoints are valid in any working directory.
    let data_dir = std::fs::create_dir_all(&args.data_dir)
        .and_then(|()| args.data_dir.canonicalize())
        .map_err(|error| data_dir_failed(format!("cannot create {}: {error}", args.data_dir.display())))?;
    let component_bytes_max = args.component_max.as_u64();
    let limit_ceilings =
        LimitCeilings::parse(&args.max_limit).map_err(|why| request_invalid(format!("--max-limit: {why}")))?;
    let shutdown_time = Duration::from(args.shutdown_timeout);
    let policy = args.access_policy(&data_dir)?;
    let secrets = policy.secrets().clone();
    stdio::redact_stderr(move |text| secrets.redact(text).into_owned());
    if let Some(allowed) = policy.allow_list() {
        stdio::tell(allowed);
    }
    let quotas = QuotaList::parse(&args.quota).map_err(|why| request_invalid(format!("--quota: {why}")))?;
    let clock = SystemClock::shared();
    let access = ServerAccessFiles::open(args, &data_dir, &clock)?;
    let options = HostOptions {
        data_dir: data_dir.clone(),
        clock: clock.clone(),
        component_bytes_max,
        checkpoint_storage: args.checkpoint_storage.clone(),
        instances_max: args.instances,
        limit_ceilings,
        shutdown_time,
        compile_in: args.compile.compile_mode(),
        code_cache: None,
        policy,
        quotas: Quotas::default(),
        tracer: open_tracer(args, &clock)?,
        runtime: storage.handle().clone(),
    };
    let namespaces = Arc::new(Namespaces::open(options, quotas)?);
    let host = namespaces.default_host().clone();
    let listeners = Listeners::bind(args, &requests, access.tls.clone())?;
    if listeners.records.is_some() {
        namespaces.set_has_ingest_listener();
    }
    let ready = listeners.ready_text(&data_dir);
    let (phase, stopping) = (Arc::new(ServerPhase::default()), watch::Sender::new(false));
    let serving = listeners.serve(args, &requests, &namespaces, &access, &phase, &stopping);
    // A signal that comes while jobs are resumed is not lost.
    let signal = requests.spawn(cli::stop_signal());
    requests.spawn(reload_at_hangup(access.tls));
    requests.spawn(sample_series(namespaces.clone(), clock));
    let resumed = namespaces.resume_jobs();
    phase.set_ready();
    // The server must not wait for a reader of stdout.
    stdio::stdout().offer(ready(resumed).as_bytes());
    let lost = requests.block_on(async {
        tokio::select! {
            _ = signal => Ok(()),
            error = data_dir_lost(&host) => Err(error),
        }
    });
    phase.set_stopping();
    // Uploads that are still being compiled are answered now, so that they do not delay the shutdown.
    host.stop_compiling();
    stopping.send_replace(true);
    requests.block_on(serving);
    requests.spawn(exit_if_stuck(namespaces.clone(), shutdown_time.saturating_add(JOBS_TIME)));
    namespaces.shutdown();
    requests.shutdown_timeout(REQUESTS_TIME);
    storage.shutdown_timeout(REQUESTS_TIME);
    lost
}

/// Begins to export traces if there is a collector. Error: `request-invalid`.
fn open_tracer(args: &ServeArgs, clock: &SharedClock) -> Result<Tracer> {
    let Some(endpoint) = args.otlp_endpoint.as_deref().filter(|endpoint| !endpoint.is_empty()) else {
        return Ok(Tracer::default());
    };
    let headers = std::env::var(OTLP_HEADERS_VARIABLE).unwrap_or_default();
    Tracer::start(Collector::parse(endpoint, &headers)?, clock.clone())
}

/// What decides who may use the server.
struct ServerAccessFiles {
    tokens: Arc<TokenStore>,
    audit: Arc<AuditLog>,
    tls: Option<Arc<TlsIdentity>>,
    clock: SharedClock,
}

impl ServerAccessFiles {
    /// Opens the tokens, the audit log and the certificate. Errors: `listen-insecure` for an address that others can reach without
    /// tokens and TLS, `tls-invalid`, `data-dir-failed`.
    fn open(args: &ServeArgs, data_dir: &Path, clock: &SharedClock) -> Result<ServerAccessFiles> {
        let tls = match (&args.tls_cert, &args.tls_key) {
            (Some(certificate), Some(key)) => Some(TlsIdentity::load(certificate, key)?),
            _ => None,
        };
        let tokens = TokenStore::open(TokenFile::of_data_dir(data_dir), clock.clone());
        let are_required = tokens.are_required();
        let reachable = |address: &SocketAddr| !address.ip().is_loopback();
        if let Some(address) = [Some(args.listen), args.ingest_listen].into_iter().flatten().find(reachable) {
            let missing = match (are_required, tls.is_some()) {
                (true, true) => None,
                (false, true) => Some("there is no token"),
                (true, false) => Some("there is no TLS"),
                (false, false) => Some("there are no token and no TLS"),
            };
            match missing {
                Some(missing) if args.insecure => {
                    stdio::tell(format_args!("warning: {address} can be reached from other machines, and {missing}"));
                }
                Some(missing) => {
                    return Err(listen_insecure(format!("{address} can be reached from other machines, and {missing}"))
                        .hint(
                            "create a token with `cofferdam token create --role admin --data-dir DIR`, and give --tls-cert and \
                             --tls-key; or start with --insecure",
                        ));
                }
                None => {}
            }
        }
        let audit = Arc::new(AuditLog::open(data_dir, clock.clone())?);
        Ok(ServerAccessFiles { tokens, audit, tls, clock: clock.clone() })
    }
}

/// Reads the certificate again at each SIGHUP.
async fn reload_at_hangup(tls: Option<Arc<TlsIdentity>>) {
    let Ok(mut hangups) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup()) else { return };
    while hangups.recv().await.is_some() {
        match tls.as_ref().map(|tls| tls.reload()) {
            Some(Ok(())) => tracing::info!("the certificate was read again"),
            Some(Err(error)) => tracing::error!("the certificate stays as it is: {error}"),
            None => {}
        }
    }
}

/// The addresses on which the server listens.
struct Listeners {
    api: HttpListener,
    records: Option<HttpListener>,
}

impl Listeners {
    /// Listens for the API and, if an address for them is given, for records.
    fn bind(args: &ServeArgs, requests: &Runtime, tls: Option<Arc<TlsIdentity>>) -> Result<Listeners> {
        let bind = |address| requests.block_on(HttpListener::bind(address, tls.clone()));
        Ok(Listeners { api: bind(args.listen)?, records: args.ingest_listen.map(bind).transpose()? })
    }

    /// Returns what the server says once it has resumed so many jobs.
    fn ready_text(&self, data_dir: &Path) -> impl FnOnce(usize) -> String + use<> {
        let folder = escape::one_line(&data_dir.display().to_string()).into_owned();
        let records = self.records.as_ref().map(|records| format!("records are accepted at {}\n", records.url()));
        let listening = format!("{}listening on {}\n", records.unwrap_or_default(), self.api.url());
        move |resumed| format!("data folder {folder}, jobs resumed: {resumed}\n{listening}")
    }

    /// Serves until `stopping` is set and requests in progress have ended.
    fn serve(
        self,
        args: &ServeArgs,
        requests: &Runtime,
        namespaces: &Arc<Namespaces>,
        access: &ServerAccessFiles,
        phase: &Arc<ServerPhase>,
        stopping: &watch::Sender<bool>,
    ) -> impl Future<Output = ()> + use<> {
        let api = http::router(ApiOptions {
            namespaces: namespaces.clone(),
            component_bytes_max: args.component_max.as_u64(),
            allowed: AllowedHosts::new(self.api.address(), args.allow_host.clone()),
            phase: phase.clone(),
            tokens: access.tokens.clone(),
            audit: access.audit.clone(),
            clock: access.clock.clone(),
        });
        let api = requests.spawn(http::serve(self.api, api, stopping.subscribe()));
        let records = self.records.map(|records| {
            let router = http::ingest_router(namespaces.clone(), access.tokens.clone());
            requests.spawn(http::serve(records, router, stopping.subscribe()))
        });
        async move {
            let _ = api.await;
            if let Some(records) = records {
                let _ = records.await;
            }
        }
    }
}

/// Waits until the data folder is gone, and returns the error.
async fn data_dir_lost(host: &Host) -> Error {
    loop {
        tokio::time::sleep(DATA_DIR_CHECK).await;
        if let Err(error) = host.check_data_dir() {
            return error;
        }
    }
}

/// Takes a sample of the series of all jobs in each second.
async fn sample_series(namespaces: Arc<Namespaces>, clock: SharedClock) {
    let interval_ms = SERIES_INTERVAL.as_millis() as i64;
    loop {
        let passed_ms = (clock.wall_ms() + interval_ms / 2).rem_euclid(interval_ms);
        tokio::time::sleep(Duration::from_millis((interval_ms - passed_ms).unsigned_abs())).await;
        let namespaces = namespaces.clone();
        let _ = tokio::task::spawn_blocking(move || namespaces.sample_series()).await;
    }
}

/// Exits the process on a second signal, or if its jobs do not end in time. They resume from their checkpoints.
async fn exit_if_stuck(namespaces: Arc<Namespaces>, time: Duration) {
    let why = tokio::select! {
        () = cli::second_stop_signal() => "it received a second signal to stop",
        () = tokio::time::sleep(time) => {
            // On a thread of its own, so that a lock that is held cannot keep the process.
            let marked = tokio::task::spawn_blocking(move || {
                namespaces.all().iter().for_each(Host::fail_stuck_restores);
            });
            let _ = tokio::time::timeout(REQUESTS_TIME, marked).await;
            "its jobs did not end in time"
        }
    };
    tracing::warn!("the server exits now because {why}; its jobs resume when it starts again");
    stdio::flush();
    std::process::exit(1);
}
