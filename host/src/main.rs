//! The `cofferdam` binary: parses the command line and runs `serve`. [`cofferdam::cli`] runs the other commands.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::net::SocketAddr;
use std::panic::PanicHookInfo;
use std::process::ExitCode;
use std::time::Duration;

use axum::Router;
use clap::Parser;
use cofferdam::cli::{self, Cli, CliCommand, ServeArgs};
use cofferdam::clock::SystemClock;
use cofferdam::error::{Error, Result, data_dir_failed, internal, request_invalid};
use cofferdam::http::{self, AllowedHosts};
use cofferdam::job::{Host, HostOptions};
use cofferdam::pipeline::LimitCeilings;
use cofferdam::stdio;
use cofferdam::{allocator, escape, state};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

/// Interval at which the server checks that its data folder still exists.
const DATA_DIR_CHECK: Duration = Duration::from_millis(500);
/// Time that a stopping server waits for its jobs beyond `--shutdown-timeout`. They resume from their checkpoints in any case.
const JOBS_TIME: Duration = Duration::from_secs(50);
/// Time that a stopping server then waits for requests in progress.
const REQUESTS_TIME: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let cli = Cli::parse();
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
            // The output of functions is shown, because their author runs the command to see it.
            cli::start_log("warn,guest=info", cli.log_format);
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
    let host = Host::open(HostOptions {
        data_dir: data_dir.clone(),
        clock: SystemClock::shared(),
        component_bytes_max,
        checkpoint_storage: args.checkpoint_storage.clone(),
        instances_max: args.instances,
        limit_ceilings,
        shutdown_time,
        compile_in: args.compile.compile_mode(),
        code_cache: None,
        policy,
        runtime: storage.handle().clone(),
    })?;
    let (listener, address) = requests.block_on(listen(args.listen))?;
    if !address.ip().is_loopback() {
        stdio::tell(format_args!(
            "warning: {address} can be reached from other machines, but there is no authentication yet"
        ));
    }
    let ingest = listen_for_records(args, &requests, &host)?;
    let resumed = host.resume_jobs();
    let router = http::router(host.clone(), component_bytes_max, AllowedHosts::new(address, args.allow_host.clone()));
    let folder = data_dir.display().to_string();
    let records = ingest.as_ref().map(|(_, address)| format!("records are accepted at http://{address}\n"));
    let ready = format!(
        "data folder {}, jobs resumed: {resumed}\n{}listening on http://{address}\n",
        escape::one_line(&folder),
        records.unwrap_or_default()
    );
    // The server must not wait for a reader of stdout.
    stdio::stdout().offer(ready.as_bytes());
    let mut lost = Ok(());
    let stop = async {
        tokio::select! {
            () = cli::stop_signal() => {}
            error = data_dir_lost(&host) => lost = Err(error),
        }
        // Uploads that are still being compiled are answered now, so that they do not delay the shutdown.
        host.stop_compiling();
    };
    requests.block_on(serve_both(
        (listener, router),
        ingest.map(|(listener, _)| (listener, http::ingest_router(host.clone()))),
        stop,
    ));
    requests.spawn(exit_if_stuck(host.clone(), shutdown_time.saturating_add(JOBS_TIME)));
    host.shutdown();
    requests.shutdown_timeout(REQUESTS_TIME);
    storage.shutdown_timeout(REQUESTS_TIME);
    lost
}

/// Listens on an address. Returns the address with its port.
async fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr)> {
    let listener = http::bind(address).await?;
    let address =
        listener.local_addr().map_err(|error| internal(format!("the address of the listener is unknown: {error}")))?;
    Ok((listener, address))
}

/// Listens for records, if an address for them is given.
fn listen_for_records(args: &ServeArgs, requests: &Runtime, host: &Host) -> Result<Option<(TcpListener, SocketAddr)>> {
    let Some(address) = args.ingest_listen else { return Ok(None) };
    let (listener, address) = requests.block_on(listen(address))?;
    host.set_has_ingest_listener();
    if !address.ip().is_loopback() {
        stdio::tell(format_args!(
            "warning: {address} can be reached from other machines; sources without `auth` take records from everyone"
        ));
    }
    Ok(Some((listener, address)))
}

/// Serves the API and, if there is one, the listener for records, until `stop` resolves.
async fn serve_both(api: (TcpListener, Router), ingest: Option<(TcpListener, Router)>, stop: impl Future<Output = ()>) {
    let (stopping, stopped) = oneshot::channel::<()>();
    let api = http::serve(api.0, api.1, async {
        stop.await;
        drop(stopping);
    });
    let ingest = async {
        if let Some((listener, router)) = ingest {
            http::serve(listener, router, async { drop(stopped.await) }).await;
        }
    };
    tokio::join!(api, ingest);
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

/// Exits the process on a second signal, or if its jobs do not end in time. They resume from their checkpoints.
async fn exit_if_stuck(host: Host, time: Duration) {
    let why = tokio::select! {
        () = cli::second_stop_signal() => "it received a second signal to stop",
        () = tokio::time::sleep(time) => {
            // On a thread of its own, so that a lock that is held cannot keep the process.
            let marked = tokio::task::spawn_blocking(move || host.fail_stuck_restores());
            let _ = tokio::time::timeout(REQUESTS_TIME, marked).await;
            "its jobs did not end in time"
        }
    };
    tracing::warn!("the server exits now because {why}; its jobs resume when it starts again");
    stdio::flush();
    std::process::exit(1);
}
