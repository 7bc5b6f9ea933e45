//! Limits on what one component takes from others: compilation, instances, processor time. Also what a function's author can
//! read in logs and faults.

#![cfg(target_os = "linux")]

use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use cofferdam_tests::{Answer, Api, Checkout, Server, committed_lines, wait_until};
use serde_json::Value;

/// Longer than any step except a compilation that is never stopped.
const TIMEOUT: Duration = Duration::from_secs(120);

/// Number of functions of a component that compiles for minutes.
const ENDLESS: usize = 300;

fn component(name: &str) -> Vec<u8> {
    fs::read(Checkout::current().component(name).unwrap()).unwrap()
}

fn start(name: &str, arguments: &[&str]) -> (Server, std::path::PathBuf) {
    let checkout = Checkout::current();
    let dir = checkout.fresh_dir(&format!("tests/sandbox-{name}")).unwrap();
    let server = Server::start(&checkout.cofferdam(), &dir, arguments).unwrap();
    (server, dir)
}

fn leb(mut value: usize, to: &mut Vec<u8>) {
    loop {
        let byte = (value & 0x7f) as u8;
        value >>= 7;
        to.push(if value == 0 { byte } else { byte | 0x80 });
        if value == 0 {
            return;
        }
    }
}

fn section(id: u8, content: &[u8], to: &mut Vec<u8>) {
    to.push(id);
    leb(content.len(), to);
    to.extend_from_slice(content);
}

/// A component with the right export and a core module of so many functions, each with 5,000 blocks and 500 locals: about
/// one second of compilation per function.
fn large_component(functions: usize) -> Vec<u8> {
    const LOCALS: usize = 500;
    let mut body = vec![1];
    leb(LOCALS, &mut body);
    body.extend_from_slice(&[0x7f, 0x20, 0]);
    for step in 0..5_000 {
        let (mut left, mut right) = (Vec::new(), Vec::new());
        leb(step * 7_919 % LOCALS + 1, &mut left);
        leb(step * 104_729 % LOCALS + 1, &mut right);
        // Instructions: block, left, br_if 0, right = right + left, end.
        let code: [&[u8]; 9] =
            [&[0x02, 0x40, 0x20], &left, &[0x0d, 0, 0x20], &right, &[0x20], &left, &[0x6a, 0x21], &right, &[0x0b]];
        body.extend(code.concat());
    }
    body.push(0x0b);
    let mut module = b"\0asm\x01\0\0\0".to_vec();
    section(1, &[1, 0x60, 1, 0x7f, 1, 0x7f], &mut module);
    let mut types = Vec::new();
    leb(functions, &mut types);
    types.extend(std::iter::repeat_n(0, functions));
    section(3, &types, &mut module);
    let mut code = Vec::new();
    leb(functions, &mut code);
    for _ in 0..functions {
        leb(body.len(), &mut code);
        code.extend_from_slice(&body);
    }
    section(10, &code, &mut module);
    let mut component = b"\0asm\x0d\0\x01\0".to_vec();
    section(1, &module, &mut component);
    section(5, &[1, 1, 0], &mut component); // An instance without exports.
    let name = b"cofferdam:function/guest@0.2.0";
    let export = [&[1, 0, name.len() as u8][..], name, &[5, 0, 0]].concat();
    section(11, &export, &mut component);
    component
}

/// The processes that compile for the server.
fn compilers(server: u32) -> Vec<u32> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Ok(id) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
        let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
        let mut fields = fields.split_whitespace();
        let (state, parent) = (fields.next().unwrap_or("Z"), fields.next().unwrap_or(""));
        if state != "Z" && parent == server.to_string() {
            found.push(id);
        }
    }
    found
}

fn wait_for_compiler(server: u32) -> u32 {
    wait_until("a process compiles", TIMEOUT, || Ok(compilers(server).pop())).unwrap()
}

/// Begins an upload on a connection that the test can close.
fn begin_push(api: &Api, bytes: &[u8]) -> TcpStream {
    let address = api.base().trim_start_matches("http://");
    let mut connection = TcpStream::connect(address).unwrap();
    let head = format!("POST /v1/components HTTP/1.1\r\nhost: {address}\r\ncontent-length: {}\r\n\r\n", bytes.len());
    connection.write_all(head.as_bytes()).unwrap();
    connection.write_all(bytes).unwrap();
    connection
}

