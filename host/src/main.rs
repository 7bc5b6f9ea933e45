//! The `cofferdam` binary: reads the command line, carries out `serve`, and leaves the rest to [`cofferdam::cli`].

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use cofferdam::cli::{self, Cli, Command, ServeArgs};
use cofferdam::clock::SystemClock;
use cofferdam::error::{Error, Result, data_dir_failed, internal};
use cofferdam::http::{self, AllowedHosts};
use cofferdam::job::{Host, HostOptions};
use cofferdam::state;
use tracing_subscriber::EnvFilter;

/// How often it is looked whether the data folder is still there.
const DATA_DIR_CHECK: Duration = Duration::from_millis(500);

fn main() -> ExitCode {
    let cli = Cli::parse();
    // Databases and connections keep files open, and what a process gets unasked is meant for one that hardly does.
    let _ = rlimit::increase_nofile_limit(u64::MAX);
    let done = match &cli.command {
        Command::Serve(args) => {
            init_log("info");
            serve(args).map(|()| ExitCode::SUCCESS)
        }
        _ => {
            // What a function prints is what its author runs it for.
            init_log("warn,guest=info");
            cli::execute(cli)
        }
    };
    done.unwrap_or_else(|error| {
        eprintln!("error: {error}");
        ExitCode::FAILURE
    })
}

/// Logs to stderr what `COFFERDAM_LOG` selects, such as `info,cofferdam::http=debug`.
fn init_log(default: &str) {
    let filter = match std::env::var("COFFERDAM_LOG") {
        Ok(directives) => EnvFilter::try_new(&directives).unwrap_or_else(|error| {
            eprintln!("warning: COFFERDAM_LOG is not understood ({error}); logging `{default}`");
            EnvFilter::new(default)
        }),
        Err(_) => EnvFilter::new(default),
    };
    let ansi = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(ansi).with_writer(std::io::stderr).init();
}

/// Serves until SIGINT or SIGTERM. Jobs keep their status: they go on at the next start.
fn serve(args: &ServeArgs) -> Result<()> {
    state::set_memory(usize::try_from(args.state_memory.as_u64()).unwrap_or(usize::MAX));
    let runtime = tokio::runtime::Runtime::new().map_err(|error| internal(format!("no runtime: {error}")))?;
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
        compile_in: args.compile.place(),
        runtime: runtime.handle().clone(),
    })?;
    let listener = runtime.block_on(http::bind(args.listen))?;
    let address = listener.local_addr().map_err(|error| internal(format!("no address: {error}")))?;
    if !address.ip().is_loopback() {
        eprintln!("warning: {address} can be reached from outside, and there is no authentication yet");
    }
    let resumed = host.resume_jobs();
    let router = http::router(host.clone(), component_bytes_max, AllowedHosts::new(address, args.allow_host.clone()));
    let mut stdout = std::io::stdout();
    let _ = writeln!(stdout, "data folder {}, jobs resumed: {resumed}", data_dir.display());
    let _ = writeln!(stdout, "listening on http://{address}").and_then(|()| stdout.flush());
    let mut lost = Ok(());
    let stop = async {
        tokio::select! {
            () = cli::stop_asked() => {}
            error = data_dir_lost(&host) => lost = Err(error),
        }
        // An upload that is still to be compiled is answered now, and holds up nothing.
        host.stop_compiling();
    };
    let served = runtime.block_on(http::serve(listener, router, stop));
    host.shutdown();
    lost.and(served)
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
