//! Savepoints from strangers: damaged, manipulated, enormous or pointing elsewhere. Each is refused with its code before the
//! job runs, or fails the job with its code; within a bound of memory, and nothing outside of the allowed folder is touched.

use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use cofferdam_tests::{Guarded, not_refused, wait_until};

/// Bound on the memory of the server over all of them.
const PEAK_BYTES_MAX: u64 = 384 << 20;

const TIMEOUT: Duration = Duration::from_secs(120);

/// Name of the input file. A manipulated position replaces it by a path of the same length.
const INPUT: &str = "input.csv";

/// Length of the header of the metadata file, and where in it the checksum and the length are.
const HEADER: usize = 24;

fn pipeline(inside: &Path, backend: &str) -> String {
    format!(
        "name = \"count-{backend}\"\n[restart]\nstrategy = \"none\"\n[state]\nbackend = \"{backend}\"\n[checkpoint]\ninterval = \"1h\"\n\
         [source.in]\nconnector = \"file\"\npath = \"{0}/in\"\nformat = \"csv\"\nrate = 200\n\
         timestamp = {{ field = \"ts\", format = \"unix-ms\" }}\nwatermark = \"ascending\"\n\
         [operator.count]\ninput = \"in\"\nkey = {{ field = \"k\" }}\nwindow = {{ type = \"tumbling\", size = \"1s\" }}\naggregate = {{ type = \"count\" }}\n\
         [sink.out]\ninput = \"count\"\nconnector = \"file\"\npath = \"{0}/out-{backend}\"\n",
        inside.display()
    )
}

/// Runs the job for a while and returns its savepoint, moved to `inside/good-...`.
fn savepoint(guarded: &Guarded, backend: &str, format: &str) -> PathBuf {
    let inside = guarded.inside();
    let api = guarded.api();
    let job = api.submit_ok(&pipeline(&inside, backend)).unwrap();
    // Some windows of one second have fired: rows are 10 ms apart.
    wait_until("the job reads", TIMEOUT, || Ok((api.job(&job)?["records_in"].as_u64() >= Some(500)).then_some(())))
        .unwrap();
    let location = api.savepoint(&job, "stop", &format!("{{\"format\": \"{format}\"}}")).unwrap();
    api.wait_for(&job, "FINISHED").unwrap();
    let good = inside.join(format!("good-{backend}-{format}"));
    fs::rename(location, &good).unwrap();
    good
}

fn start(name: &str, arguments: &[&str]) -> Guarded {
    let guarded = Guarded::start(name, arguments).unwrap();
    fs::create_dir(guarded.inside().join("in")).unwrap();
    let rows: String = (0..20_000).map(|n| format!("k{},{}\n", n % 7, n * 10)).collect();
    fs::write(guarded.inside().join("in").join(INPUT), format!("k,ts\n{rows}")).unwrap();
    guarded
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg()))
    })
}

/// A metadata file of this payload, with a right header.
fn with_header(file: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut made = file[..12].to_vec();
    made.extend(crc32c(payload).to_le_bytes());
    made.extend((payload.len() as u64).to_le_bytes());
    made.extend_from_slice(payload);
    made
}

/// Replaces a text in the payload by one of the same length, and mends the header.
fn replace(folder: &Path, from: &str, to: &str) {
    assert_eq!(from.len(), to.len());
    let file = fs::read(folder.join("manifest")).unwrap();
    let mut payload = file[HEADER..].to_vec();
    let places: Vec<usize> =
        (0..=payload.len() - from.len()).filter(|place| payload[*place..].starts_with(from.as_bytes())).collect();
    assert!(!places.is_empty(), "the metadata does not contain {from}");
    for place in places {
        payload[place..place + to.len()].copy_from_slice(to.as_bytes());
    }
    fs::write(folder.join("manifest"), with_header(&file, &payload)).unwrap();
}

fn state_file(folder: &Path) -> PathBuf {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let is_state = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().contains("state-");
    files.into_iter().find(is_state).expect("a state file")
}

fn sparse(path: &Path, begin: &[u8], bytes: u64) {
    let mut file = File::create(path).unwrap();
    file.write_all(begin).unwrap();
    file.seek(SeekFrom::Start(bytes - 1)).unwrap();
    file.write_all(&[0]).unwrap();
}

