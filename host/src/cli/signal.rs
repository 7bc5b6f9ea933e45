//! Stop signals: SIGINT (Ctrl-C) and SIGTERM.
//!
//! Must not decide how the process stops.

use std::time::Duration;

/// Signals within this time count as one.
const SAME_SIGNAL: Duration = Duration::from_secs(1);

/// Resolves at SIGINT, or at SIGTERM on systems that have it.
pub async fn stop_signal() {
    let interrupt = async {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        () = interrupt => {}
        () = terminate() => {}
    }
}

/// Resolves at the next stop signal. Call it after [`stop_signal`] has resolved.
pub async fn second_stop_signal() {
    // One Ctrl-C may arrive twice: from the terminal, and from a program that forwards it.
    tokio::time::sleep(SAME_SIGNAL).await;
    stop_signal().await;
}

#[cfg(unix)]
async fn terminate() {
    match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
        Ok(mut signal) => {
            signal.recv().await;
        }
        Err(_) => std::future::pending().await,
    }
}

#[cfg(not(unix))]
async fn terminate() {
    std::future::pending().await
}
