//! The `cofferdam` binary: reads the command line, carries out `serve`, and leaves the rest to [`cofferdam::cli`].

use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic::PanicHookInfo;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use cofferdam::cli::{self, Cli, CliCommand, ServeArgs};
use cofferdam::clock::SystemClock;
use cofferdam::error::{Error, Result, data_dir_failed, internal};
use cofferdam::http::{self, AllowedHosts};
use cofferdam::job::{Host, HostOptions};
use cofferdam::stdio::{self, LogWriter};
use cofferdam::{escape, state};
use tokio::runtime::Runtime;
use tracing_subscriber::EnvFilter;

/// How often it is looked whether the data folder is still there.
const DATA_DIR_CHECK: Duration = Duration::from_millis(500);
/// How long a server that was asked to stop waits for its jobs. They resume from their checkpoints in any case.
const SHUTDOWN_TIME: Duration = Duration::from_secs(60);
/// How long it then waits for requests that are still being worked on.
const REQUESTS_TIME: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let cli = Cli::parse();
    std::panic::set_hook(Box::new(tell_panic));
    // Databases and connections keep files open, and what a process gets unasked is meant for one that hardly does.
    let _ = rlimit::increase_nofile_limit(u64::MAX);
    let done = match &cli.command {
        CliCommand::Serve(args) => {
            init_log("info");
            serve(args).map(|()| ExitCode::SUCCESS)
        }
        _ => {
            // What a function prints is what its author runs it for.
            init_log("warn,guest=info");
            cli::execute(cli)
        }
    };
    let code = done.unwrap_or_else(|error| {
        stdio::tell_lines(format_args!("error: {error}"));
        ExitCode::FAILURE
    });
    stdio::flush();
    code
}

/// Tells a panic as the standard library does, but never waits for whoever reads stderr.
fn tell_panic(panic: &PanicHookInfo<'_>) {
    let thread = std::thread::current();
    let (name, panic) = (thread.name().unwrap_or("unnamed"), panic.to_string());
    let mut text = format!("thread `{}` {}", escape::one_line(name), escape::one_line(&panic));
    let backtrace = Backtrace::capture();
    if backtrace.status() == BacktraceStatus::Captured {
        text.push_str(&format!("\n{backtrace}"));
    }
    stdio::tell_lines(text);
}

/// Logs to stderr what `COFFERDAM_LOG` selects, such as `info,cofferdam::http=debug`.
fn init_log(default: &str) {
    let filter = match std::env::var("COFFERDAM_LOG") {
        Ok(directives) => EnvFilter::try_new(&directives).unwrap_or_else(|error| {
            stdio::tell(format_args!("warning: COFFERDAM_LOG is not understood ({error}); logging `{default}`"));
            EnvFilter::new(default)
        }),
        Err(_) => EnvFilter::new(default),
    };
    let writer = LogWriter::new();
    let ansi = writer.has_colours();
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(ansi).with_writer(Arc::new(writer)).init();
}

fn runtime(name: &str) -> Result<Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.enable_all().thread_name(name).build().map_err(|error| internal(format!("no runtime `{name}`: {error}")))
}

/// Serves until SIGINT or SIGTERM. Jobs keep their status: they go on at the next start.
fn serve(args: &ServeArgs) -> Result<()> {
    state::set_memory_limit(usize::try_from(args.state_memory.as_u64()).unwrap_or(usize::MAX));
    // Two, so that no number of requests can take the threads that checkpoints are stored with.
    let (requests, storage) = (runtime("http")?, runtime("storage")?);
    // Absolute, so that the places of savepoints mean the same to everyone who is told them.
    let data_dir = std::fs::create_dir_all(&args.data_dir)
        .and_then(|()| args.data_dir.canonicalize())
        .map_err(|error| data_dir_failed(format!("cannot make {}: {error}", args.data_dir.display())))?;
    let component_bytes_max = args.component_max.as_u64();
    let host = Host::open(HostOptions {
        data_dir: data_dir.clone(),
        clock: SystemClock::shared(),
        component_bytes_max,
        checkpoint_storage: args.checkpoint_storage.clone(),
        instances_max: args.instances,
        compile_in: args.compile.compile_mode(),
        runtime: storage.handle().clone(),
    })?;
    let listener = requests.block_on(http::bind(args.listen))?;
    let address = listener.local_addr().map_err(|error| internal(format!("no address: {error}")))?;
    if !address.ip().is_loopback() {
        stdio::tell(format_args!("warning: {address} can be reached from outside, and there is no authentication yet"));
    }
    let resumed = host.resume_jobs();
    let router = http::router(host.clone(), component_bytes_max, AllowedHosts::new(address, args.allow_host.clone()));
    let folder = data_dir.display().to_string();
    let ready =
        format!("data folder {}, jobs resumed: {resumed}\nlistening on http://{address}\n", escape::one_line(&folder));
    // A stdout that nobody reads must not hold the server up.
    stdio::stdout().offer(ready.as_bytes());
    let mut lost = Ok(());
    let stop = async {
        tokio::select! {
            () = cli::stop_signal() => {}
            error = data_dir_lost(&host) => lost = Err(error),
        }
        // An upload that is still to be compiled is answered now, and holds up nothing.
        host.stop_compiling();
    };
    requests.block_on(http::serve(listener, router, stop));
    requests.spawn(end_at_last());
    host.shutdown();
    requests.shutdown_timeout(REQUESTS_TIME);
    storage.shutdown_timeout(REQUESTS_TIME);
    lost
}

/// Resolves when the data folder is gone.
async fn data_dir_lost(host: &Host) -> Error {
    loop {
        tokio::time::sleep(DATA_DIR_CHECK).await;
        if let Err(error) = host.check_data_dir() {
            return error;
        }
    }
}

/// Ends the process when it is asked again, or when its jobs do not end: they resume from their checkpoints.
async fn end_at_last() {
    let why = tokio::select! {
        () = cli::second_stop_signal() => "it was asked to stop twice",
        () = tokio::time::sleep(SHUTDOWN_TIME) => "its jobs have not ended in time",
    };
    tracing::warn!("the server ends at once, because {why}; its jobs resume at the next start");
    stdio::flush();
    std::process::exit(1);
}