/// A payload that begins like metadata and then holds lists of so many elements.
fn lists(schemas: usize, operators: usize) -> Vec<u8> {
    let varint = |mut number: usize| {
        let mut bytes = Vec::new();
        while number >= 0x80 {
            bytes.push(number as u8 | 0x80);
            number >>= 7;
        }
        bytes.push(number as u8);
        bytes
    };
    // Format, job, name, checkpoint, kind, time, seed, key groups.
    let mut payload = vec![4, 1, b'j', 1, b'n', 1, 1, 0, 0, 128, 1];
    payload.extend(varint(schemas));
    payload.extend(vec![0; schemas.min(14 << 20)]);
    payload.extend(varint(operators));
    payload.extend([1, b'o', 1, 0, 0].repeat(operators.min(3 << 20)));
    payload
}

type Change = Box<dyn Fn(&Path, &Guarded)>;

const CORRUPT: &[&str] = &["checkpoint-corrupt"];
const DENIED: &[&str] = &["path-denied"];

fn change(of: impl Fn(&Path, &Guarded) + 'static) -> Change {
    Box::new(of)
}

/// Changes the metadata file.
fn metadata(of: fn(&[u8]) -> Vec<u8>) -> Change {
    change(move |folder, _| {
        let file = fs::read(folder.join("manifest")).unwrap();
        fs::write(folder.join("manifest"), of(&file)).unwrap();
    })
}

/// Makes something else in place of the metadata file or of a state file.
fn instead(name: &'static str, of: fn(&Path, &Guarded)) -> Change {
    change(move |folder, guarded| {
        let path = if name == "manifest" { folder.join(name) } else { state_file(folder) };
        fs::remove_file(&path).unwrap();
        of(&path, guarded);
    })
}

fn fifo(path: &Path, _: &Guarded) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

fn link(path: &Path, guarded: &Guarded) {
    symlink(guarded.outside().join("secret"), path).unwrap();
}

