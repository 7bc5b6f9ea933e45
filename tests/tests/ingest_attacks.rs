//! Hostile clients of the listener for records: slow ones, many, large headers, wrong lengths, chunks, and names that are paths.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use cofferdam_tests::{Checkout, IngestClient, Server, committed_lines, free_address, read_answer, wait_until};

const TIMEOUT: Duration = Duration::from_secs(60);

/// Sends bytes on a connection of their own, and closes its sending side if `ends` is set. Returns the status of the answer, or 0 if the
/// connection was closed without one.
fn status(address: std::net::SocketAddr, bytes: &[u8], ends: bool) -> u16 {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    // The server may close the connection before it has read everything.
    let _ = stream.write_all(bytes);
    if ends {
        let _ = stream.shutdown(std::net::Shutdown::Write);
    }
    read_answer(&mut stream).map_or(0, |answer| answer.status)
}

fn files(folder: &Path) -> Vec<String> {
    let (mut files, mut folders) = (Vec::new(), vec![folder.to_path_buf()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { files.push(path.display().to_string()) }
        }
    }
    files.sort();
    files
}

fn post(rest: &str) -> Vec<u8> {
    format!("POST /v1/ingest/copy/in HTTP/1.1\r\nhost: x\r\n{rest}").into_bytes()
}

/// Sends requests that are malformed, or too large, or to other paths. 0 stands for a closed connection.
fn refuse_malformed(address: std::net::SocketAddr) {
    let huge = "x".repeat(200 << 10);
    for (request, expected) in [
        (post(&format!("x-large: {huge}\r\ncontent-length: 1\r\n\r\nA")), &[0, 431][..]),
        (post(&format!("{}content-length: 1\r\n\r\nA", "x-many: 1\r\n".repeat(5000))), &[0, 431]),
        (post("content-length: 10\r\n\r\nA"), &[0, 400]),
        (post("content-length: -1\r\n\r\nA"), &[0, 400]),
        (post("content-length: 1\r\ncontent-length: 2\r\n\r\nAA"), &[0, 400]),
        (post("content-length: 99999999999999999999\r\n\r\nA"), &[0, 400]),
        (post("content-length: 100000000000\r\n\r\nA"), &[413]),
        (post("transfer-encoding: chunked\r\n\r\nZZ\r\nA\r\n0\r\n\r\n"), &[0, 400]),
        (post("transfer-encoding: chunked\r\n\r\n5\r\nAB\r\n0\r\n\r\n"), &[0, 400]),
        (post("transfer-encoding: chunked\r\n\r\nffffffffffffffff\r\nA"), &[0, 400, 413]),
        (post("transfer-encoding: gzip\r\n\r\nA"), &[0, 400, 501]),
        (post(&format!("content-length: {}\r\n\r\n{huge}", huge.len())), &[413]),
        (b"GARBAGE\r\n\r\n".to_vec(), &[0, 400]),
        (b"POST /v1/ingest/copy/in HTTP/9.9\r\ncontent-length: 1\r\n\r\nA".to_vec(), &[0, 400, 505]),
        (b"POST /v1/ingest/../../copy/in HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\nA".to_vec(), &[404]),
        (b"POST /v1/ingest/%2e%2e/in HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\nA".to_vec(), &[404]),
        (b"POST /v1/ingest/copy/..%2f..%2fx HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\nA".to_vec(), &[404]),
        (
            format!("POST /v1/ingest/{}/in HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\nA", "j".repeat(40_000))
                .into(),
            &[404, 414],
        ),
        (b"DELETE /v1/jobs/copy HTTP/1.1\r\nhost: x\r\n\r\n".to_vec(), &[404]),
    ] {
        let found = status(address, &request, expected.contains(&0));
        let shown = String::from_utf8_lossy(&request[..request.len().min(120)]).into_owned();
        assert!(expected.contains(&found), "{found} for {shown}");
    }
}

#[test]
fn hostile_clients_neither_stop_the_listener_nor_smuggle_records() {
    let dir = Checkout::current().fresh_dir("tests/ingest-attacks").unwrap();
    let address = free_address().unwrap();
    let mut server =
        Server::start(&Checkout::current().cofferdam(), &dir, &["--ingest-listen", &address.to_string()]).unwrap();
    let out = dir.join("out");
    let pipeline = format!(
        "name = \"copy\"\nparallelism = 1\n[checkpoint]\ninterval = \"50ms\"\n[state]\nbackend = \"memory\"\n\
         [source.in]\nconnector = \"http\"\nformat = \"raw\"\nmax_body = \"100kB\"\n\
         [sink.out]\ninput = \"in\"\nconnector = \"file\"\npath = \"{}\"\n",
        out.display()
    );
    server.api.submit_ok(&pipeline).unwrap();
    let mut client = IngestClient::new(address);
    assert_eq!(client.send("copy/in", &[], b"first").unwrap().status, 200);
    let before = files(&dir.join("data/ingest"));

    // Clients that send nothing, or half of a header, and stay.
    let slow: Vec<TcpStream> = (0..300)
        .map(|number| {
            let mut stream = TcpStream::connect(address).unwrap();
            if number % 2 == 0 {
                stream
                    .write_all(b"POST /v1/ingest/copy/in HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nhalf")
                    .unwrap();
            }
            stream
        })
        .collect();
    assert_eq!(client.send("copy/in", &[], b"second").unwrap().status, 200);

    refuse_malformed(address);
    // A chunked body is one record.
    let chunked = post("transfer-encoding: chunked\r\n\r\n3\r\nthi\r\n2;x=y\r\nrd\r\n0\r\n\r\n");
    assert_eq!(status(address, &chunked, false), 200);
    // What follows a body is another request, and not a part of the record.
    let mut stream = TcpStream::connect(address).unwrap();
    stream
        .write_all(&[post("content-length: 6\r\n\r\nfourth"), post("content-length: 5\r\n\r\nfifth")].concat())
        .unwrap();
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    let (mut answers, mut piece) = (String::new(), [0; 4096]);
    while answers.matches("HTTP/1.1 200").count() < 2 {
        let read = stream.read(&mut piece).unwrap();
        assert!(read > 0, "{answers}");
        answers.push_str(&String::from_utf8_lossy(&piece[..read]));
    }

    let expected = ["fifth", "first", "fourth", "second", "third"];
    let lines = wait_until("the accepted records are committed", TIMEOUT, || {
        let lines = committed_lines(&out)?;
        Ok((lines.len() >= expected.len()).then_some(lines))
    });
    assert_eq!(lines.unwrap(), expected);
    assert_eq!(files(&dir.join("data/ingest")), before, "no request created a file");
    assert!(server.is_up().unwrap());
    drop(slow);
}
