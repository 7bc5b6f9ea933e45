//! A TCP server that says what it was told to: each connection gets a text of its own, and is closed behind it.

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::thread;

use anyhow::Result;

/// The server; it listens on loopback until every text was sent.
pub struct Script {
    pub address: SocketAddr,
}

impl Script {
    /// Starts a server whose n-th connection gets the n-th text.
    pub fn start(texts: Vec<Vec<u8>>) -> Result<Script> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        thread::spawn(move || {
            for text in texts {
                let Ok((mut connection, _)) = listener.accept() else { return };
                // Who does not want to hear more goes away.
                let _ = connection.write_all(&text);
            }
        });
        Ok(Script { address })
    }
}