type NamedChange = (&'static str, Change, &'static [&'static str]);

/// Changes of the metadata of a good canonical savepoint, with the codes of their refusals.
fn metadata_changes() -> Vec<NamedChange> {
    vec![
        ("sparse metadata of 4 GiB", instead("manifest", |path, _| sparse(path, b"", 4 << 30)), CORRUPT),
        (
            "metadata that announces 8 EiB",
            metadata(|file| [&file[..16], &[0xff; 7], &[0x7f], &file[HEADER..]].concat()),
            CORRUPT,
        ),
        (
            "sparse metadata with a right header",
            change(|folder, _| {
                let file = fs::read(folder.join("manifest")).unwrap();
                fs::write(folder.join("manifest"), with_header(&file, &vec![0; 40 << 20])).unwrap();
            }),
            CORRUPT,
        ),
        ("zeros with a right header", metadata(|file| with_header(file, &vec![0; 15 << 20])), CORRUPT),
        ("millions of schemas", metadata(|file| with_header(file, &lists(14 << 20, 0))), CORRUPT),
        ("millions of operators", metadata(|file| with_header(file, &lists(0, 3 << 20))), CORRUPT),
        ("more operators than bytes", metadata(|file| with_header(file, &lists(0, usize::MAX)[..64])), CORRUPT),
        ("metadata that is a pipe", instead("manifest", fifo), CORRUPT),
        ("metadata that is a folder", instead("manifest", |path, _| fs::create_dir(path).unwrap()), CORRUPT),
        ("metadata that is a link to elsewhere", instead("manifest", link), DENIED),
        ("no metadata", instead("manifest", |_, _| ()), &["savepoint-not-found"]),
        ("empty metadata", metadata(|_| Vec::new()), CORRUPT),
        ("truncated metadata", metadata(|file| file[..file.len() / 2].to_vec()), CORRUPT),
        ("metadata of the future", metadata(|file| [&file[..8], &[99, 0, 0, 0], &file[12..]].concat()), CORRUPT),
        (
            "flipped bit",
            metadata(|file| {
                let mut file = file.to_vec();
                file[HEADER + 9] ^= 1;
                file
            }),
            CORRUPT,
        ),
        (
            "random payload",
            metadata(|file| {
                with_header(
                    file,
                    &(0..50_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect::<Vec<u8>>(),
                )
            }),
            CORRUPT,
        ),
    ]
}

/// Changes of its other files, and of the paths in the metadata.
fn file_changes() -> Vec<NamedChange> {
    vec![
        ("no state file", instead("state", |_, _| ()), CORRUPT),
        ("state file that is a pipe", instead("state", fifo), CORRUPT),
        ("state file that is a device", instead("state", |path, _| symlink("/dev/zero", path).unwrap()), CORRUPT),
        ("state file that is a link to elsewhere", instead("state", link), DENIED),
        ("state file that is longer", instead("state", |path, _| sparse(path, b"COFFSTAT", 4 << 30)), CORRUPT),
        (
            "path in the name of a state file",
            change(|folder, _| {
                let name = state_file(folder).file_name().unwrap().to_str().unwrap().to_owned();
                replace(folder, &name, &format!("../../{}", &name[6..]));
            }),
            CORRUPT,
        ),
        (
            "path in the position of a source",
            change(|folder, guarded| {
                let _ = guarded;
                replace(folder, INPUT, "../sec.cs");
            }),
            CORRUPT,
        ),
        ("absolute path in the position of a source", change(|folder, _| replace(folder, INPUT, "/etc/pass")), CORRUPT),
        (
            "output that was prepared elsewhere",
            change(|folder, guarded| {
                let own = guarded.inside().join("out-memory").display().to_string();
                let etc = format!("/etc/{}", "x".repeat(own.len() - 5));
                fs::remove_file(folder.join("published")).unwrap();
                replace(folder, &own, &etc);
                // The pipeline's own folder no longer has the promised part.
                let _ = fs::remove_dir_all(guarded.inside().join("out-memory"));
            }),
            DENIED,
        ),
    ]
}

#[test]
fn hostile_savepoints_are_refused_with_their_codes_within_a_bound_of_memory() {
    let mut guarded = start("hostile-savepoint", &[]);
    let good = savepoint(&guarded, "memory", "canonical");
    let (inside, outside) = (guarded.inside(), guarded.outside());
    copy(&good, &outside.join("savepoint"));
    guarded.note_outside().unwrap();
    symlink("../outside/savepoint", inside.join("link")).unwrap();
    let text = pipeline(&inside, "memory");
    let submit = |guarded: &Guarded, from: &str| {
        guarded.api().post(&format!("/v1/jobs?from={from}"), "application/toml", text.as_bytes()).unwrap()
    };
    let mut wrong = Vec::new();
    for (name, from, codes) in [
        ("elsewhere", outside.join("savepoint").display().to_string(), &["path-denied"][..]),
        ("elsewhere by dots", format!("{}/../outside/savepoint", inside.display()), &["path-denied"]),
        ("elsewhere by a link", inside.join("link").display().to_string(), &["path-denied"]),
        ("kernel", "/proc/self".to_owned(), &["path-denied"]),
        ("home", "/root".to_owned(), &["path-denied"]),
        ("bucket", "s3://other/savepoint".to_owned(), &["address-denied"]),
        ("other scheme", "gs://other/savepoint".to_owned(), &["request-invalid"]),
        (
            "file",
            inside.join("in").join(INPUT).display().to_string(),
            &["savepoint-not-found", "storage-failed", "checkpoint-corrupt"],
        ),
        ("nothing", inside.join("none/at/all").display().to_string(), &["savepoint-not-found"]),
        ("checkpoint of a folder above", format!("{}/chk-1", inside.display()), &["path-denied"]),
    ] {
        wrong.extend(not_refused(&submit(&guarded, &from), codes).map(|why| format!("{name}: {why}")));
    }
    for (number, (name, change, codes)) in metadata_changes().into_iter().chain(file_changes()).enumerate() {
        let folder = inside.join(format!("hostile-{number}"));
        copy(&good, &folder);
        change(&folder, &guarded);
        let answer = submit(&guarded, &folder.display().to_string());
        if answer.status != 201 {
            wrong.extend(not_refused(&answer, codes).map(|why| format!("{name}: {why}")));
        } else {
            // What a submit does not read is found by the first attempt.
            let job = guarded.api().wait_for(answer.body["id"].as_str().unwrap(), "FAILED").unwrap();
            let code = job["failure"]["code"].as_str().unwrap_or_default();
            if !codes.contains(&code) {
                wrong.push(format!("{name}: failed with {}", job["failure"]));
            }
        }
        // Removal of such a savepoint touches nothing else either, and does not hang.
        let path = format!("/v1/savepoints?location={}", folder.display());
        let removed = guarded.api().delete(&path).unwrap();
        if removed.status >= 500 && !["storage-failed", "checkpoint-corrupt"].contains(&removed.code()) {
            wrong.push(format!("{name}: removal answered {}", removed.body));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // The savepoint itself is good.
    let job = submit(&guarded, &good.display().to_string()).ok().unwrap();
    guarded.api().wait_for(job["id"].as_str().unwrap(), "RUNNING").unwrap();
    guarded.check(PEAK_BYTES_MAX).unwrap();
}

#[test]
fn native_savepoints_of_others_need_permission_and_a_manipulated_one_ends_in_its_child_process() {
    let closed = start("hostile-savepoint-native-closed", &[]);
    let good = savepoint(&closed, "rocksdb", "native");
    let text = pipeline(&closed.inside(), "rocksdb");
    let answer =
        closed.api().post(&format!("/v1/jobs?from={}", good.display()), "application/toml", text.as_bytes()).unwrap();
    assert_eq!((answer.status, answer.code()), (403, "native-denied"), "{}", answer.body);
    assert!(answer.body["hint"].as_str().unwrap().contains("--allow-native-savepoints"), "{}", answer.body);
    drop(closed);

    let mut guarded = start("hostile-savepoint-native", &["--allow-native-savepoints"]);
    let good = savepoint(&guarded, "rocksdb", "native");
    let inside = guarded.inside();
    let text = pipeline(&inside, "rocksdb");
    // Lengths and checksums are right, the content is not.
    type Damage = fn(&mut Vec<u8>);
    let damages: [(&str, &str, Damage); 5] = [
        ("zeros in the log of the database", "MANIFEST", |bytes| bytes.iter_mut().skip(20).for_each(|byte| *byte = 0)),
        ("ones in the log of the database", "MANIFEST", |bytes| bytes.iter_mut().skip(7).for_each(|byte| *byte = 0xff)),
        ("empty log of the database", "MANIFEST", Vec::clear),
        ("garbage in a table", "sst", |bytes| {
            bytes.iter_mut().for_each(|byte| *byte = byte.wrapping_mul(31).wrapping_add(7))
        }),
        ("other name of the log", "CURRENT", |bytes| *bytes = b"MANIFEST-../../x\n".to_vec()),
    ];
    for (number, (name, file, damage)) in damages.into_iter().enumerate() {
        let folder = inside.join(format!("native-{number}"));
        copy(&good, &folder);
        let files = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
        let is_it = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().contains(file);
        let path = files.into_iter().find(is_it).unwrap_or_else(|| panic!("no {file} in {}", folder.display()));
        let before = fs::read(&path).unwrap();
        let mut after = before.clone();
        damage(&mut after);
        fs::write(&path, &after).unwrap();
        mend_checksum(&folder, &before, &after);
        let answer = guarded
            .api()
            .post(&format!("/v1/jobs?from={}", folder.display()), "application/toml", text.as_bytes())
            .unwrap();
        let code = match answer.status {
            201 => {
                let job = guarded.api().wait_for(answer.body["id"].as_str().unwrap(), "FAILED").unwrap();
                job["failure"]["code"].as_str().unwrap_or_default().to_owned()
            }
            _ => answer.code().to_owned(),
        };
        assert!(["checkpoint-corrupt", "restore-hung"].contains(&code.as_str()), "{name}: {code} {}", answer.body);
    }
    // A good one is restored.
    let answer = guarded.api().post(&format!("/v1/jobs?from={}", good.display()), "application/toml", text.as_bytes());
    let job = answer.unwrap().ok().unwrap();
    guarded.api().wait_for(job["id"].as_str().unwrap(), "RUNNING").unwrap();
    guarded.check(PEAK_BYTES_MAX).unwrap();
}

/// Replaces the checksum and the length of a file in the metadata: both are varints, one behind the other.
fn mend_checksum(folder: &Path, before: &[u8], after: &[u8]) {
    let varint = |mut number: u64| {
        let mut bytes = Vec::new();
        while number >= 0x80 {
            bytes.push(number as u8 | 0x80);
            number >>= 7;
        }
        bytes.push(number as u8);
        bytes
    };
    let encoded = |bytes: &[u8]| [varint(bytes.len() as u64), varint(u64::from(crc32c(bytes)))].concat();
    let (from, to) = (encoded(before), encoded(after));
    let file = fs::read(folder.join("manifest")).unwrap();
    let payload = &file[HEADER..];
    let place = payload.windows(from.len()).position(|part| part == from).expect("the file's length and checksum");
    let mended = [&payload[..place], &to, &payload[place + from.len()..]].concat();
    fs::write(folder.join("manifest"), with_header(&file, &mended)).unwrap();
}