/// User time of a process, in hundredths of a second.
fn processor_ticks(process: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let fields = stat.rsplit_once(')').unwrap().1;
    fields.split_whitespace().nth(11).unwrap().parse().unwrap()
}

fn terminate(process: u32) {
    assert!(Command::new("kill").args(["-TERM", &process.to_string()]).status().unwrap().success());
}

#[test]
fn a_small_component_does_not_wait_behind_large_ones_whose_compiles_end_with_their_clients() {
    let (server, _dir) = start("large", &["--compile-time", "1h", "--compile-memory", "8GiB"]);
    let large = large_component(ENDLESS);
    let connections: Vec<TcpStream> = (0..5).map(|_| begin_push(&server.api, &large)).collect();
    wait_until("as many compile as may at once", TIMEOUT, || {
        Ok((compilers(server.process_id()).len() == 2).then_some(()))
    })
    .unwrap();
    // Those uploads compile longer than any test. An answer to this one shows that it does not wait for them.
    server.api.push(&component("misbehaving"), Some("misbehaving@1")).unwrap().ok().unwrap();
    assert_eq!(compilers(server.process_id()).len(), 2, "the large ones are still compiled");
    drop(connections);
    wait_until("the compiles end when their clients hang up", TIMEOUT, || {
        Ok(compilers(server.process_id()).is_empty().then_some(()))
    })
    .unwrap();
}

#[test]
fn a_compile_holds_up_neither_the_end_of_the_server_nor_outlives_it() {
    let (mut server, dir) = start("stopped", &["--compile-time", "1h", "--compile-memory", "8GiB"]);
    let _connection = begin_push(&server.api, &large_component(ENDLESS));
    let compiler = wait_for_compiler(server.process_id());
    terminate(server.process_id());
    wait_until("the server ends while a component is compiled", TIMEOUT, || Ok((!server.is_up()?).then_some(())))
        .unwrap();
    assert!(!Path::new(&format!("/proc/{compiler}")).exists(), "the compiler is gone before the server");

    let server =
        Server::start(&Checkout::current().cofferdam(), &dir, &["--compile-time", "1h", "--compile-memory", "8GiB"])
            .unwrap();
    let _connection = begin_push(&server.api, &large_component(ENDLESS));
    let compiler = wait_for_compiler(server.process_id());
    server.kill().unwrap();
    wait_until("the compiler ends when the server was killed", TIMEOUT, || {
        let stat = fs::read_to_string(format!("/proc/{compiler}/stat")).unwrap_or_default();
        Ok((stat.is_empty() || stat.contains(") Z ")).then_some(()))
    })
    .unwrap();
}

/// A refusal that changes nothing, from a server that goes on.
fn refuse_too_complex(name: &str, functions: usize, limits: &[&str], says: &str) {
    let (server, dir) = start(name, limits);
    let answer = server.api.push(&large_component(functions), Some("large@1")).unwrap();
    assert_eq!((answer.status, answer.code()), (413, "component-too-complex"), "{}", answer.body);
    assert!(answer.body["detail"].as_str().unwrap().contains(says), "{}", answer.body);
    assert!(answer.body["hint"].as_str().unwrap().contains("--compile-"), "{}", answer.body);
    assert_eq!(fs::read_dir(dir.join("data/cache")).unwrap().count(), 0, "it leaves no code behind");
    assert_eq!(fs::read_dir(dir.join("data/uploads")).unwrap().count(), 0);
    assert_eq!(server.api.components().unwrap().as_array().unwrap().len(), 0);
    assert_eq!(compilers(server.process_id()), [0; 0]);
}

#[test]
fn a_component_that_takes_too_long_to_compile_is_refused() {
    refuse_too_complex("time", ENDLESS, &["--compile-time", "2s"], "more than 2s of processor time");
}

#[test]
fn a_component_that_takes_too_much_memory_to_compile_is_refused() {
    refuse_too_complex("memory", ENDLESS, &["--compile-memory", "128MiB"], "of memory");
}

