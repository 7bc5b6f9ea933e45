//! A TCP server that sends a given text on each connection and then closes it.

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::thread;

use anyhow::Result;

/// The server. It listens on loopback until all texts are sent.
pub struct Script {
    pub address: SocketAddr,
}

impl Script {
    /// Starts a server that sends the n-th text on the n-th connection.
    pub fn start(texts: Vec<Vec<u8>>) -> Result<Script> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        thread::spawn(move || {
            for text in texts {
                let Ok((mut connection, _)) = listener.accept() else { return };
                // The reader may close the connection early.
                let _ = connection.write_all(&text);
            }
        });
        Ok(Script { address })
    }
}
