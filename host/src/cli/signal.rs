//! Ctrl-C and the polite kill.

use std::time::Duration;

const SAME_INTERRUPT: Duration = Duration::from_secs(1);

/// Resolves when the process is asked to stop: SIGINT, or SIGTERM where there is one.
pub async fn stop_asked() {
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

/// Resolves when the process is asked to stop once more. To be called after [`stop_asked`] has resolved.
pub async fn stop_asked_again() {
    // One Ctrl-C may arrive twice, from the terminal and from a program that passes it on.
    tokio::time::sleep(SAME_INTERRUPT).await;
    stop_asked().await;
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