#[test]
fn run_ends_while_it_compiles() {
    let checkout = Checkout::current();
    let dir = checkout.fresh_dir("tests/sandbox-run").unwrap();
    fs::write(dir.join("large.wasm"), large_component(ENDLESS)).unwrap();
    let pipeline = "name = \"large\"\n[source.in]\nconnector = \"generator\"\n[operator.large]\ninput = \"in\"\n\
                    component = \"large.wasm\"\nfunction = \"f\"\n[sink.out]\ninput = \"large\"\nconnector = \"blackhole\"\n";
    fs::write(dir.join("p.toml"), pipeline).unwrap();
    let mut run = Command::new(checkout.cofferdam())
        .args(["run", "p.toml", "--compile-time", "1h", "--compile-memory", "8GiB"])
        .current_dir(&dir)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let compiler = wait_for_compiler(run.id());
    terminate(run.id());
    let status = wait_until("run ends while it compiles", TIMEOUT, || Ok(run.try_wait()?)).unwrap();
    assert_eq!(status.code(), Some(130));
    assert!(!Path::new(&format!("/proc/{compiler}")).exists());
}

#[test]
fn compiled_code_is_used_again_and_made_anew_where_it_is_damaged() {
    let (server, dir) = start("code", &[]);
    server.api.push(&component("misbehaving"), Some("misbehaving@1")).unwrap().ok().unwrap();
    let files =
        || -> Vec<_> { fs::read_dir(dir.join("data/cache")).unwrap().map(|file| file.unwrap().path()).collect() };
    let [code] = files().try_into().unwrap();
    server.kill().unwrap();
    let whole = fs::read(&code).unwrap();
    let mut damaged = whole.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    fs::write(&code, &damaged).unwrap();
    fs::write(dir.join("data/cache/left-behind"), "x").unwrap();
    fs::write(dir.join("in.txt"), "a,1\n").unwrap();
    let server = Server::start(&Checkout::current().cofferdam(), &dir, &[]).unwrap();
    assert_eq!(files(), std::slice::from_ref(&code), "what is no component's code is removed");
    let job = server.api.submit_ok(&pipeline(&dir, "again", "misbehaving@1", "echo", "in.txt", "")).unwrap();
    server.api.wait_for(&job, "FINISHED").unwrap();
    assert_eq!(committed_lines(&dir.join("again")).unwrap(), ["a,1"]);
    assert_eq!(fs::read(&code).unwrap().len(), whole.len());
    assert_ne!(fs::read(&code).unwrap(), damaged);
    server.api.delete("/v1/components/misbehaving@1").unwrap();
    assert!(files().is_empty(), "code goes with its component");
}

/// One function between a file source and a file sink.
fn pipeline(dir: &Path, name: &str, component: &str, function: &str, input: &str, operator: &str) -> String {
    let dir = dir.display();
    format!(
        "name = \"{name}\"\nbatch = {{ records = 1 }}\n[restart]\nstrategy = \"none\"\n\
         [source.in]\nconnector = \"file\"\npath = \"{dir}/{input}\"\n\
         [operator.act]\ninput = \"in\"\ncomponent = \"{component}\"\nfunction = \"{function}\"\n{operator}\n\
         [sink.out]\ninput = \"act\"\nconnector = \"file\"\npath = \"{dir}/{name}\"\n"
    )
}

/// A counter of the function's operator, or 0 before the job has any.
/// Returns the operator `act` of a job, or null before the job shows it.
fn operator(job: &Value) -> &Value {
    let operators = job["operators"].as_array().unwrap();
    operators.iter().find(|operator| operator["id"] == "act").unwrap_or(&Value::Null)
}

fn count(job: &Value, name: &str) -> u64 {
    match operator(job) {
        Value::Null => 0,
        operator => operator[name].as_u64().unwrap(),
    }
}

#[test]
fn a_call_is_never_cut_off_before_its_deadline() {
    let (server, dir) = start("deadline", &[]);
    server.api.push(&component("printing"), Some("printing@1")).unwrap().ok().unwrap();
    // About one millisecond each.
    fs::write(dir.join("in.txt"), "1000000\n".repeat(300)).unwrap();
    let limits = "on_fault = \"skip\"\nlimits = { deadline = \"9ms\" }";
    let job = server.api.submit_ok(&pipeline(&dir, "calls", "printing@1", "work", "in.txt", limits)).unwrap();
    let job = server.api.wait_for(&job, "FINISHED").unwrap();
    assert_eq!(count(&job, "records_skipped"), 0, "{job}");
    assert_eq!(committed_lines(&dir.join("calls")).unwrap().len(), 300);
}

#[test]
fn jobs_that_loop_cost_no_other_job_a_record() {
    let (server, dir) = start("loops", &[]);
    server.api.push(&component("printing"), Some("printing@1")).unwrap().ok().unwrap();
    server.api.push(&component("misbehaving"), Some("misbehaving@1")).unwrap().ok().unwrap();
    let loops = "name = \"loops\"\nparallelism = 32\nbatch = { records = 1 }\n[source.in]\nconnector = \"generator\"\ntemplate = \"!{n}\"\n\
         [operator.act]\ninput = \"in\"\ncomponent = \"misbehaving@1\"\nfunction = \"loop\"\non_fault = \"skip\"\n\
         limits = { deadline = \"200ms\" }\n\
         [sink.out]\ninput = \"act\"\nconnector = \"blackhole\"\n";
    let loops = server.api.submit_ok(loops).unwrap();
    wait_until("all subtasks loop", TIMEOUT, || {
        let job = server.api.job(&loops)?;
        Ok((count(&job, "faults") > 0).then_some(()))
    })
    .unwrap();
    // A call takes about 20 ms of processor time, and many times as long by the wall clock beside the other jobs.
    fs::write(dir.join("in.txt"), "20000000\n".repeat(8)).unwrap();
    let limits = "on_fault = \"skip\"\nlimits = { deadline = \"100ms\" }";
    let job = server.api.submit_ok(&pipeline(&dir, "innocent", "printing@1", "work", "in.txt", limits)).unwrap();
    let job = server.api.wait_for(&job, "FINISHED").unwrap();
    assert_eq!(count(&job, "records_skipped"), 0, "{job}");
    assert_eq!(count(&job, "faults"), 0, "{job}");
    server.api.post(&format!("/v1/jobs/{loops}/cancel"), "application/json", b"").unwrap().ok().unwrap();
    server.api.wait_for(&loops, "CANCELED").unwrap();
}

/// Another job wants all cores, so that no subtask gets a core for long.
#[test]
fn all_subtasks_of_a_job_that_loops_start_and_end_in_their_own_fault() {
    const SUBTASKS: u64 = 64;
    let (server, _) = start("wide-loops", &[]);
    let api = &server.api;
    api.push(&component("misbehaving"), Some("misbehaving@1")).unwrap().ok().unwrap();
    let submit = |name: &str, parallelism: u64, source: &str, act: &str| {
        let pipeline = format!(
            "name = \"{name}\"\nparallelism = {parallelism}\n[source.in]\nconnector = \"generator\"\n{source}\n\
             [operator.act]\ninput = \"in\"\ncomponent = \"misbehaving@1\"\non_fault = \"skip\"\n{act}\n\
             [sink.out]\ninput = \"act\"\nconnector = \"blackhole\"\n"
        );
        api.submit_ok(&pipeline).unwrap()
    };
    let cores = std::thread::available_parallelism().map_or(2, usize::from) as u64;
    let busy = submit("busy", cores, "", "function = \"echo\"");
    wait_until("the other job works", TIMEOUT, || Ok((count(&api.job(&busy)?, "records_out") > 0).then_some(())))
        .unwrap();
    // A subtask that runs never waits.
    let endless = "function = \"loop\"\nlimits = { deadline = \"1h\" }";
    let endless = submit("endless", SUBTASKS, "template = \"!{n}\"", endless);
    api.wait_for(&endless, "RUNNING").unwrap();
    api.post(&format!("/v1/jobs/{endless}/cancel"), "application/json", b"").unwrap().ok().unwrap();
    api.wait_for(&endless, "CANCELED").unwrap();
    // One record for each subtask.
    let source = format!("template = \"!{{n}}\"\nrecords = {SUBTASKS}");
    let ending = submit("ending", SUBTASKS, &source, "function = \"loop\"\nlimits = { deadline = \"20ms\" }");
    let ended = api.wait_for(&ending, "FINISHED").unwrap();
    assert_eq!((count(&ended, "faults"), count(&ended, "records_skipped")), (SUBTASKS, SUBTASKS), "{ended}");
    assert_eq!(operator(&ended)["faults_by_code"], serde_json::json!({ "deadline-exceeded": SUBTASKS }), "{ended}");
    let busy = api.job(&busy).unwrap();
    assert_eq!((busy["status"].as_str(), busy["restarts"].as_u64()), (Some("RUNNING"), Some(0)), "{busy}");
    assert_eq!(count(&busy, "faults"), 0, "{busy}");
}

#[test]
fn a_cancel_ends_a_call_whatever_its_deadline_is() {
    let (server, dir) = start("cancel", &[]);
    server.api.push(&component("misbehaving"), Some("misbehaving@1")).unwrap().ok().unwrap();
    fs::write(dir.join("in.txt"), "!\n").unwrap();
    let limits = "limits = { deadline = \"1h\" }";
    let job = server.api.submit_ok(&pipeline(&dir, "stuck", "misbehaving@1", "loop", "in.txt", limits)).unwrap();
    let before = processor_ticks(server.process_id());
    wait_until("the call loops", TIMEOUT, || {
        server.api.job(&job)?;
        Ok((processor_ticks(server.process_id()) > before + 100).then_some(()))
    })
    .unwrap();
    server.api.post(&format!("/v1/jobs/{job}/cancel"), "application/json", b"").unwrap().ok().unwrap();
    let ended = server.api.wait_for(&job, "CANCELED").unwrap();
    assert!(ended["failure"].is_null(), "a cancel is no fault: {ended}");
}

/// A job without end. Each subtask of its one function has an instance.
fn instances(name: &str, parallelism: u32) -> String {
    format!(
        "name = \"{name}\"\nparallelism = {parallelism}\n[source.in]\nconnector = \"generator\"\nrate = 1000\n\
         [operator.act]\ninput = \"in\"\ncomponent = \"misbehaving@1\"\nfunction = \"echo\"\n\
         [sink.out]\ninput = \"act\"\nconnector = \"blackhole\"\n"
    )
}

#[test]
fn instances_are_reserved_and_a_job_beyond_them_is_refused_at_submit() {
    let (server, dir) = start("instances", &["--instances", "10"]);
    let api = &server.api;
    api.push(&component("misbehaving"), Some("misbehaving@1")).unwrap().ok().unwrap();
    let healthy = api.submit_ok(&instances("healthy", 8)).unwrap();
    api.wait_for(&healthy, "RUNNING").unwrap();
    let refused = |answer: Answer, says: &str| {
        assert_eq!((answer.status, answer.code()), (503, "capacity-exceeded"), "{}", answer.body);
        assert!(answer.body["detail"].as_str().unwrap().contains(says), "{}", answer.body);
    };
    refused(api.submit(&instances("beyond", 3)).unwrap(), "needs 3 instances");
    refused(api.submit(&instances("beyond", 3)).unwrap(), "2 of 10 are free");
    let rest = api.submit_ok(&instances("rest", 2)).unwrap();
    api.wait_for(&rest, "RUNNING").unwrap();
    wait_until("all instances are in use", TIMEOUT, || {
        let used = |job: &str| Ok::<_, anyhow::Error>(count(&api.job(job)?, "records_out") > 0);
        Ok((used(&healthy)? && used(&rest)?).then_some(()))
    })
    .unwrap();
    refused(api.submit(&instances("one", 1)).unwrap(), "0 of 10 are free");
    api.push(&component("printing"), Some("printing@1")).unwrap().ok().unwrap();

    // A restart takes the same instances again.
    server.kill().unwrap();
    let server = Server::start(&Checkout::current().cofferdam(), &dir, &["--instances", "10"]).unwrap();
    let api = &server.api;
    for job in [&healthy, &rest] {
        let job = api.wait_for(job, "RUNNING").unwrap();
        assert_eq!(job["restarts"], 0, "{job}");
    }
    refused(api.submit(&instances("one", 1)).unwrap(), "0 of 10 are free");
    api.post(&format!("/v1/jobs/{healthy}/cancel"), "application/json", b"").unwrap().ok().unwrap();
    api.wait_for(&healthy, "CANCELED").unwrap();
    // The instances are free as soon as the end is visible.
    let again = api.submit_ok(&instances("healthy", 8)).unwrap();
    api.wait_for(&again, "RUNNING").unwrap();
}

#[test]
fn what_a_function_prints_is_in_the_log() {
    let (server, dir) = start("prints", &[]);
    server.api.push(&component("printing"), Some("printing@1")).unwrap().ok().unwrap();
    fs::write(dir.join("in.txt"), "tea\n").unwrap();
    let job = server.api.submit_ok(&pipeline(&dir, "prints", "printing@1", "print", "in.txt", "")).unwrap();
    server.api.wait_for(&job, "FINISHED").unwrap();
    let log = fs::read_to_string(dir.join("server.log")).unwrap();
    for line in ["stdout saw tea", "stderr saw tea", "record = \"tea\"", "a helper saw tea"] {
        assert!(log.contains(line), "`{line}` is not in the log:\n{log}");
    }
    // `cofferdam run` shows it without a setting.
    let checkout = Checkout::current();
    let wasm = checkout.component("printing").unwrap();
    let toml = pipeline(&dir, "run", &wasm.display().to_string(), "print", "in.txt", "");
    fs::write(dir.join("p.toml"), toml).unwrap();
    let run = Command::new(checkout.cofferdam()).arg("run").arg(dir.join("p.toml")).output().unwrap();
    let shown = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success() && shown.contains("stdout saw tea"), "{shown}");
}

#[test]
fn a_function_that_asks_for_the_time_is_told_where_to_find_it() {
    let (server, dir) = start("clock", &[]);
    server.api.push(&component("printing"), Some("printing@1")).unwrap().ok().unwrap();
    fs::write(dir.join("in.txt"), "tea\n").unwrap();
    let job = server.api.submit_ok(&pipeline(&dir, "clock", "printing@1", "clock", "in.txt", "")).unwrap();
    let job = server.api.wait_for(&job, "FAILED").unwrap();
    assert_eq!(job["failure"]["code"], "guest-panic", "{job}");
    let message = job["failure"]["fault"]["message"].as_str().unwrap();
    assert!(message.contains("time not implemented") && message.contains("ctx.processing_time()"), "{message}");
}

/// A component with the right export around a core module.
fn around(module: &str) -> Vec<u8> {
    let text = format!(
        "(component (core module $m {module}) (core instance (instantiate $m)) (instance $i)
         (export \"cofferdam:function/guest@0.2.0\" (instance $i)))"
    );
    wat::parse_str(text).unwrap()
}

#[test]
fn a_component_beyond_the_limits_of_an_instance_is_told_the_limit() {
    let (server, _dir) = start("limits", &[]);
    let tables = "(table 1 funcref)".repeat(5);
    // Such functions took gigabytes to compile.
    let locals = format!("(func (local {}))", "i32 ".repeat(20_000));
    let block = "(block (br_if 0 (local.get 1)) (local.set 2 (i32.add (local.get 1) (local.get 2))))";
    let blocks = format!("(func (local {}) {})", "i32 ".repeat(10_000), block.repeat(10_000));
    for (module, says) in [
        ("(memory 1) (memory 1) (memory 1) (memory 1) (memory 1)", "5 linear memories, more than 4"),
        (&*tables, "more than 4 tables"),
        ("(table 65537 funcref)", "a table of 65537 elements, more than 65536"),
        (&*locals, "20000 locals, more than 15000"),
        (&*blocks, "branches, whose product exceeds"),
    ] {
        let answer = server.api.push(&around(module), None).unwrap();
        assert_eq!((answer.status, answer.code()), (400, "component-limits"), "{}", answer.body);
        assert!(answer.body["detail"].as_str().unwrap().contains(says), "{}", answer.body);
    }
    let all = "(table 1 funcref)".repeat(3) + "(table 65536 funcref)(memory 1)";
    let answer = server.api.push(&around(&all), None).unwrap();
    assert_eq!(answer.code(), "component-wrong-world", "what is within the limits is compiled: {}", answer.body);
}

#[test]
fn components_with_unneeded_proposals_and_names_that_are_paths_are_refused() {
    let (server, dir) = start("proposals", &[]);
    for module in ["(memory 1 1 shared)", "(memory i64 1)", "(tag (param i32))", "(type (struct (field i32)))"] {
        let answer = server.api.push(&around(module), None).unwrap();
        assert_eq!((answer.status, answer.code()), (400, "component-invalid"), "{module}: {}", answer.body);
    }
    for name in ["..@..", ".@1", "a@..", "a..b@1"] {
        let answer = server.api.push(&component("misbehaving"), Some(name)).unwrap();
        assert_eq!((answer.status, answer.code()), (400, "component-name"), "{name}: {}", answer.body);
    }
    assert_eq!(server.api.components().unwrap().as_array().unwrap().len(), 0);
    assert_eq!(fs::read_dir(dir.join("data/uploads")).unwrap().count(), 0);
}
